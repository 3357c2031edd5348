"""Image motion caused by the camera: a similarity fitted to sparse optical flow."""

from __future__ import annotations

import cv2
import numpy as np

_WIDTH = 320  # flow is computed on an image this wide: box association needs no more
_POINTS = 200
_MIN_INLIERS = 12
_MIN_CORRELATION = 0.1  # phase correlation's peak; noise stays below


class CameraMotion:
    """Remembers the previous image; `update` returns how its pixels moved into the new one."""

    def __init__(self) -> None:
        self._previous: np.ndarray | None = None
        self._points = np.zeros((0, 1, 2), np.float32)

    def reset(self) -> None:
        """Forget the previous image."""
        self._previous = None

    def update(self, gray: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray | None:
        """(2, 3) float64 similarity: new px = A @ old px + t; None when it cannot be told.

        Args:
            gray: (H, W) uint8.
            boxes_xyxy: (N, 4) px, objects of the new image whose own motion must not count next time.
        """
        scale = min(1.0, _WIDTH / gray.shape[1])
        small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        affine = self._fit(small)
        self._previous = small
        self._points = self._corners(small, boxes_xyxy * scale)
        if affine is None:
            return None
        # Pixel centres: x_small + 0.5 = scale * (x + 0.5).
        offset = 0.5 * (1.0 - scale)
        shift = affine[:, :2] @ np.full(2, -offset) + affine[:, 2] + offset
        return np.column_stack([affine[:, :2], shift / scale])

    def _fit(self, small: np.ndarray) -> np.ndarray | None:
        if self._previous is None or self._previous.shape != small.shape or len(self._points) < _MIN_INLIERS:
            return None
        start = self._points + _shift(self._previous, small)
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            self._previous,
            small,
            self._points,
            start,
            winSize=(15, 15),
            maxLevel=3,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        found = status.ravel() == 1
        if found.sum() < _MIN_INLIERS:
            return None
        affine, inliers = cv2.estimateAffinePartial2D(
            self._points[found], moved[found], method=cv2.RANSAC, ransacReprojThreshold=1.5
        )
        if affine is None or inliers.sum() < max(_MIN_INLIERS, 0.3 * found.sum()):
            return None
        scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
        return np.asarray(affine, np.float64) if 0.7 < scale < 1.4 else None

    @staticmethod
    def _corners(small: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Corners on the background; on everything when objects fill the image."""
        background = np.full(small.shape, 255, np.uint8)
        for x0, y0, x1, y1 in np.rint(boxes_xyxy).astype(int):
            background[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = 0
        if np.count_nonzero(background) < 0.15 * background.size:
            background[:] = 255
        points = cv2.goodFeaturesToTrack(small, _POINTS, 0.01, 7, mask=background)
        return np.zeros((0, 1, 2), np.float32) if points is None else points


def _shift(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """(2,) float32 px of the dominant translation: a fast turn moves further than flow can search."""
    size_wh = (max(current.shape[1] // 2, 8), max(current.shape[0] // 2, 8))
    pair = [
        cv2.resize(i, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32) for i in (previous, current)
    ]
    shift, response = cv2.phaseCorrelate(pair[0], pair[1], cv2.createHanningWindow(size_wh, cv2.CV_32F))
    if response < _MIN_CORRELATION or not np.isfinite(shift).all():
        return np.zeros(2, np.float32)
    return np.array(
        [shift[0] * current.shape[1] / size_wh[0], shift[1] * current.shape[0] / size_wh[1]], np.float32
    )
