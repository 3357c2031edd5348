"""Pictures, camera files and trajectories as other tools read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from vision_nodes.bags.folder import NS
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import quat_xyzw_from_matrix
from vision_nodes.errors import BagError
from vision_nodes.messages.from_ros import depth_image_from_ros, image_from_ros


def write_tum(path: str | Path, stamps_ns: Sequence[int] | np.ndarray, poses: np.ndarray) -> None:
    """TUM form: ``seconds tx ty tz qx qy qz qw`` per line.

    Args:
        stamps_ns: (N,) whole nanoseconds, written without rounding.
        poses: (N, 4, 4) T_world_body, metres.
    """
    rows = []
    for stamp, T in zip(stamps_ns, poses):
        values = [*T[:3, 3], *quat_xyzw_from_matrix(T)]
        rows.append(f"{seconds(int(stamp))} " + " ".join(f"{value:.9f}" for value in values))
    Path(path).write_text("".join(row + "\n" for row in rows))


def write_kitti(path: str | Path, poses: np.ndarray) -> None:
    """KITTI form: the first three rows of each (4, 4) pose on one line, without stamps."""
    rows = (" ".join(f"{value:.9e}" for value in T[:3].reshape(-1)) for T in poses)
    Path(path).write_text("".join(row + "\n" for row in rows))


def write_camera_yaml(path: str | Path, camera: CameraModel) -> None:
    """camera_info YAML of camera_calibration_parsers, which `read_camera_yaml` reads."""
    P = np.zeros((3, 4))
    P[:, :3] = camera.K if camera.P is None else camera.P
    distortion = camera.distortion if len(camera.distortion) else np.zeros(5)

    def matrix(values: np.ndarray) -> dict[str, Any]:
        rows = np.atleast_2d(values)
        return {"rows": rows.shape[0], "cols": rows.shape[1], "data": [float(v) for v in rows.reshape(-1)]}

    data = {
        "image_width": int(camera.size_wh[0]),
        "image_height": int(camera.size_wh[1]),
        "camera_name": "camera",
        "camera_matrix": matrix(camera.K),
        "distortion_model": camera.distortion_model,
        "distortion_coefficients": matrix(distortion),
        "rectification_matrix": matrix(camera.R),
        "projection_matrix": matrix(P),
    }
    Path(path).write_text(yaml.safe_dump(data, sort_keys=False))


def write_picture(message: Any, stem: Path) -> Path:
    """Write one image: a compressed one with its own bytes, a raw one as PNG, grey when it is grey."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    if not hasattr(message, "encoding"):
        data = bytes(message.data)
        path = stem.with_name(stem.name + (".png" if data[:4] == b"\x89PNG" else ".jpg"))
        path.write_bytes(data)
        return path
    image, path = image_from_ros(message), stem.with_name(stem.name + ".png")
    grey = message.encoding in ("mono8", "8UC1")
    write_png(path, image[..., 0] if grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a lossless picture. Raises BagError when the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise BagError(f"to write {path}", "the file system refused", "check space and permissions")


def write_depth(message: Any, path: Path, per_metre: float) -> Path:
    """16-bit depth PNG in units of 1 / `per_metre` metres, 0 = no data."""
    depth_m = depth_image_from_ros(message)
    units = np.nan_to_num(np.round(depth_m * per_metre))
    write_png(path, np.where(units > 65535, 0, units).astype(np.uint16))  # too far for 16 bits: no data
    return path


def seconds(stamp: int) -> str:
    """Stamp in ns as decimal seconds, nothing rounded."""
    return f"{stamp // NS}.{stamp % NS:09d}"
