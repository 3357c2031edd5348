"""Labelled picture sets -> a bag with truth topics: COCO boxes, CamVid-like masks, RGB-D pairs.

In a bag a set goes through the same nodes as a drive, and is scored by the same code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vision_nodes.bags.folder import NS
from vision_nodes.bags.from_folder import CAMERA_FRAME, _MessageFactory, _read
from vision_nodes.bags.writer import BagWriter
from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import BagError
from vision_nodes.messages.names import CROWD_ID

PERIOD_NS = NS  # pictures of a set have no time; a second apart, none is taken for its neighbour's film


@dataclass(frozen=True)
class LabelledBag:
    """What was written: the task its labels are of, and the number of pictures."""

    task: str
    frames: int


def write_labelled_bag(
    source: str | Path, out: str | Path, *, split: str = "val", limit: int = 0
) -> LabelledBag:
    """Write a bag of a labelled set.

    Known: a COCO ``.json`` (or a folder with ``<split>.json``) with ``images/``; a folder with
    ``classes.json``, ``images/``, ``labels/`` and lists ``<split>.txt`` of pairs (CamVid); a folder with
    ``rgb/``, ``depth/`` (16-bit mm), ``camera.json`` and such a list.

    Topics: ``/image_raw/compressed`` with the files' own bytes, and of ``/ground_truth/``: ``detections``
    (crowd boxes have the id ``crowd``), or ``segmentation`` with ``label_info``, or ``depth``.

    Args:
        limit: only the first so many pictures; 0 = all.

    Raises:
        BagError: none of these layouts, or a file is missing.
    """
    source, make = Path(source), _SetMessages()
    task, frames = _open(source, split, make)
    count = 0
    with BagWriter(out) as writer:
        for index, messages in enumerate(frames):
            if limit and index >= limit:
                break
            for topic, message in messages:
                writer.write_object(topic, message, (index + 1) * PERIOD_NS)
            count = index + 1
    if count == 0:
        raise BagError(f"at least one picture in {source} ({split})", "none", "check the list of the split")
    return LabelledBag(task, count)


Messages = list[tuple[str, Any]]


def _open(source: Path, split: str, make: _SetMessages) -> tuple[str, Iterator[Messages]]:
    if source.suffix == ".json":
        return "detection", _coco_frames(source, make)
    if (source / f"{split}.json").is_file():
        return "detection", _coco_frames(source / f"{split}.json", make)
    if (source / "labels").is_dir() and (source / "classes.json").is_file():
        return "segmentation", _mask_frames(source, _pairs(source, split), make)
    if (source / "depth").is_dir() and (source / "camera.json").is_file():
        return "depth", _depth_frames(source, _pairs(source, split), make)
    found = sorted(p.name for p in source.iterdir())[:8]
    raise BagError(
        f"{split}.json with images/, classes.json with images/ and labels/, or camera.json with rgb/ and depth/",
        f"{source}: {', '.join(found) or 'nothing'}",
        "choose another --split, or convert the set to one of these layouts",
    )


def _pairs(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """Picture and label of each line of the split's list; a set with one list has no choice of splits."""
    lists = sorted(folder.glob("*.txt"))
    chosen = folder / f"{split}.txt"
    if not chosen.is_file():
        if len(lists) != 1:
            names = ", ".join(path.stem for path in lists) or "none"
            raise BagError(f"a list {split}.txt in {folder}", f"lists: {names}", "choose one with --split")
        chosen = lists[0]
    rows = [line.split() for line in chosen.read_text().splitlines() if line.strip()]
    if any(len(row) < 2 for row in rows):
        raise BagError("picture and label on each line", f"{chosen}", "correct the list")
    return [(folder / row[0], folder / row[1]) for row in rows]


def _coco_frames(path: Path, make: _SetMessages) -> Iterator[Messages]:
    try:
        data = json.loads(path.read_text())
        names = {category["id"]: category["name"] for category in data["categories"]}
        boxes: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
        for annotation in data["annotations"]:
            boxes[annotation["image_id"]].append(annotation)
    except (ValueError, KeyError, TypeError) as error:
        raise BagError(
            "a COCO file with images, annotations, categories", f"{path}: {error!r}", ""
        ) from error
    for index, image in enumerate(data["images"]):
        stamp = (index + 1) * PERIOD_NS
        file = _find_picture(path, image["file_name"])
        truth = make.boxes(stamp, boxes[image["id"]], names)
        yield [("/image_raw/compressed", make.file(stamp, file)), ("/ground_truth/detections", truth)]


def _find_picture(coco: Path, name: str) -> Path:
    """Where sets keep their pictures: beside the file, in images/, or in images/<split>/."""
    folder = coco.parent
    for place in (folder, folder / "images", folder / "images" / coco.stem):
        for candidate in (place / name, place / Path(name).name):
            if candidate.is_file():
                return candidate
    raise BagError(
        f"the picture {name} beside {coco.name}, in images/ or images/{coco.stem}/", "none there", "copy it"
    )


