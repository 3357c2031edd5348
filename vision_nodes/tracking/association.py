"""Which detection continues which track: overlap, class and an optimal assignment."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

_FORBIDDEN = 1e3


def iou_matrix(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of (N, 4) and (M, 4) xyxy boxes."""
    left_top = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    right_bottom = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    intersection = np.prod(np.maximum(right_bottom - left_top, 0.0), axis=2)
    area_a = np.prod(np.maximum(boxes_a[:, 2:] - boxes_a[:, :2], 0.0), axis=1)
    area_b = np.prod(np.maximum(boxes_b[:, 2:] - boxes_b[:, :2], 0.0), axis=1)
    union = area_a[:, None] + area_b[None] - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1e-12), 0.0)


def assign(similarity: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(K, 2) int64 pairs (row, column) that maximise the summed similarity among allowed pairs."""
    if similarity.size == 0 or not allowed.any():
        return np.zeros((0, 2), np.int64)
    cost = np.where(allowed, -similarity, _FORBIDDEN)
    rows, columns = linear_sum_assignment(cost)
    keep = allowed[rows, columns]
    return np.stack([rows[keep], columns[keep]], axis=1).astype(np.int64)
