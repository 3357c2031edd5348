"""Calibration pictures: out of a folder or a bag, and described so that the INT8 file can be made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.engine.fields import write_atomically
from vision_nodes.engine.manifest import InputSpec
from vision_nodes.errors import ModelError, VisionNodesError
from vision_nodes.messages.from_ros import compressed_image_from_ros, image_from_ros, stamp_ns
from vision_nodes.preprocess.frame import resize

SUFFIXES = (".jpg", ".jpeg", ".png")
BAG_SUFFIXES = (".mcap", ".db3")
MIN_IMAGES = 8
MIN_CONTRAST = 4.0  # standard deviation in grey levels, of the best picture


@dataclass(frozen=True)
class CalibrationSet:
    """Pictures as the network gets them, and where each comes from.

    Attributes:
        images: (H, W, 3) uint8 RGB of the input size.
        source: what they were taken from: {"folder": name} or {"bag": name, "topic": name}.
        pictures: one {"file" or "stamp_ns", "sha256"} each; the hash is of the file or of the message's bytes.
    """

    images: list[np.ndarray]
    source: dict[str, str]
    pictures: list[dict[str, object]]

    def check(self) -> None:
        """Raises ModelError for a set that cannot calibrate: too small, or without contrast."""
        check_calibration(self.images)


def check_calibration(images: list[np.ndarray]) -> None:
    """Raises ModelError for pictures that cannot calibrate: too few, or all of one colour."""
    if len(images) < MIN_IMAGES:
        raise ModelError(
            f"at least {MIN_IMAGES} calibration pictures", str(len(images)), "give more pictures"
        )
    if max(float(image.std()) for image in images) < MIN_CONTRAST:
        raise ModelError(
            "calibration pictures with contrast", "all of one colour", "give real camera pictures"
        )


def is_bag(path: Path) -> bool:
    """Whether `path` is a bag rather than a folder of pictures."""
    if path.is_file():
        return path.suffix in BAG_SUFFIXES
    return (path / "metadata.yaml").is_file() or any(path.glob("*.mcap")) or any(path.glob("*.db3"))


def read_calibration(path: Path, spec: InputSpec, count: int, topic: str = "") -> CalibrationSet:
    """Up to `count` pictures spread evenly over a folder (searched in depth) or a bag's camera.

    Args:
        topic: the bag's image topic; '' = the only camera there is.

    Raises:
        ModelError: nothing there, no pictures, or one that cannot be read.
        BagError: no bag, no camera in it, or several and none chosen.
    """
    if not path.exists():
        raise ModelError("a folder or bag with pictures", f"nothing at {path}", "correct --calibration")
    return _from_bag(path, spec, count, topic) if is_bag(path) else _from_folder(path, spec, count)


def _from_folder(folder: Path, spec: InputSpec, count: int) -> CalibrationSet:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ModelError("a folder with JPEG or PNG pictures", f"none in {folder}", "give --calibration DIR")
    images: list[np.ndarray] = []
    pictures: list[dict[str, object]] = []
    for index in _spread(len(files), count):
        content = files[index].read_bytes()
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        if image is None:
            raise ModelError("a readable picture", str(files[index]), "remove or restore it")
        images.append(_fitted(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), spec))
        name = files[index].relative_to(folder).as_posix()
        pictures.append({"file": name, "sha256": hashlib.sha256(content).hexdigest()})
    return CalibrationSet(images, {"folder": folder.resolve().name}, pictures)


def _from_bag(bag: Path, spec: InputSpec, count: int, topic: str) -> CalibrationSet:
    """Every n-th image; a corrupt one gives its turn to the next."""
    reader = BagReader(bag)
    camera = find_camera_topics(reader.topics(), topic)
    total = sum(1 for _ in reader.messages([camera.image]))
    wanted: Iterator[int] = iter(_spread(total, count))
    images: list[np.ndarray] = []
    pictures: list[dict[str, object]] = []
    due = next(wanted, None)
    for index, message in enumerate(reader.messages([camera.image])):
        if due is None:
            break
        if index < due:
            continue
        try:
            content = reader.deserialize(message)
            decode = image_from_ros if hasattr(content, "encoding") else compressed_image_from_ros
            images.append(_fitted(decode(content), spec))
        except VisionNodesError:
            continue
        stamp = stamp_ns(content.header)
        pictures.append({"stamp_ns": stamp, "sha256": hashlib.sha256(message.data).hexdigest()})
        due = next(wanted, None)
    if not images:
        received = reader.problem or f"none of {total} on {camera.image} readable"
        raise ModelError(f"pictures in {bag}", received, "check the bag with `vision-nodes bag info`")
    return CalibrationSet(images, {"bag": bag.resolve().name, "topic": camera.image}, pictures)


def _spread(total: int, count: int) -> list[int]:
    return (
        [int(i) for i in np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))] if total else []
    )


def _fitted(rgb: np.ndarray, spec: InputSpec) -> np.ndarray:
    source_wh = (rgb.shape[1], rgb.shape[0])
    return np.ascontiguousarray(resize(rgb, ResizeMap(source_wh, spec.size_wh, spec.fit)))


def description_path(manifest: Path) -> Path:
    """``calibration/int8_<model>.yaml`` beside the models folder, or in a folder of that name beside the manifest."""
    beside = manifest.parent.parent / "calibration"
    folder = (
        beside if manifest.parent.name == "models" and beside.is_dir() else manifest.parent / "calibration"
    )
    return folder / f"int8_{manifest.stem}.yaml"


def write_description(path: Path, model: str, pictures: CalibrationSet, recipe: dict[str, object]) -> None:
    """Recipe, source, and every picture with its SHA-256. Raises OSError when it cannot be written."""
    content = {"model": model, "recipe": recipe, **pictures.source, "pictures": pictures.pictures}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, yaml.safe_dump(content, sort_keys=False, width=110).encode())
