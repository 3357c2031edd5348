"""Rectification and scaling in one resampling, and the point maps between both images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from vision_nodes.camera.distortion import distort
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.camera.scaling import count_exact_halvings, count_halvings, halve, resample

_OUTLINE_CORNERS = [0, 1, 2, 1, 2, 3, 0, 3]  # of a box left top right bottom, clockwise
_EDGE_STEPS = np.linspace(0, 1, 8, endpoint=False)[:, None]  # misses 1/64 of a bow's height at most


class Rectifier:
    """Maps raw camera images of one camera and size to rectified images of the working size.

    Rectify and scale are one `cv2.remap` with cached fixed-point maps. A shrink by two or more is
    preceded by exact 2x2 averages: bilinear sampling alone reads four source pixels and would alias,
    and since the remap then reads a quarter of the memory the pair is also the faster way (1920x1080 ->
    640x360 on one core: 2.1 ms, the bare remap 2.4 ms). Without distortion, or without calibration, the
    image is only resampled; at equal size nothing is done.

    Attributes:
        source: camera of the raw image, None when uncalibrated.
        source_wh, target_wh: sizes of the raw image and of the result, px.
        camera: intrinsics of the result, None when uncalibrated.
        halvings: how often the raw image is halved before the remap.
    """

    def __init__(
        self, source: CameraModel | None, source_wh: tuple[int, int], target_wh: tuple[int, int]
    ) -> None:
        if source is not None and source.size_wh != source_wh:
            raise ValueError(f"camera is {source.size_wh}, image {source_wh}")
        self.source, self.source_wh, self.target_wh = source, source_wh, target_wh
        self.camera: CameraModel | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        if source is not None:
            K_target = ResizeMap(source_wh, target_wh).camera_matrix(rectified_matrix(source))
            self.camera = CameraModel(target_wh, K_target)
        if source is None or source.is_rectified:
            self.halvings = count_exact_halvings(source_wh, target_wh)
        else:
            self.halvings = count_halvings(source_wh, target_wh)
            self._maps = self._build_maps(source, K_target)

    def _build_maps(self, source: CameraModel, K_target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        K_half = halving_matrix(self.halvings) @ source.K
        is_fisheye = source.distortion_model == "equidistant" and len(source.distortion) > 0
        build: Any = cv2.fisheye.initUndistortRectifyMap if is_fisheye else cv2.initUndistortRectifyMap
        coefficients = source.distortion if len(source.distortion) else np.zeros(4)
        maps = build(K_half, coefficients, source.R, K_target, self.target_wh, cv2.CV_16SC2)
        return maps[0], maps[1]

    def apply(self, image: np.ndarray, halved: int = 0) -> np.ndarray:
        """(H, W) or (H, W, C) uint8 of `source_wh` -> the same kind of `target_wh`; outside is black.

        Args:
            image: the raw image; `halved` times already at half size (a JPEG decoder does that for
                less than nothing), each time rounded down or up.
            halved: at most `halvings`.
        """
        image = halve(image, self.halvings - halved)
        if self._maps is None:
            return resample(image, self.target_wh)
        return cv2.remap(image, self._maps[0], self._maps[1], cv2.INTER_LINEAR)


def halving_matrix(halvings: int) -> np.ndarray:
    """(3, 3) source px -> px of the image after so many 2x2 averages."""
    scale = 0.5**halvings
    return np.array([[scale, 0, 0.5 * scale - 0.5], [0, scale, 0.5 * scale - 0.5], [0, 0, 1.0]])


def working_size_wh(source_wh: tuple[int, int], max_width: int) -> tuple[int, int]:
    """Size with at most `max_width` columns and the source's aspect; never larger than the source."""
    width, height = source_wh
    if width <= max_width:
        return source_wh
    return max_width, max(1, round(height * max_width / width))


def rectified_matrix(camera: CameraModel) -> np.ndarray:
    """(3, 3) intrinsics of the full-size rectified image: P, or K where there is no P.

    A camera without distortion and rotation is used as it is, so there K holds.
    """
    return np.asarray(camera.K if camera.P is None or camera.is_rectified else camera.P)


def rectified_to_raw(camera: CameraModel, xy: np.ndarray) -> np.ndarray:
    """(N, 2) px of the full-size rectified image -> (N, 2) float64 px of the raw image.

    NaN where the ray lies behind the camera, which only a large rotation R can do.
    """
    xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    if camera.is_rectified:
        return np.array(xy)
    rays = np.column_stack([xy, np.ones(len(xy))]) @ np.linalg.inv(rectified_matrix(camera)).T @ camera.R
    with np.errstate(divide="ignore", invalid="ignore"):
        normalised = np.where(rays[:, 2:] > 0, rays[:, :2] / rays[:, 2:], np.nan)
    distorted = distort(normalised, camera.distortion_model, camera.distortion)
    return np.asarray(distorted @ camera.K[:2, :2].T + camera.K[:2, 2])


def raw_to_rectified(camera: CameraModel, xy: np.ndarray) -> np.ndarray:
    """(N, 2) px of the raw image -> (N, 2) float64 px of the full-size rectified image.

    OpenCV's fixed-point iteration gives the start, Newton's method on `rectified_to_raw` the answer;
    NaN where no rectified pixel maps there (within 0.01 px), for example beyond a lens model's range.
    """
    raw = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    if camera.is_rectified or len(raw) == 0:
        return np.array(raw)
    K_rectified = rectified_matrix(camera)
    is_fisheye = camera.distortion_model == "equidistant" and len(camera.distortion) > 0
    undistort: Any = cv2.fisheye.undistortPoints if is_fisheye else cv2.undistortPoints
    coefficients = camera.distortion if len(camera.distortion) else np.zeros(4)
    guess = undistort(raw[:, None], camera.K, coefficients, R=camera.R, P=K_rectified)[:, 0]
    for _ in range(8):
        error = rectified_to_raw(camera, guess) - raw
        dx, dy = (rectified_to_raw(camera, guess + step) - raw - error for step in ((1e-3, 0), (0, 1e-3)))
        (a, c), (b, d) = dx.T / 1e-3, dy.T / 1e-3
        with np.errstate(divide="ignore", invalid="ignore"):
            determinant = a * d - b * c
            guess = (
                guess
                - np.column_stack([d * error[:, 0] - b * error[:, 1], a * error[:, 1] - c * error[:, 0]])
                / determinant[:, None]
            )
    residual = np.linalg.norm(rectified_to_raw(camera, guess) - raw, axis=1)
    return np.where((residual < 0.01)[:, None], guess, np.nan)


def boxes_to_raw(camera: CameraModel, boxes_xyxy: np.ndarray) -> np.ndarray:
    """(N, 4) boxes in full-size rectified px -> (N, 4) float32 boxes around the same area in raw px.

    A straight edge becomes a bow, so points along the edges are mapped and boxed again, within the raw
    image.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    if camera.is_rectified or len(boxes) == 0:
        return np.asarray(boxes, dtype=np.float32)
    corners = boxes[:, _OUTLINE_CORNERS].reshape(-1, 4, 1, 2)
    outline = corners + _EDGE_STEPS * (np.roll(corners, -1, axis=1) - corners)
    raw = rectified_to_raw(camera, outline).reshape(len(boxes), -1, 2)
    extent = np.stack([np.fmin.reduce(raw, axis=1), np.fmax.reduce(raw, axis=1)], axis=1)
    within = np.clip(np.nan_to_num(extent), -0.5, np.array(camera.size_wh) - 0.5)
    return np.asarray(within.reshape(-1, 4), dtype=np.float32)
