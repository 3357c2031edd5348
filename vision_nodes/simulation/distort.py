"""Lens distortion on top of the exact pinhole renderer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.rectify import raw_to_rectified


@dataclass(frozen=True)
class WideView:
    """The pinhole view that covers a distorted image, and where each distorted pixel lies in it."""

    K: np.ndarray  # (3, 3)
    size_wh: tuple[int, int]
    map_x: np.ndarray  # (H, W) float32 px of the wide view; -10 where the lens model gives no ray
    map_y: np.ndarray

    def picture(self, image: np.ndarray) -> np.ndarray:
        """The wide view's (h, w, 3) uint8 as the lens shows it, black outside the model's range."""
        return cv2.remap(image, self.map_x, self.map_y, cv2.INTER_LINEAR)

    def nearest(self, plane: np.ndarray, outside: float) -> np.ndarray:
        """(H, W) truth at the wide-view pixel nearest to each distorted one, `outside` where there is none."""
        row = np.clip(np.rint(self.map_y).astype(np.int64), 0, plane.shape[0] - 1)
        column = np.clip(np.rint(self.map_x).astype(np.int64), 0, plane.shape[1] - 1)
        out: np.ndarray = plane[row, column]
        out[self.map_x < -5] = outside
        return out


def wide_view(camera: CameraModel) -> WideView:
    """The wide view of a camera with distortion; remembered, for a lens stays the same for a whole drive.

    The rectification rotation R is none of the lens: rays are those of the raw camera.
    """
    coefficients = np.asarray(camera.distortion, np.float64)
    return _wide_view(
        camera.size_wh, camera.K.astype(np.float64).tobytes(), camera.distortion_model, coefficients.tobytes()
    )


@lru_cache(maxsize=4)
def _wide_view(size_wh: tuple[int, int], K_bytes: bytes, model: str, distortion: bytes) -> WideView:
    K = np.frombuffer(K_bytes).reshape(3, 3)
    camera = CameraModel(size_wh, K, model, np.frombuffer(distortion))
    w, h = size_wh
    grid = np.stack(np.meshgrid(np.arange(w, dtype=np.float64), np.arange(h, dtype=np.float64)), axis=-1)
    pixels = raw_to_rectified(camera, grid.reshape(-1, 2))
    valid = np.isfinite(pixels).all(axis=1)
    low, high = pixels[valid].min(axis=0), pixels[valid].max(axis=0)
    # a fisheye's outermost rays would need an endless pinhole image
    low, high = np.maximum(low, (-2 * w, -2 * h)), np.minimum(high, (3 * w, 3 * h))
    valid &= ((pixels >= low) & (pixels <= high)).all(axis=1)
    shift = 1 - np.floor(low)
    wide_K = K + np.array([[0, 0, shift[0]], [0, 0, shift[1]], [0, 0, 0]])
    wide_wh = np.ceil(high + shift).astype(int) + 2
    maps = np.where(valid[:, None], pixels + shift, -10.0).astype(np.float32).reshape(h, w, 2)
    return WideView(wide_K, (int(wide_wh[0]), int(wide_wh[1])), maps[..., 0].copy(), maps[..., 1].copy())
