"""Corners worth following, spread over the image (Shi & Tomasi 1994)."""

from __future__ import annotations

import cv2
import numpy as np

SPACING_PX = 10  # no new corner this close to a track
CELL_PX = 16  # one corner per cell at most
MIN_CORNER = 1.5e-4  # smallest structure-tensor eigenvalue: that of noise of 2 grey levels stays below it
RELATIVE_CORNER = 0.005  # of the strongest corner in the image


def spread_corners(image: np.ndarray, occupied_xy: np.ndarray, wanted: int) -> np.ndarray:
    """Strongest corner of each free cell, cells of the emptier image regions first.

    Args:
        image: (H, W) uint8.
        occupied_xy: (M, 2) px already tracked; their surroundings stay free.
        wanted: upper bound of the answer.

    Returns:
        (N, 2) float32 px, N <= wanted.
    """
    border = 8
    response = cv2.cornerMinEigenVal(image, 5)
    rows, columns = (image.shape[0] - 2 * border) // CELL_PX, (image.shape[1] - 2 * border) // CELL_PX
    if rows < 1 or columns < 1:
        return np.zeros((0, 2), np.float32)
    response[_around(occupied_xy, image.shape)] = 0
    inner = response[border : border + rows * CELL_PX, border : border + columns * CELL_PX]
    cells = inner.reshape(rows, CELL_PX, columns, CELL_PX).swapaxes(1, 2).reshape(rows * columns, -1)
    best = cells.argmax(axis=1)
    strength = cells[np.arange(len(cells)), best]
    y, x = np.divmod(np.arange(len(cells)), columns)
    xy = np.stack([x * CELL_PX + best % CELL_PX, y * CELL_PX + best // CELL_PX], 1) + border
    strong = strength > max(MIN_CORNER, RELATIVE_CORNER * float(strength.max()))
    xy, strength = xy[strong].astype(np.float32), strength[strong]
    order = _spread_order(xy, strength, occupied_xy, image.shape)
    return xy[order[:wanted]]


def _around(xy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: pixels within `SPACING_PX` of a point."""
    mask = np.zeros(shape, np.uint8)
    at = np.clip(np.round(xy).astype(int), 0, np.array(shape[::-1]) - 1)
    mask[at[:, 1], at[:, 0]] = 1
    return cv2.dilate(mask, np.ones((2 * SPACING_PX + 1,) * 2, np.uint8)).astype(bool)


def _spread_order(
    xy: np.ndarray, strength: np.ndarray, occupied_xy: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Indices so that every one of 8x6 buckets is served in turn, the emptiest first."""
    buckets_wh = np.array([8, 6])
    size = np.array([shape[1], shape[0]])

    def bucket(points: np.ndarray) -> np.ndarray:
        index = np.minimum((points / size * buckets_wh).astype(int), buckets_wh - 1)
        return index[:, 1] * 8 + index[:, 0]

    filled = np.bincount(bucket(occupied_xy), minlength=48)
    own = bucket(xy)
    by_strength = np.lexsort((-strength, own))
    first = np.searchsorted(own[by_strength], np.arange(48))
    rank = np.empty(len(xy), int)
    rank[by_strength] = np.arange(len(xy)) - first[own[by_strength]]
    return np.lexsort((-strength, rank + filled[own]))
