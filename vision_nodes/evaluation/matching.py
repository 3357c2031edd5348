"""Predicted boxes matched with true ones by COCO's rule, kept per frame so that frames can be resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_nodes.datatypes import Detections
from vision_nodes.evaluation.detection import DetectionFrame

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100  # per class and frame, as COCO counts
_EPSILON = np.spacing(1)


@dataclass(frozen=True)
class ClassMatches:
    """All predictions of one class over F frames, best score first.

    Attributes:
        frame: (N,) which frame; scores: (N,).
        right: (T, N) bool, matched a true box at each IoU threshold.
        counted: (T, N) bool, False where the match was a crowd box.
        truth: (F,) number of true boxes per frame, crowds left out.
    """

    frame: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    counted: np.ndarray
    truth: np.ndarray


def match_class(
    frames: Sequence[DetectionFrame], category: int, thresholds: np.ndarray = THRESHOLDS
) -> ClassMatches:
    """Match one class in every frame; each true box is taken once, by the best score that overlaps it."""
    index, scores, right, counted, truth = [], [], [], [], []
    for number, frame in enumerate(frames):
        true = frame.truth.class_ids == category
        crowd = np.zeros(int(true.sum()), bool) if frame.crowd is None else frame.crowd[true]
        found = np.flatnonzero(frame.predicted.class_ids == category)
        found = found[np.argsort(-frame.predicted.scores[found], kind="stable")][:MAX_DETECTIONS]
        overlap = box_overlaps(frame.predicted.boxes_xyxy[found], frame.truth.boxes_xyxy[true], crowd)
        pairs = [_assign(overlap, crowd, threshold) for threshold in thresholds]
        right.append(np.array([pair >= 0 for pair in pairs]).reshape(len(thresholds), len(found)))
        counted.append(
            np.array([(pair < 0) | ~_at(crowd, pair) for pair in pairs]).reshape(len(thresholds), len(found))
        )
        index.append(np.full(len(found), number))
        scores.append(frame.predicted.scores[found])
        truth.append(int((~crowd).sum()))
    if not frames:
        empty = np.zeros((len(thresholds), 0), bool)
        return ClassMatches(np.zeros(0, int), np.zeros(0), empty, empty, np.zeros(0, int))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return ClassMatches(
        np.concatenate(index)[order],
        np.concatenate(scores)[order],
        np.concatenate(right, axis=1)[:, order],
        np.concatenate(counted, axis=1)[:, order],
        np.array(truth),
    )


def _at(crowd: np.ndarray, pair: np.ndarray) -> np.ndarray:
    return np.asarray(crowd[pair]) if len(crowd) else np.zeros(len(pair), bool)


def _assign(overlap: np.ndarray, crowd: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) index of the true box of each prediction, -1 = none; crowds only when nothing else fits."""
    pairs = np.full(len(overlap), -1)
    free = np.ones(len(crowd), bool)
    for row, values in enumerate(overlap):
        for allowed in (free & ~crowd, crowd):
            usable = np.where(allowed, values, -1.0)
            if len(usable) and usable.max() >= threshold:
                # The last of equals, as pycocotools takes it.
                pairs[row] = len(usable) - 1 - int(np.argmax(usable[::-1]))
                free[pairs[row]] = False
                break
    return pairs


def box_overlaps(found: np.ndarray, true: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """(N, 4), (M, 4) -> (N, M) IoU; with a crowd box, the share of the prediction that lies in it."""
    found, true = found.astype(np.float64), true.astype(np.float64)
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    area_found, area_true = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (found, true))
    whole = area_found[:, None] + area_true[None] - common
    if crowd is not None and crowd.any():
        whole[:, crowd] = area_found[:, None]
    return np.asarray(np.divide(common, whole, out=np.zeros_like(common), where=whole > 0))


def average_precision(matches: ClassMatches, weights: np.ndarray | None = None) -> np.ndarray:
    """(T,) or (B, T) average precision, 101 recall levels; NaN without a true box.

    Args:
        weights: (B, F) how often each frame counts; None = once each.
    """
    single = weights is None
    weights = np.ones((1, len(matches.truth))) if weights is None else np.asarray(weights, np.float64)
    per_box = weights[:, matches.frame]
    truth = weights @ matches.truth
    values = np.full((len(weights), len(matches.right)), np.nan)
    for t, (right, counted) in enumerate(zip(matches.right, matches.counted)):
        hit = np.cumsum(per_box * (right & counted), axis=1)
        miss = np.cumsum(per_box * (~right & counted), axis=1)
        precision = hit / (hit + miss + _EPSILON)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for b in np.flatnonzero(truth > 0):
            at = np.searchsorted(hit[b] / truth[b], RECALL_LEVELS, side="left")
            values[b, t] = envelope[b][at[at < envelope.shape[1]]].sum() / len(RECALL_LEVELS)
    return values[0] if single else values


def best_pairs(found: Detections, true: Detections, threshold: float = 0.5) -> list[tuple[int, int]]:
    """Pairs (prediction, true box) of any class by falling score, for the confusion of classes."""
    order = np.argsort(-found.scores, kind="stable")
    pairs = _assign(
        box_overlaps(found.boxes_xyxy[order], true.boxes_xyxy), np.zeros(len(true), bool), threshold
    )
    return [(int(order[i]), int(j)) for i, j in enumerate(pairs) if j >= 0]
