"""COCO-style detection data, and average precision by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from vision_nodes.datatypes import Detections
from vision_nodes.errors import TrainingError
from vision_nodes.tasks.classes import COCO_CLASSES
from vision_nodes.training.images import read_rgb

__all__ = ["COCO_CLASSES", "ROBOT_CLASSES", "CocoBoxes"]

# what a robot meets indoors and outdoors and what the data shows often enough
ROBOT_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "bus", "truck", "traffic light", "bench", "cat", "dog",
    "backpack", "handbag", "suitcase", "bottle", "cup", "chair", "couch", "potted plant", "dining table",
    "tv", "laptop", "cell phone", "book",
)  # fmt: skip


class CocoBoxes:
    """Images and boxes of the classes in `class_names`.

    Boxes are (M, 4) float32 xyxy in the image's pixels with the image's left top *edge* at 0, as COCO
    has them; `crowds` are regions to ignore.
    """

    def __init__(self, annotation: Path, class_names: tuple[str, ...] = ROBOT_CLASSES) -> None:
        if not annotation.is_file():
            raise TrainingError("COCO annotations", f"nothing at {annotation}", "correct options.data")
        content = _read_annotation(annotation)
        by_name = {category["name"]: category["id"] for category in content["categories"]}
        missing = [name for name in class_names if name not in by_name]
        if missing:
            raise TrainingError(f"categories {class_names}", f"no {missing} in {annotation}", "other data")
        self.images_folder = annotation.parent / "images" / annotation.stem
        self.class_names = class_names
        self.category_ids = [by_name[name] for name in class_names]
        self.images: list[dict[str, Any]] = sorted(content["images"], key=lambda image: image["id"])
        self._content = content
        self._index = {category: i for i, category in enumerate(self.category_ids)}
        self._by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in self.images}
        for item in content["annotations"]:
            if item["category_id"] in self._index:
                self._by_image[item["image_id"]].append(item)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return read_rgb(self.images_folder / self.images[index]["file_name"])

    def boxes(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(M, 4) boxes, (M,) int64 class indices, (M,) bool crowd."""
        items = self._by_image[self.images[index]["id"]]
        xywh = np.array([item["bbox"] for item in items], np.float32).reshape(-1, 4)
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        classes = np.array([self._index[item["category_id"]] for item in items], np.int64)
        return xyxy, classes, np.array([bool(item["iscrowd"]) for item in items], bool)

    def subset(self, indices: list[int]) -> CocoBoxes:
        """The same data with only these images."""
        other = CocoBoxes.__new__(CocoBoxes)
        other.__dict__.update(self.__dict__)
        other.images = [self.images[index] for index in indices]
        return other

    def average_precision(self, results: list[Detections]) -> dict[str, float]:
        """`ap` (IoU 0.50:0.95), `ap50` over the classes, and `ap50_<class>`.

        Args:
            results: per image of this set, detections in image pixels, top-left pixel *centre* at (0, 0).
        """
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        rows = [row for image, result in zip(self.images, results) for row in self._rows(image["id"], result)]
        if not rows:
            return {"ap": 0.0, "ap50": 0.0}
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = self._content
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
            evaluation.params.imgIds = [image["id"] for image in self.images]
            evaluation.params.catIds = self.category_ids
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        precision = evaluation.eval["precision"][0, :, :, 0, -1]  # IoU 0.5, (recall, class by rising id)
        by_id = [name for _, name in sorted(zip(self.category_ids, self.class_names))]
        present = [(name, column) for name, column in zip(by_id, precision.T) if column[0] >= 0]
        per_class = {f"ap50_{name}": float(np.mean(column)) for name, column in present}
        return {"ap": float(evaluation.stats[0]), "ap50": float(evaluation.stats[1]), **per_class}

    def _rows(self, image_id: int, result: Detections) -> list[dict[str, Any]]:
        boxes = result.boxes_xyxy + 0.5
        boxes[:, 2:] -= boxes[:, :2]
        return [
            {"image_id": image_id, "category_id": self.category_ids[c], "bbox": box, "score": score}
            for box, score, c in zip(boxes.tolist(), result.scores.tolist(), result.class_ids.tolist())
        ]


def _read_annotation(path: Path) -> dict[str, Any]:
    """The file's content. Raises TrainingError when it is cut off, or its parts do not belong together."""
    try:
        content = json.loads(path.read_text())
        images = {image["id"] for image in content["images"]}
        categories = {category["id"] for category in content["categories"]}
        for item in content["annotations"]:
            if item["image_id"] not in images or item["category_id"] not in categories:
                received = (
                    f"annotation {item.get('id')} of image {item['image_id']}, category {item['category_id']}"
                )
                raise TrainingError(f"images and categories that {path} lists", received, "correct the file")
    except (ValueError, KeyError, TypeError) as error:
        received = f"{path}: {type(error).__name__} {error}"
        raise TrainingError("a whole COCO annotation file", received, "restore the data folder") from error
    return dict(content)
