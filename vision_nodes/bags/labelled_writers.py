"""Labelled layouts: COCO boxes and CamVid-like masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2

from vision_nodes.bags.content import Content
from vision_nodes.bags.folder_files import write_picture, write_png
from vision_nodes.errors import BagError
from vision_nodes.messages.from_ros import mask_from_ros
from vision_nodes.messages.names import CROWD_ID


def write_coco(content: Content, folder: Path) -> dict[str, int]:
    """images/ and val.json of the true boxes."""
    stamps = _labelled(content, content.boxes, "/ground_truth/detections")
    found = {
        d.results[0].hypothesis.class_id for m in content.boxes.values() for d in m.detections if d.results
    }
    ids = {name: i + 1 for i, name in enumerate(sorted(found))}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for n, stamp in enumerate(stamps):
        path = write_picture(content.images[stamp], folder / "images" / f"{n:06d}")
        size = _size_of(content.images[stamp], path)
        images.append({"id": n + 1, "file_name": path.name, "width": size[0], "height": size[1]})
        boxes = [_annotation(d, ids) for d in content.boxes[stamp].detections if d.results]
        annotations += [
            {"id": len(annotations) + k + 1, "image_id": n + 1, **box} for k, box in enumerate(boxes)
        ]
    categories = [{"id": i, "name": name} for name, i in ids.items()]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "val.json").write_text(json.dumps(data))
    return {"images": len(images), "boxes": len(annotations)}


def _annotation(detection: Any, ids: dict[str, int]) -> dict[str, Any]:
    box = detection.bbox
    # COCO counts from the corner of the top-left pixel, messages from its centre.
    x = box.center.position.x - box.size_x / 2 + 0.5
    y = box.center.position.y - box.size_y / 2 + 0.5
    return {
        "category_id": ids[detection.results[0].hypothesis.class_id],
        "bbox": [x, y, box.size_x, box.size_y],
        "area": box.size_x * box.size_y,
        "iscrowd": int(detection.id == CROWD_ID),
    }


def _size_of(message: Any, path: Path) -> tuple[int, int]:
    if hasattr(message, "encoding"):
        return int(message.width), int(message.height)
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BagError("a readable image", str(path), "the bag's image is corrupt")
    height, width = image.shape[:2]
    return int(width), int(height)


def write_camvid(content: Content, folder: Path) -> dict[str, int]:
    """images/, labels/, classes.json and the list val.txt."""
    stamps, lines = _labelled(content, content.masks, "/ground_truth/segmentation"), []
    masks = []
    for n, stamp in enumerate(stamps):
        image = write_picture(content.images[stamp], folder / "images" / f"{n:06d}")
        label = folder / "labels" / f"{n:06d}.png"
        masks.append(mask_from_ros(content.masks[stamp]))
        write_png(label, masks[-1])
        lines.append(f"{image.relative_to(folder).as_posix()} {label.relative_to(folder).as_posix()}\n")
    (folder / "val.txt").write_text("".join(lines))
    highest = max(int(mask[mask < 255].max(initial=0)) for mask in masks)
    names = content.label_names or [f"class_{i}" for i in range(highest + 1)]
    classes = [{"id": i, "name": name} for i, name in enumerate(names) if name]
    (folder / "classes.json").write_text(json.dumps({"ignore_index": 255, "classes": classes}, indent=1))
    return {"images": len(stamps)}


def _labelled(content: Content, labels: dict[int, Any], topic: str) -> list[int]:
    stamps = sorted(set(content.images) & set(labels))
    if not stamps:
        raise BagError(
            f"truth on {topic} at the images' stamps",
            f"{len(labels)} messages there",
            "choose another layout",
        )
    return stamps
