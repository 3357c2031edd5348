"""Detection outputs -> `Detections`: threshold, clip, class-wise non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.datatypes import Detections
from vision_nodes.errors import EngineError


@dataclass(frozen=True)
class DetectionDecoder:
    """Turns the contract's `boxes`, `scores`, `class_ids` into at most `max_detections` distinct objects.

    Attributes:
        score_threshold: candidates below it are dropped.
        nms_iou: of two boxes of one class that overlap more than this, the lower score goes.
        min_side_px: boxes with a shorter side, after clipping to the image, are dropped.
    """

    input_wh: tuple[int, int]
    score_threshold: float = 0.35
    nms_iou: float = 0.6
    min_side_px: float = 2.0
    max_detections: int = 100

    def decode(self, outputs: dict[str, np.ndarray], index: int = 0) -> Detections:
        """One image of the batch.

        Args:
            outputs: `boxes` (B, N, 4) float32 xyxy network px, `scores` (B, N), `class_ids` (B, N).
            index: which image.

        Returns:
            Detections in network px (top-left pixel centre (0, 0)), best first.

        Raises:
            EngineError: an output is missing, or a candidate above the threshold is not finite.
        """
        try:
            boxes, scores, ids = (outputs[name][index] for name in ("boxes", "scores", "class_ids"))
        except KeyError as error:
            raise EngineError(
                "boxes, scores and class_ids", f"{sorted(outputs)}", "check the model"
            ) from error
        kept = np.flatnonzero(scores >= self.score_threshold)
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        boxes, scores, ids = self._clip(boxes[kept]), scores[kept], ids[kept]
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise EngineError("finite boxes and scores", "NaN or infinity", "verify the model file")
        large = (boxes[:, 2:] - boxes[:, :2] >= self.min_side_px).all(axis=1)
        boxes, scores, ids = boxes[large], scores[large], ids[large]
        chosen = suppress(boxes, ids, self.nms_iou)[: self.max_detections]
        return Detections(
            np.ascontiguousarray(boxes[chosen], np.float32),
            np.clip(scores[chosen], 0, 1).astype(np.float32),
            ids[chosen].astype(np.int64),
        )

    def _clip(self, boxes: np.ndarray) -> np.ndarray:
        """To the image, whose edges lie half a pixel outside the outer pixel centres."""
        width, height = self.input_wh
        return np.clip(boxes, -0.5, np.array([width, height, width, height], np.float32) - 0.5)


def suppress(boxes_xyxy: np.ndarray, class_ids: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy class-wise non-maximum suppression.

    Args:
        boxes_xyxy: (N, 4), best first.
        class_ids: (N,) boxes of different classes never suppress each other.

    Returns:
        (M,) int64 indices kept, ascending, so still best first.
    """
    clash = (iou_matrix(boxes_xyxy, boxes_xyxy) > iou_threshold) & (class_ids[:, None] == class_ids)
    alive = np.ones(len(boxes_xyxy), bool)
    for i in range(len(boxes_xyxy)):
        if alive[i]:
            alive[i + 1 :] &= ~clash[i, i + 1 :]
    return np.flatnonzero(alive)


def iou_matrix(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) -> (N, M) intersection over union; boxes are continuous, without + 1."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=2)
    area_a = (a_xyxy[:, 2:] - a_xyxy[:, :2]).prod(axis=1)
    area_b = (b_xyxy[:, 2:] - b_xyxy[:, :2]).prod(axis=1)
    union = area_a[:, None] + area_b[None] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
