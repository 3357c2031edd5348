"""sensor_msgs/CameraInfo -> CameraModel, with binning and region of interest applied."""

from __future__ import annotations

from typing import Any

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import CalibrationError


def camera_model_from_ros(msg: Any, image_wh: tuple[int, int] | None = None) -> CameraModel | None:
    """Intrinsics of the image that this camera_info accompanies, or None when uncalibrated.

    K all zeros means uncalibrated (sensor_msgs/CameraInfo). K, P and the size are those of the full
    sensor; the region of interest shifts and binning scales them, with pixel centres at integers:
    ``u' = (u - x_offset + 0.5) / binning - 0.5``.

    Args:
        msg: the camera_info.
        image_wh: size of the image, when known, to be checked against.

    Raises:
        CalibrationError: K, D, R or P not finite or of the wrong length, unknown distortion model, or
            a size other than the image's.
    """
    K = _matrix(msg, "k", (3, 3))
    if not K.any():
        return None
    to_image, size_wh = _sensor_to_image(msg)
    if image_wh is not None and tuple(image_wh) != size_wh:
        raise CalibrationError(
            f"a camera_info of the image's size {image_wh[0]}x{image_wh[1]}",
            f"{size_wh[0]}x{size_wh[1]} ({int(msg.width)}x{int(msg.height)} before roi and binning)",
            "calibrate at this resolution, or let the driver publish the matching camera_info",
        )
    distortion = np.asarray(msg.d, dtype=np.float64).ravel()
    model = str(msg.distortion_model)
    if not model and not distortion.any():
        model, distortion = "plumb_bob", np.zeros(0)
    R = _matrix(msg, "r", (3, 3))
    P = _matrix(msg, "p", (3, 4))[:, :3]
    return CameraModel(
        size_wh=size_wh,
        K=to_image @ _third_row(K, "K"),
        distortion_model=model,
        distortion=distortion,
        R=_rotation(R) if R.any() else np.eye(3),  # all zeros: the driver left it out
        P=to_image @ _projection(P) if P.any() else None,
    )


def image_size_wh(msg: Any) -> tuple[int, int]:
    """Size of the image that a camera_info accompanies, after region of interest and binning."""
    return _sensor_to_image(msg)[1]


def camera_info_key(msg: Any) -> tuple[object, ...]:
    """Hashable content of a camera_info apart from its header: equal keys, equal camera."""
    roi = msg.roi
    arrays = tuple(np.asarray(values, dtype=np.float64).tobytes() for values in (msg.k, msg.d, msg.r, msg.p))
    crop = (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    size = (int(msg.width), int(msg.height), int(msg.binning_x), int(msg.binning_y))
    return (str(msg.distortion_model), size, crop, *arrays)


def _matrix(msg: Any, name: str, shape: tuple[int, int]) -> np.ndarray:
    values = np.asarray(getattr(msg, name), dtype=np.float64).ravel()
    if len(values) != shape[0] * shape[1] or not np.isfinite(values).all():
        raise CalibrationError(
            f"{shape[0] * shape[1]} finite values in {name.upper()}",
            np.array2string(values, precision=3, threshold=12),
            "recalibrate, or publish K = 0 to run uncalibrated",
        )
    return values.reshape(shape)


def _rotation(R: np.ndarray) -> np.ndarray:
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise CalibrationError(
            "a rotation matrix in R",
            np.array2string(R.ravel(), precision=3),
            "recalibrate, or publish R = identity for a monocular camera",
        )
    return R


def _third_row(K: np.ndarray, name: str) -> np.ndarray:
    if not np.allclose(K[2], (0.0, 0.0, 1.0)):
        raise CalibrationError(
            f"a third row 0 0 1 in {name}", np.array2string(K[2], precision=3), "recalibrate the camera"
        )
    return K


def _projection(P: np.ndarray) -> np.ndarray:
    _third_row(P, "P")
    if min(P[0, 0], P[1, 1]) <= 0:
        raise CalibrationError(
            "a projection matrix P with positive focal lengths",
            np.array2string(P.ravel(), precision=3),
            "recalibrate, or publish P = 0 to use K",
        )
    return P


def _sensor_to_image(msg: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """(3, 3) full-sensor px -> image px, and the image's size."""
    roi = msg.roi
    crop_wh = (int(roi.width) or int(msg.width), int(roi.height) or int(msg.height))
    binning = (max(int(msg.binning_x), 1), max(int(msg.binning_y), 1))
    to_image = np.eye(3)
    for axis, (offset, factor) in enumerate(zip((int(roi.x_offset), int(roi.y_offset)), binning)):
        to_image[axis, axis] = 1 / factor
        to_image[axis, 2] = (0.5 - offset) / factor - 0.5
    return to_image, (crop_wh[0] // binning[0], crop_wh[1] // binning[1])
