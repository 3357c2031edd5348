"""The only code that knows scale and padding between two images of one view."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class Fit(str, Enum):
    """How a source image fills a target of another aspect ratio."""

    STRETCH = "stretch"  # both sides to the target, aspect not kept
    LETTERBOX = "letterbox"  # aspect kept, centred, target padded
    CROP = "crop"  # aspect kept, centred, source cropped


@dataclass(frozen=True)
class ResizeMap:
    """Affine map between source pixels and target pixels.

    The centre of the top-left pixel is (0, 0), so a pure rescale is ``(x + 0.5) * s - 0.5``.
    Fully defined by the two sizes and the fit, also when the camera is uncalibrated.
    """

    source_wh: tuple[int, int]
    target_wh: tuple[int, int]
    fit: Fit = Fit.STRETCH

    def __post_init__(self) -> None:
        if min(*self.source_wh, *self.target_wh) < 1:
            raise ValueError(f"sizes must be positive, received {self.source_wh} -> {self.target_wh}")

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Target pixels per source pixel, along x and y."""
        sx = self.target_wh[0] / self.source_wh[0]
        sy = self.target_wh[1] / self.source_wh[1]
        if self.fit is Fit.STRETCH:
            return sx, sy
        s = min(sx, sy) if self.fit is Fit.LETTERBOX else max(sx, sy)
        return s, s

    @property
    def offset_xy(self) -> tuple[float, float]:
        """Target-pixel offset of the scaled source's left top edge: > 0 padding, < 0 cropping."""
        sx, sy = self.scale_xy
        return (
            (self.target_wh[0] - self.source_wh[0] * sx) / 2,
            (self.target_wh[1] - self.source_wh[1] * sy) / 2,
        )

    def to_target(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2) source px -> (..., 2) target px."""
        xy = np.asarray(xy)
        target = (xy + 0.5) * self._vector(self.scale_xy) + self._vector(self.offset_xy) - 0.5
        return np.asarray(target, dtype=xy.dtype if xy.dtype.kind == "f" else np.float64)

    def to_source(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2) target px -> (..., 2) source px."""
        xy = np.asarray(xy)
        source = (xy + 0.5 - self._vector(self.offset_xy)) / self._vector(self.scale_xy) - 0.5
        return np.asarray(source, dtype=xy.dtype if xy.dtype.kind == "f" else np.float64)

    def boxes_to_source(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """(N, 4) target px -> (N, 4) source px, corners as points."""
        return self.to_source(boxes_xyxy.reshape(-1, 2)).reshape(-1, 4)

    def boxes_to_target(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """(N, 4) source px -> (N, 4) target px, corners as points."""
        return self.to_target(boxes_xyxy.reshape(-1, 2)).reshape(-1, 4)

    def matrix(self) -> np.ndarray:
        """(3, 3) float64 homography: target = matrix @ source, homogeneous px."""
        (sx, sy), (ox, oy) = self.scale_xy, self.offset_xy
        return np.array([[sx, 0, 0.5 * sx + ox - 0.5], [0, sy, 0.5 * sy + oy - 0.5], [0, 0, 1.0]])

    def camera_matrix(self, K: np.ndarray) -> np.ndarray:
        """(3, 3) intrinsics of the source image -> those of the target image."""
        return np.asarray(self.matrix() @ K)

    @staticmethod
    def _vector(pair: tuple[float, float]) -> np.ndarray:
        return np.asarray(pair, dtype=np.float64)
