"""Segmentation outputs -> `Segmentation`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.datatypes import Segmentation
from vision_nodes.errors import EngineError
from vision_nodes.tasks.classes import UNLABELLED


@dataclass(frozen=True)
class SegmentationDecoder:
    """Keeps the network's labels; pixels less sure than `min_confidence` become unlabelled (255)."""

    classes: int
    min_confidence: float = 0.0

    def decode(self, outputs: dict[str, np.ndarray], index: int = 0) -> Segmentation:
        """One image of the batch.

        Args:
            outputs: `labels` (B, H', W') uint8, `confidence` (B, H', W') float32 in [0, 1].
            index: which image.

        Returns:
            Mask at the outputs' resolution; arrays are copies.

        Raises:
            EngineError: an output is missing, a label is not a class, or a confidence is not a number.
        """
        if "labels" not in outputs or "confidence" not in outputs:
            raise EngineError("outputs labels and confidence", f"{sorted(outputs)}", "check the model")
        labels = outputs["labels"][index].astype(np.uint8, copy=True)
        confidence = outputs["confidence"][index].astype(np.float32, copy=True)
        if not self._only_classes(labels):
            raise EngineError(f"labels below {self.classes}", f"{labels.max()}", "check class_names")
        if not np.isfinite(confidence).all():
            raise EngineError("finite confidence", "NaN or infinity", "verify the model file")
        if self.min_confidence > 0:
            labels[confidence < self.min_confidence] = UNLABELLED
        return Segmentation(labels, confidence)

    def _only_classes(self, labels: np.ndarray) -> bool:
        return bool(((labels < self.classes) | (labels == UNLABELLED)).all())
