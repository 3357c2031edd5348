"""Classical local features of a keyframe and their matching.

SIFT in its RootSIFT form (Arandjelovic and Zisserman, CVPR 2012) by default: the square root of the
L1-normalised descriptor compares by Hellinger distance, which matches more true points for free. ORB costs
a tenth of the time and recalls less.
"""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.datatypes import Features

DESCRIPTOR_BYTES = {"sift": 128, "orb": 32}
_SURPLUS = 2.5  # features detected for each one kept; with 1.5 one corner of strong texture takes them all
_MIN_SIDE_PX = 32  # ORB's patch; OpenCV raises on images smaller than its pyramid
_ROOT_SCALE = 255.0  # RootSIFT parts lie in [0, 1]; bytes keep them to 0.4 % and a quarter of the memory


class LocalFeatureExtractor:
    """(H, W) uint8 luma -> at most `max_features` features spread over the image."""

    def __init__(self, kind: str, max_features: int, scale: float = 1.0) -> None:
        self.kind = kind
        self.max_features = max_features
        self._scale = scale  # of the image worked on: SIFT doubles it first, most of its time
        # More are detected, then the weak ones of crowded cells go: texture must not win it all.
        if kind == "sift":
            self._detector = cv2.SIFT_create(nfeatures=round(_SURPLUS * max_features), contrastThreshold=0.02)
        else:
            self._detector = cv2.ORB_create(nfeatures=round(_SURPLUS * max_features), fastThreshold=10)

    def extract(self, gray: np.ndarray) -> Features:
        """Features of an (H, W) uint8 image; descriptors (N, 128) or (N, 32) uint8. N may be 0."""
        size_hw = gray.shape
        if self._scale < 1.0:
            size_wh = (max(round(gray.shape[1] * self._scale), 1), max(round(gray.shape[0] * self._scale), 1))
            gray = cv2.resize(gray, size_wh, interpolation=cv2.INTER_AREA)
        keypoints, descriptors = [], None
        if min(gray.shape) >= _MIN_SIDE_PX:
            keypoints, descriptors = self._detector.detectAndCompute(gray, None)
        if descriptors is None or len(keypoints) == 0:
            none = np.zeros((0, DESCRIPTOR_BYTES[self.kind]), np.uint8)
            return Features(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), none)
        xy = np.array([k.pt for k in keypoints], dtype=np.float32)
        ratio = np.array([size_hw[1] / gray.shape[1], size_hw[0] / gray.shape[0]], np.float32)
        xy = (xy + np.float32(0.5)) * ratio - np.float32(0.5)
        response = np.array([k.response for k in keypoints], dtype=np.float32)
        keep = _spread(xy, response, size_hw, self.max_features)
        if self.kind == "sift":
            descriptors = _root_sift(descriptors[keep])
        else:
            descriptors = descriptors[keep]
        return Features(xy[keep], response[keep], descriptors)


def _spread(xy: np.ndarray, response: np.ndarray, shape_hw: tuple[int, int], limit: int) -> np.ndarray:
    """Indices of at most `limit` points: strongest first within each cell of an 8 x 8 grid, by turns."""
    if len(xy) <= limit:
        return np.arange(len(xy))
    h, w = shape_hw
    cell = (xy[:, 1] * 8 / h).astype(int).clip(0, 7) * 8 + (xy[:, 0] * 8 / w).astype(int).clip(0, 7)
    order = np.lexsort((-response, cell))
    starts = np.searchsorted(cell[order], np.arange(64))
    rank_in_cell = np.arange(len(xy)) - starts[cell[order]]
    by_turn = np.lexsort((-response[order], rank_in_cell))
    return np.sort(order[by_turn[:limit]])


def _root_sift(descriptors: np.ndarray) -> np.ndarray:
    """(N, 128) float32 SIFT -> (N, 128) uint8 RootSIFT, unit L2 norm times 255."""
    total = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12)
    return np.rint(np.sqrt(descriptors / total) * _ROOT_SCALE).astype(np.uint8)


def match(descriptors_a: np.ndarray, descriptors_b: np.ndarray, ratio: float) -> np.ndarray:
    """Mutual nearest neighbours that pass the ratio test both ways: (P, 2) int64 indices into a and b."""
    return match_with_ratio(descriptors_a, descriptors_b, ratio)[0]


def match_with_ratio(
    descriptors_a: np.ndarray, descriptors_b: np.ndarray, ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mutual nearest neighbours that pass the ratio test both ways.

    Args:
        descriptors_a, descriptors_b: (N, D) and (M, D) uint8: RootSIFT (D = 128) or binary (D = 32).
        ratio: nearest distance / second nearest distance must stay below.

    Returns:
        (P, 2) int64 indices into a and b, and each pair's ratio (P,) float32, the worse of both ways.
    """
    if len(descriptors_a) < 2 or len(descriptors_b) < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    squared = _squared_distances(descriptors_a, descriptors_b)
    best_b, ratio_a = _nearest(squared)
    candidates = np.flatnonzero(ratio_a < ratio)
    if len(candidates) == 0:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    # The way back is asked only for the columns that some row has chosen.
    columns, column_of = np.unique(best_b[candidates], return_inverse=True)
    best_a, ratio_b = _nearest(np.ascontiguousarray(squared[:, columns].T))
    worse = np.maximum(ratio_a[candidates], ratio_b[column_of])
    keep = (best_a[column_of] == candidates) & (worse < ratio)
    pairs = np.stack([candidates[keep], best_b[candidates[keep]]], axis=1)
    return pairs.astype(np.int64), worse[keep]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) float32: squared L2 between RootSIFT descriptors, squared Hamming between binary ones."""
    if a.shape[1] == DESCRIPTOR_BYTES["orb"]:
        bits_a, bits_b = (np.unpackbits(d, axis=1).astype(np.float32) for d in (a, b))
        hamming = bits_a.sum(1)[:, None] + bits_b.sum(1)[None] - 2.0 * (bits_a @ bits_b.T)
        return np.square(hamming)
    fa, fb = a.astype(np.float32), b.astype(np.float32)
    squared = (-2.0 * fa) @ fb.T  # in place from here: the matrix is what costs time
    squared += (fa * fa).sum(1)[:, None]
    squared += (fb * fb).sum(1)[None]
    return squared


def _nearest(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) nearest column of each row, and its distance over the second nearest's."""
    rows = np.arange(len(squared))
    best = np.argmin(squared, axis=1)
    first = squared[rows, best]
    squared[rows, best] = np.inf  # two passes of min are ten times faster than argpartition here
    second = squared.min(axis=1)
    squared[rows, best] = first
    return best, np.sqrt(np.maximum(first, 0.0) / np.maximum(second, 1e-6))