def _mask_frames(folder: Path, pairs: list[tuple[Path, Path]], make: _SetMessages) -> Iterator[Messages]:
    classes = json.loads((folder / "classes.json").read_text())["classes"]
    for index, (picture, label) in enumerate(pairs):
        stamp, mask = (index + 1) * PERIOD_NS, _read(label)
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise BagError(
                "8-bit class ids in one channel", f"{label}: {mask.shape} {mask.dtype}", "convert it"
            )
        messages = [("/ground_truth/label_info", make.labels(stamp, classes))] if index == 0 else []
        yield [
            *messages,
            ("/image_raw/compressed", make.file(stamp, picture)),
            ("/ground_truth/segmentation", make.image(stamp, CAMERA_FRAME, mask)),
        ]


def _depth_frames(folder: Path, pairs: list[tuple[Path, Path]], make: _SetMessages) -> Iterator[Messages]:
    values = json.loads((folder / "camera.json").read_text())
    K = np.array([[values["fx"], 0, values["cx"]], [0, values["fy"], values["cy"]], [0, 0, 1.0]])
    camera = CameraModel((int(values["width"]), int(values["height"])), K)
    unit_mm = 1000 * float(values.get("depth_unit_m", 0.001))
    for index, (picture, depth) in enumerate(pairs):
        stamp, millimetres = (index + 1) * PERIOD_NS, _read(depth)
        if unit_mm != 1:
            millimetres = np.round(millimetres * unit_mm).astype(np.uint16)
        yield [
            ("/camera_info", make.camera_info(stamp, camera)),
            ("/image_raw/compressed", make.file(stamp, picture)),
            ("/ground_truth/depth", make.image(stamp, CAMERA_FRAME, millimetres)),
            ("/ground_truth/camera_info", make.camera_info(stamp, camera)),
        ]


class _SetMessages(_MessageFactory):
    """The truth messages of labelled sets."""

    def file(self, stamp_ns: int, path: Path) -> Any:
        """CompressedImage with a picture file's own bytes."""
        if not path.is_file():
            raise BagError("every listed picture", f"{path}: nothing there", "copy the set again")
        return self.types["sensor_msgs/msg/CompressedImage"](
            header=self.header(stamp_ns, CAMERA_FRAME),
            format="png" if path.suffix.lower() == ".png" else "jpeg",
            data=np.frombuffer(path.read_bytes(), np.uint8),
        )

    def labels(self, stamp_ns: int, classes: list[dict[str, Any]]) -> Any:
        """LabelInfo of a classes.json."""
        kind = self.types["vision_msgs/msg/VisionClass"]
        entries = [kind(class_id=int(c["id"]), class_name=str(c["name"])) for c in classes]
        return self.types["vision_msgs/msg/LabelInfo"](
            header=self.header(stamp_ns, CAMERA_FRAME), class_map=entries, threshold=0.0
        )

    def boxes(self, stamp_ns: int, annotations: list[dict[str, Any]], names: dict[int, str]) -> Any:
        """Detection2DArray of COCO annotations.

        COCO's x, y count from the corner of the top-left pixel; published boxes from its centre.
        """
        header = self.header(stamp_ns, CAMERA_FRAME)
        detections = [self._box(header, a, names[a["category_id"]]) for a in annotations]
        return self.types["vision_msgs/msg/Detection2DArray"](header=header, detections=detections)

    def _box(self, header: Any, annotation: dict[str, Any], name: str) -> Any:
        x, y, width, height = (float(value) for value in annotation["bbox"])
        point = self.types["vision_msgs/msg/Point2D"](x=x + width / 2 - 0.5, y=y + height / 2 - 0.5)
        centre = self.types["vision_msgs/msg/Pose2D"](position=point, theta=0.0)
        hypothesis = self.types["vision_msgs/msg/ObjectHypothesis"](class_id=name, score=1.0)
        pose = self.types["geometry_msgs/msg/PoseWithCovariance"](
            pose=self.types["geometry_msgs/msg/Pose"](
                position=self.types["geometry_msgs/msg/Point"](x=0.0, y=0.0, z=0.0),
                orientation=self._quaternion((0.0, 0.0, 0.0, 0.0)),  # no rotation at all: there is no 3D pose
            ),
            covariance=np.array([-1.0] + [0.0] * 35),
        )
        result = self.types["vision_msgs/msg/ObjectHypothesisWithPose"](hypothesis=hypothesis, pose=pose)
        box = self.types["vision_msgs/msg/BoundingBox2D"](center=centre, size_x=width, size_y=height)
        kind = CROWD_ID if annotation.get("iscrowd") else ""
        return self.types["vision_msgs/msg/Detection2D"](header=header, results=[result], bbox=box, id=kind)
