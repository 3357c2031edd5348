"""Write one self-contained mcap file that `ros2 bag play`, Foxglove and `BagReader` read."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from mcap.writer import CompressionType, Writer

from vision_nodes.bags.reader import BagMessage
from vision_nodes.messages.typestore import build_typestore


class BagWriter:
    """Append serialized messages to an mcap file.

    Chunks go to disk as they fill, so what was written before a crash stays readable. The same
    messages in the same order give the same bytes.
    """

    def __init__(self, path: str | Path, *, compress: bool = True, chunk_bytes: int = 1 << 20) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.counts: dict[str, int] = {}
        self._stream = self.path.open("wb")
        compression = CompressionType.ZSTD if compress else CompressionType.NONE
        self._writer = Writer(self._stream, chunk_size=chunk_bytes, compression=compression)
        self._writer.start(profile="ros2", library="vision_nodes")
        self._typestore = build_typestore()
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, message: BagMessage) -> None:
        """Append one CDR message; its type must be in the package's type store."""
        channel = self._channel(message.topic, message.msgtype)
        sequence = self.counts[message.topic] = self.counts.get(message.topic, 0) + 1
        self._writer.add_message(
            channel, message.log_time_ns, message.data, publish_time=message.log_time_ns, sequence=sequence
        )

    def write_object(self, topic: str, message: object, log_time_ns: int) -> None:
        """Serialize a rosbags message object and append it."""
        msgtype = getattr(message, "__msgtype__")  # noqa: B009 - rosbags sets it on its dataclasses
        data = bytes(self._typestore.serialize_cdr(message, msgtype))
        self.write(BagMessage(topic, msgtype, log_time_ns, data))

    def add_metadata(self, name: str, values: dict[str, str]) -> None:
        """Attach key-value provenance to the file."""
        self._writer.add_metadata(name, values)

    def close(self) -> None:
        """Write index and footer; a second call does nothing."""
        if not self._stream.closed:
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._stream.close()

    def _channel(self, topic: str, msgtype: str) -> int:
        if topic not in self._channels:
            if msgtype not in self._schemas:
                definition = self._typestore.generate_msgdef(msgtype, ros_version=2)[0]
                self._schemas[msgtype] = self._writer.register_schema(msgtype, "ros2msg", definition.encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", self._schemas[msgtype])
        return self._channels[topic]
