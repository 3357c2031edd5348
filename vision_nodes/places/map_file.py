"""One file for one map: versioned, checksummed, written atomically, no pickle.

Layout: 8 bytes magic, uint32 version, uint32 header length, header (JSON, UTF-8), SHA-256 of all bytes so far,
then the arrays back to back. The header names the descriptor model and every array's dtype, shape and
SHA-256. Little-endian throughout.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vision_nodes.errors import MapError
from vision_nodes.places.graph_state import GraphState
from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.local_features import DESCRIPTOR_BYTES
from vision_nodes.places.map_arrays import arrays_from_map, map_from_arrays
from vision_nodes.places.settings import PlaceSettings

MAGIC = b"VNPLACES"
VERSION = 2  # 2: units of length of nodes and closures
_PREFIX = struct.Struct("<8sII")
_HEADER_LIMIT = 1 << 20  # a corrupt length must not ask for gigabytes
_REMEDY = "restore the file from a backup or build the map anew"


@dataclass(frozen=True)
class PlaceMap:
    """What a map file holds."""

    descriptor_model: str
    keyframes: list[Keyframe]
    state: GraphState


def save_place_map(path: str | Path, content: PlaceMap) -> None:
    """`save_map_arrays` of a map nobody else changes meanwhile."""
    save_map_arrays(path, content.descriptor_model, arrays_from_map(content.keyframes, content.state))


def save_map_arrays(path: str | Path, descriptor_model: str, arrays: dict[str, np.ndarray]) -> None:
    """Write beside the target, flush to the disk, then rename: a reader sees the old file or the new one.

    Args:
        path: file to write or replace.
        descriptor_model: identity of the network the descriptors came from.
        arrays: of `arrays_from_map`: copies, so that the map may go on growing meanwhile.

    Raises:
        MapError: the file cannot be written; an existing one is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # tells a save under way from what a killed one left
            _write(file, descriptor_model, arrays)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        temporary = None
        _sync_directory(path.parent)
        _remove_leftovers(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise MapError(f"to write {path}", str(error), "check space and permissions") from error


def _remove_leftovers(path: Path) -> None:
    """Delete what saves of this map left behind when they were killed; one under way holds its lock."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        with leftover.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            leftover.unlink(missing_ok=True)


def _write(file, descriptor_model: str, arrays: dict[str, np.ndarray]) -> None:  # type: ignore[no-untyped-def]
    little = {name: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    header = {
        "descriptor_model": descriptor_model,
        "arrays": [
            {"name": n, "dtype": a.dtype.str, "shape": list(a.shape), "sha256": _digest(a)}
            for n, a in little.items()
        ],
    }
    encoded = json.dumps(header, sort_keys=True).encode()
    head = _PREFIX.pack(MAGIC, VERSION, len(encoded)) + encoded
    file.write(head + hashlib.sha256(head).digest())
    for array in little.values():
        file.write(array.reshape(-1).data.cast("B") if array.size else b"")


def load_place_map(path: str | Path, settings: PlaceSettings) -> PlaceMap:
    """Read and check a map.

    Raises:
        MapError: missing, cut off, altered, of an unknown version, or made by another descriptor model.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            header = _read_header(file, path)
            _check_model(header, path, settings.descriptor_model)
            arrays = {spec["name"]: _read_array(file, spec, path) for spec in header["arrays"]}
            if file.read(1):
                raise MapError(f"{path} to end after its last array", "more bytes", _REMEDY)
    except OSError as error:
        raise MapError(f"a readable map file {path}", str(error), "check the path") from error
    _check_features(arrays, path, settings.local_features)
    try:
        keyframes, state = map_from_arrays(arrays, settings)
    except (KeyError, ValueError, IndexError) as error:
        raise MapError(f"{path} to hold a consistent map", repr(error), _REMEDY) from error
    return PlaceMap(header["descriptor_model"], keyframes, state)


def read_map_header(path: str | Path) -> dict:  # type: ignore[type-arg]
    """Descriptor model and the arrays' shapes of a map, without reading them. Raises MapError as loading does."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read_header(file, path)
    except OSError as error:
        raise MapError(f"a readable map file {path}", str(error), "check the path") from error


def _read_header(file, path: Path) -> dict:  # type: ignore[no-untyped-def, type-arg]
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size or prefix[:8] != MAGIC:
        raise MapError(
            f"{path} to be a place map", "a file of another kind", "give a file written by save_map"
        )
    _, version, length = _PREFIX.unpack(prefix)
    if version != VERSION:
        raise MapError(f"map version {VERSION}", f"{version} in {path}", "use the release that wrote it")
    encoded = file.read(length) if length <= _HEADER_LIMIT else b""
    if len(encoded) != length or file.read(32) != hashlib.sha256(prefix + encoded).digest():
        raise MapError(f"an intact header in {path}", "a checksum that differs", _REMEDY)
    return json.loads(encoded)


def _check_model(header: dict, path: Path, expected: str) -> None:  # type: ignore[type-arg]
    found = header["descriptor_model"]
    if found != expected:
        raise MapError(
            f"a map made by descriptor model {expected!r}",
            f"{path} made by {found!r}",
            "descriptors of two models cannot be compared: load that model, or build the map anew",
        )


def _check_features(arrays: dict[str, np.ndarray], path: Path, expected: str) -> None:
    features = arrays.get("local_descriptors", np.zeros((0, 0)))
    if len(features) and features.shape[1:] != (DESCRIPTOR_BYTES[expected],):
        raise MapError(
            f"a map with {expected} features ({DESCRIPTOR_BYTES[expected]} bytes each)",
            f"{path} with features of {features.shape[1]} bytes",
            "set the parameter places.local_features to what the map was made with",
        )


def _read_array(file, spec: dict, path: Path) -> np.ndarray:  # type: ignore[no-untyped-def, type-arg]
    dtype, shape = np.dtype(spec["dtype"]), tuple(spec["shape"])
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    data = file.read(size)
    if len(data) != size:
        raise MapError(
            f"{size} bytes of {spec['name']} in {path}", f"{len(data)}: the file is cut off", _REMEDY
        )
    array = np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    if _digest(np.frombuffer(data, np.uint8)) != spec["sha256"]:
        raise MapError(f"intact {spec['name']} in {path}", "a checksum that differs", _REMEDY)
    return array


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
