"""Read a bag: folder or single file, mcap or sqlite3, message- or file-compressed, cut off or whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import get_types_from_msg

from vision_nodes.errors import BagError
from vision_nodes.messages.typestore import build_typestore

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_RECORD_BYTES = 1 << 30  # one record; a corrupt length must not ask for more memory than this


@dataclass(frozen=True)
class BagMessage:
    """One serialized message (CDR) as it lies in the bag."""

    topic: str
    msgtype: str  # e.g. sensor_msgs/msg/Image
    log_time_ns: int
    data: bytes


class BagReader:
    """Iterate over a bag's messages in file order.

    A bag that was cut off yields everything up to the cut; `problem` then says what is wrong.

    Raises:
        BagError: no bag there, nothing readable in it, or a type that cannot be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.problem = ""
        self._typestore = build_typestore()
        self._definitions: dict[str, str] = {}
        self._files = self._find_files()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def topics(self) -> dict[str, str]:
        """Topic name -> message type of everything that has at least one readable message."""
        found: dict[str, str] = {}
        for message in self.messages():
            found.setdefault(message.topic, message.msgtype)
        return found

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[BagMessage]:
        """All messages, or those on `topics`, in file order."""
        wanted = None if topics is None else set(topics)
        self.problem = ""
        for path in self._files:
            source = self._sqlite_messages(path) if path.suffix != ".mcap" else self._mcap_messages(path)
            for message in source:
                if wanted is None or message.topic in wanted:
                    yield message

    def deserialize(self, message: BagMessage) -> Any:
        """The message as a dataclass with the ROS field names; arrays are NumPy arrays.

        Raises:
            BagError: unknown type, or bytes that do not decode.
        """
        if message.msgtype not in self._typestore.fielddefs:
            self._register(message.msgtype)
        try:
            return self._typestore.deserialize_cdr(message.data, message.msgtype)
        except Exception as error:  # rosbags raises whatever the generated code meets
            raise BagError(
                f"a valid {message.msgtype} on {message.topic}",
                str(error)[:200],
                "the message is corrupt; skip it",
            ) from error

    def _register(self, msgtype: str) -> None:
        definition = self._definitions.get(msgtype)
        if definition is None:
            raise BagError(
                "a known message type or one whose definition is in the bag",
                msgtype,
                "record with mcap, which stores definitions",
            )
        types = get_types_from_msg(definition, msgtype)
        self._typestore.register({k: v for k, v in types.items() if k not in self._typestore.fielddefs})

    def _find_files(self) -> list[Path]:
        if not self.path.exists():
            raise BagError(
                "a bag folder or an .mcap or .db3 file", f"{self.path}: nothing there", "check the path"
            )
        if self.path.is_file():
            return [self.path]
        metadata_path = self.path / "metadata.yaml"
        if metadata_path.exists():
            try:
                information = yaml.safe_load(metadata_path.read_text())["rosbag2_bagfile_information"]
                names = [Path(name).name for name in information["relative_file_paths"]]
                compression = str(information.get("compression_mode") or "").lower()
                plugin = information["storage_identifier"]
            except (yaml.YAMLError, KeyError, TypeError) as error:
                raise BagError(
                    "a rosbag2 metadata.yaml", f"{metadata_path}: {error}", "run ros2 bag reindex"
                ) from error
            if plugin != "mcap" or compression == "file":
                return [self.path]  # rosbags reads these as one folder
            return [self.path / name for name in names]
        files = sorted(p for p in self.path.iterdir() if p.suffix in (".mcap", ".db3"))
        if not files:
            raise BagError(
                "a folder with metadata.yaml, .mcap or .db3",
                f"{self.path}: none of them",
                "give the bag's folder",
            )
        return files

    def _mcap_messages(self, path: Path) -> Iterator[BagMessage]:
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        try:
            with path.open("rb") as stream:
                for record in StreamReader(stream, record_size_limit=MAX_RECORD_BYTES).records:
                    if isinstance(record, Message):
                        channel = channels[record.channel_id]
                        msgtype = _full_type(schemas[channel.schema_id].name)
                        yield BagMessage(channel.topic, msgtype, record.log_time, _plain(record.data))
                    elif isinstance(record, Schema):
                        schemas[record.id] = record
                        if record.encoding == "ros2msg":
                            self._definitions[_full_type(record.name)] = record.data.decode(errors="replace")
                    elif isinstance(record, Channel):
                        channels[record.id] = record
        except (
            McapError,
            EOFError,
            ValueError,
            KeyError,
            OSError,
            zstandard.ZstdError,
            MemoryError,
        ) as error:
            self._cut_off(path, error)
        except Exception as error:  # struct.error, AssertionError, lz4's RuntimeError: all mean damaged bytes
            self._cut_off(path, error)

    def _cut_off(self, path: Path, error: Exception) -> None:
        self.problem = (
            f"{path}: expected a whole bag; received {type(error).__name__}: {error or 'end of file'}; "
            "remedy: what was readable up to there is used; recover the rest with `mcap recover`"
        )

    def _sqlite_messages(self, path: Path) -> Iterator[BagMessage]:
        try:
            with Reader(path) as reader:
                for connection in reader.connections:
                    if connection.msgdef.data:
                        self._definitions[connection.msgtype] = connection.msgdef.data
                for connection, log_time_ns, data in reader.messages():
                    yield BagMessage(connection.topic, connection.msgtype, log_time_ns, bytes(data))
        except (ReaderError, FileNotFoundError, OSError, zstandard.ZstdError) as error:
            self._cut_off(path, error)
        except Exception as error:  # sqlite3.DatabaseError and friends on a damaged file
            self._cut_off(path, error)


def _full_type(name: str) -> str:
    """``sensor_msgs/Image`` (some writers) and ``sensor_msgs/msg/Image`` are one type."""
    parts = name.split("/")
    return name if len(parts) != 2 else f"{parts[0]}/msg/{parts[1]}"


def _plain(data: bytes) -> bytes:
    """Undo rosbag2's per-message compression, which a bare file shows only by the zstd magic."""
    if data[:4] == ZSTD_MAGIC:  # CDR always begins with 0x00
        return zstandard.decompress(data, max_output_size=MAX_RECORD_BYTES)
    return data
