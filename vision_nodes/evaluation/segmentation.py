"""Mean intersection over union, pixel accuracy and the confusion matrix (PASCAL VOC's definitions)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

UNLABELLED = 255


class SegmentationScore:
    """Accumulates a confusion matrix over frames."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.confusion = np.zeros((len(names), len(names) + 1), np.int64)  # truth x (prediction, unlabelled)

    def add(self, labels: np.ndarray, truth: np.ndarray) -> None:
        """One frame.

        Args:
            labels: (h, w) uint8 predicted ids; brought to the truth's size by nearest neighbour.
            truth: (H, W) uint8 true ids, 255 = not scored.
        """
        if labels.shape != truth.shape:
            labels = cv2.resize(labels, (truth.shape[1], truth.shape[0]), interpolation=cv2.INTER_NEAREST)
        k = len(self.names)
        scored = truth < k
        predicted = np.minimum(labels[scored].astype(np.int64), k)
        pairs = truth[scored].astype(np.int64) * (k + 1) + predicted
        self.confusion += np.bincount(pairs, minlength=k * (k + 1)).reshape(k, k + 1)

    def class_iou(self) -> dict[str, float]:
        """IoU of every class that occurs in truth or prediction."""
        square = self.confusion[:, :-1]
        hit = np.diag(square)
        union = self.confusion.sum(1) + square.sum(0) - hit
        return {name: float(h / u) for name, h, u in zip(self.names, hit, union) if u > 0}

    def figures(self) -> dict[str, object]:
        """``miou`` over the classes that occur in the truth, ``pixel_accuracy``, ``class_iou``."""
        total = int(self.confusion.sum())
        if total == 0:
            return {"miou": None, "pixel_accuracy": None, "class_iou": {}}
        ious = self.class_iou()
        present = [name for name, count in zip(self.names, self.confusion.sum(1)) if count > 0]
        return {
            "miou": float(np.mean([ious[name] for name in present])),
            "pixel_accuracy": float(np.trace(self.confusion[:, :-1]) / total),
            "class_iou": ious,
        }
