"""Whether confidences mean what they say (Guo et al., ICML 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_nodes.evaluation.detection import DetectionFrame
from vision_nodes.evaluation.matching import best_pairs, match_class

BINS = 10
CONFUSION_SCORE = 0.35  # boxes that a node publishes by default


@dataclass(frozen=True)
class Reliability:
    """Reliability curve over equal bins of confidence; NaN where a bin is empty."""

    count: np.ndarray  # (BINS,) int
    confidence: np.ndarray  # (BINS,) mean confidence
    accuracy: np.ndarray  # (BINS,) share that was right

    @property
    def ece(self) -> float | None:
        """Expected calibration error: mean |accuracy - confidence|, weighted by count."""
        total = self.count.sum()
        if total == 0:
            return None
        gap = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((gap * self.count).sum() / total)


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """Curve of (N,) confidences in [0, 1] and (N,) bool, whether each was right."""
    slot = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    count = np.bincount(slot, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(slot, confidence, bins) / count
        share = np.bincount(slot, np.asarray(right, float), bins) / count
    return Reliability(count, mean, share)


def detection_reliability(frames: Sequence[DetectionFrame], classes: Sequence[int]) -> Reliability:
    """Confidence of boxes against the share that hits a true box of their class at IoU 0.5."""
    scores, right = [], []
    for category in classes:
        matches = match_class(frames, category, np.array([0.5]))
        counted = matches.counted[0]
        scores.append(matches.scores[counted])
        right.append(matches.right[0][counted])
    if not scores:
        return reliability(np.zeros(0), np.zeros(0, bool))
    return reliability(np.concatenate(scores), np.concatenate(right))


def detection_confusion(
    frames: Sequence[DetectionFrame], classes: int, min_score: float = CONFUSION_SCORE
) -> np.ndarray:
    """(K + 1, K + 1) true class x predicted class at IoU 0.5; the last row is invented, the last column missed."""
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    for frame in frames:
        found, true = frame.predicted.above(min_score), frame.truth
        if frame.crowd is not None:
            true = true.select(~frame.crowd)
        pairs = best_pairs(found, true)
        for i, j in pairs:
            confusion[true.class_ids[j], found.class_ids[i]] += 1
        seen, hit = {i for i, _ in pairs}, {j for _, j in pairs}
        for i in set(range(len(found))) - seen:
            confusion[classes, found.class_ids[i]] += 1
        for j in set(range(len(true))) - hit:
            confusion[true.class_ids[j], classes] += 1
    return confusion


def class_figures(confusion: np.ndarray) -> dict[str, float | None]:
    """Precision, recall and F1 over all boxes of a detection confusion."""
    hits = int(np.trace(confusion[:-1, :-1]))
    found, true = int(confusion[:, :-1].sum()), int(confusion[:-1].sum())
    precision = hits / found if found else None
    recall = hits / true if true else None
    both = found + true
    return {"precision": precision, "recall": recall, "f1": 2 * hits / both if both else None}
