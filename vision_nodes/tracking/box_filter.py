"""Constant-velocity Kalman filter of many boxes at once.

State of a box: centre x, y, width, height and their rates per second (SORT's model with the box's own size
as noise scale, as in ByteTrack and BoT-SORT). Real stamps are used, so dropped frames do not slow objects.
"""

from __future__ import annotations

import numpy as np

_MEASUREMENT = 0.05  # 1-sigma of a box's sides / its size
_ACCELERATION = 1.5  # 1-sigma change of velocity in a second / its size
_START_VELOCITY = 1.0  # 1-sigma velocity of a new box, sizes per second


class BoxFilter:
    """One box: `mean` (8,) px and px/s, `covariance` (8, 8)."""

    def __init__(self, box_xyxy: np.ndarray) -> None:
        self.mean = np.concatenate([to_centre(box_xyxy), np.zeros(4)])
        size = self._scale()
        variances = np.concatenate([(2 * _MEASUREMENT * size) ** 2, (_START_VELOCITY * size) ** 2])
        self.covariance = np.diag(variances)

    @property
    def box_xyxy(self) -> np.ndarray:
        """(4,) float64 px."""
        return to_corners(self.mean[:4])

    def predict(self, dt_s: float) -> None:
        """Move ahead by `dt_s` seconds."""
        F = np.eye(8)
        F[:4, 4:] = dt_s * np.eye(4)
        variance = (_ACCELERATION * self._scale()) ** 2
        Q = np.zeros((8, 8))
        Q[:4, :4] = np.diag(variance * dt_s**3 / 3)
        Q[:4, 4:] = Q[4:, :4] = np.diag(variance * dt_s**2 / 2)
        Q[4:, 4:] = np.diag(variance * dt_s)
        self.mean = F @ self.mean
        self.mean[2:4] = np.maximum(self.mean[2:4], 1.0)
        self.covariance = F @ self.covariance @ F.T + Q

    def update(self, box_xyxy: np.ndarray, score: float) -> None:
        """Take in a detection; a weak one moves the box less."""
        noise = np.diag((_MEASUREMENT * self._scale() * (1.0 + 2.0 * (1.0 - score))) ** 2)
        S = self.covariance[:4, :4] + noise
        gain = np.linalg.solve(S, self.covariance[:4]).T
        self.mean = self.mean + gain @ (to_centre(box_xyxy) - self.mean[:4])
        self.mean[2:4] = np.maximum(self.mean[2:4], 1.0)
        self.covariance = self.covariance - gain @ self.covariance[:4]
        self.covariance = 0.5 * (self.covariance + self.covariance.T)

    def warp(self, affine: np.ndarray) -> None:
        """Apply the camera's (2, 3) image motion to position, size and velocity (BoT-SORT, 2022)."""
        A, scale = affine[:, :2], float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
        M = np.eye(8)
        M[:2, :2] = M[4:6, 4:6] = A
        M[2, 2] = M[3, 3] = M[6, 6] = M[7, 7] = scale
        self.mean = M @ self.mean
        self.mean[:2] += affine[:, 2]
        self.covariance = M @ self.covariance @ M.T

    def _scale(self) -> np.ndarray:
        w, h = np.maximum(self.mean[2:4], 1.0)
        return np.array([w, h, w, h])


def to_centre(box_xyxy: np.ndarray) -> np.ndarray:
    """(4,) left top right bottom -> centre x, y, width, height."""
    x0, y0, x1, y1 = np.asarray(box_xyxy, dtype=np.float64)
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, 1.0), max(y1 - y0, 1.0)])


def to_corners(centre: np.ndarray) -> np.ndarray:
    """Inverse of `to_centre`."""
    x, y, w, h = centre
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
