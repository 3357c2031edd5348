"""Exact scenes for the tests of places: random points seen by known cameras, with descriptors of their own."""

from __future__ import annotations

import numpy as np

from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.rigid import inverse, rotation_exp, transform

K = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
SIZE_WH = (640, 480)


def pose(
    x: float = 0, y: float = 0, z: float = 0, yaw: float = 0, pitch: float = 0, roll: float = 0
) -> np.ndarray:
    """(4, 4) from a position and rotation-vector parts in degrees (about y, x and z of the optical frame)."""
    T = np.eye(4)
    T[:3, :3] = rotation_exp(np.deg2rad([pitch, yaw, roll]))
    T[:3, 3] = x, y, z
    return T


class PointCloud:
    """Points in front of the origin; every point has one descriptor."""

    def __init__(self, seed: int, count: int = 600, depth: tuple[float, float] = (2.0, 6.0)) -> None:
        rng = np.random.default_rng(seed)
        z = rng.uniform(*depth, count)
        self.points = np.column_stack(
            [rng.uniform(-1.2, 1.2, count) * z, rng.uniform(-0.9, 0.9, count) * z, z]
        )
        raw = rng.random((count, 128)) ** 4
        self.descriptors = np.rint(255 * raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.uint8)

    def view(
        self,
        T_world_cam: np.ndarray,
        keyframe_id: int = 0,
        noise_px: float = 0.0,
        segment: int = 0,
        landmarks: bool = True,
        seed: int = 0,
    ) -> Keyframe:
        """What a camera at `T_world_cam` sees, with exact landmarks or none, in shuffled order."""
        rng = np.random.default_rng([seed, keyframe_id])
        points_cam = transform(inverse(T_world_cam), self.points)
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = (points_cam @ K.T)[:, :2] / points_cam[:, 2:]
        inside = (points_cam[:, 2] > 0.1) & ((xy >= 0) & (xy < SIZE_WH)).all(axis=1)
        order = rng.permutation(np.flatnonzero(inside))
        noisy = xy[order] + rng.normal(0, 1, (len(order), 2)) * noise_px
        known = points_cam[order] if landmarks else np.full((len(order), 3), np.nan)
        return Keyframe(
            id=keyframe_id,
            stamp_ns=keyframe_id * 500_000_000,
            segment=segment,
            descriptor=np.eye(8, dtype=np.float32)[keyframe_id % 8],
            T_odom_cam=T_world_cam.copy(),
            keypoints_xy=noisy.astype(np.float32),
            local_descriptors=self.descriptors[order],
            landmarks_cam=known.astype(np.float32),
            K=K.copy(),
            size_wh=SIZE_WH,
            thumbnail_jpeg=np.arange(5, dtype=np.uint8),
        )


def empty_keyframe(keyframe_id: int = 0) -> Keyframe:
    """A keyframe of a black image."""
    keyframe = PointCloud(0, count=1).view(pose(z=100.0), keyframe_id)
    assert len(keyframe.keypoints_xy) == 0
    return keyframe
