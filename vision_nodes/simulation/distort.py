"""Lens distortion on top of the exact pinhole renderer."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.camera.model import CameraModel


def distorted_maps(camera: CameraModel) -> tuple[np.ndarray, tuple[int, int], np.ndarray, np.ndarray]:
    """The pinhole view that covers a distorted image, and where each distorted pixel lies in it.

    Returns:
        K (3, 3) and size_wh of the wide pinhole view, and map_x, map_y (H, W) float32: wide-view pixel of
        each pixel of the distorted image.
    """
    w, h = camera.size_wh
    grid = np.stack(np.meshgrid(np.arange(w, dtype=np.float64), np.arange(h, dtype=np.float64)), axis=-1)
    points = grid.reshape(-1, 1, 2)
    if camera.distortion_model == "equidistant":
        rays = cv2.fisheye.undistortPoints(points, camera.K, camera.distortion)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-9)
        rays = cv2.undistortPointsIter(points, camera.K, camera.distortion, None, None, criteria)
    rays = rays.reshape(h, w, 2)
    low, high = rays.reshape(-1, 2).min(axis=0), rays.reshape(-1, 2).max(axis=0)
    focal = np.array([camera.fx, camera.fy])
    size = np.ceil((high - low) * focal).astype(int) + 3
    K = np.array([[focal[0], 0, 1 - low[0] * focal[0]], [0, focal[1], 1 - low[1] * focal[1]], [0, 0, 1.0]])
    maps = rays * focal + K[:2, 2]
    return K, (int(size[0]), int(size[1])), maps[..., 0].astype(np.float32), maps[..., 1].astype(np.float32)


def nearest(plane: np.ndarray, map_x: np.ndarray, map_y: np.ndarray) -> np.ndarray:
    """Truth (h, w) of any type at the wide-view pixel nearest to each map position (H, W)."""
    row = np.clip(np.rint(map_y).astype(np.int64), 0, plane.shape[0] - 1)
    column = np.clip(np.rint(map_x).astype(np.int64), 0, plane.shape[1] - 1)
    return plane[row, column]
