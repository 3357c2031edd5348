"""COCO average precision through pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_nodes.datatypes import Detections


@dataclass(frozen=True)
class DetectionFrame:
    """Predictions and truth of one image; class ids index one common list of names."""

    predicted: Detections
    truth: Detections
    crowd: np.ndarray | None = None  # (N,) bool: truth boxes that neither count nor punish


def score_detections(frames: Sequence[DetectionFrame], names: Sequence[str]) -> dict[str, object]:
    """COCO AP, AP50, AP75 and AR100 over the classes that occur in the truth.

    Returns:
        ``ap``, ``ap50``, ``ap75``, ``ar`` (None when there is no truth), ``class_ap``, counts.
    """
    boxes = sum(len(f.truth) - (0 if f.crowd is None else int(f.crowd.sum())) for f in frames)
    found = sum(len(frame.predicted) for frame in frames)
    figures: dict[str, object] = {
        "frames": len(frames),
        "per_frame": found / len(frames) if frames else None,
        "truth_boxes": boxes,
        "ap": None,
        "ap50": None,
        "ap75": None,
        "ar": None,
        "class_ap": {},
    }
    if boxes == 0:
        return figures
    if found == 0:
        return figures | {"ap": 0.0, "ap50": 0.0, "ap75": 0.0, "ar": 0.0}
    precision, recall, classes = _run_coco(frames, names)
    # precision: (IoU threshold, recall, class, area = all, 100 detections); -1 where a class has no truth
    figures["class_ap"] = {names[c]: _mean(precision[:, :, k]) for k, c in enumerate(classes)}
    return figures | {
        "ap": _mean(precision),
        "ap50": _mean(precision[0]),
        "ap75": _mean(precision[5]),
        "ar": _mean(recall),
    }


def _run_coco(
    frames: Sequence[DetectionFrame], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    classes = sorted({int(c) for frame in frames for c in frame.truth.class_ids})
    truth.dataset = {
        "info": {},
        "images": [{"id": i + 1} for i in range(len(frames))],
        "categories": [{"id": c, "name": names[c]} for c in classes],
        "annotations": [
            row | {"id": k + 1, "iscrowd": crowd}
            for k, (row, crowd) in enumerate(
                (row, int(frame.crowd is not None and bool(frame.crowd[n])))
                for i, frame in enumerate(frames)
                for n, row in enumerate(_rows(frame.truth, i + 1))
            )
        ],
    }
    results = [row for i, frame in enumerate(frames) for row in _rows(frame.predicted, i + 1, scored=True)]
    results = [row for row in results if row["category_id"] in classes]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
        if not results:
            shape = (10, 101, len(classes))
            return np.zeros(shape), np.zeros((10, len(classes))), classes
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, -1], evaluation.eval["recall"][:, :, 0, -1], classes


def _rows(detections: Detections, image_id: int, scored: bool = False) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for (x0, y0, x1, y1), score, category in zip(
        detections.boxes_xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist()
    ):
        row: dict[str, object] = {
            "image_id": image_id,
            "category_id": category,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
        }
        if scored:
            row["score"] = score
        rows.append(row)
    return rows


def _mean(values: np.ndarray) -> float | None:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else None
