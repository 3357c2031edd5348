"""Keyframes: what is kept of a frame, the database of all of them, and when a frame becomes one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.places.rigid import angle_between
from vision_nodes.places.settings import KeyframeSettings

NO_SEGMENT = -1


@dataclass
class Keyframe:
    """One remembered view.

    `T_odom_cam` is None without odometry. A `segment` is a stretch of odometry without a break; poses of
    two segments say nothing about each other until a closure joins them.
    """

    id: int
    stamp_ns: int
    segment: int  # NO_SEGMENT without a pose
    descriptor: np.ndarray  # (D,) float32 unit norm
    T_odom_cam: np.ndarray | None  # (4, 4) float64
    keypoints_xy: np.ndarray  # (N, 2) float32, px of the frame's image
    local_descriptors: np.ndarray  # (N, 128 or 32) uint8
    landmarks_cam: np.ndarray  # (N, 3) float32 in the camera frame, odometry's unit; NaN = unknown
    K: np.ndarray | None  # (3, 3) float64 of the frame's image; None = uncalibrated
    size_wh: tuple[int, int]
    thumbnail_jpeg: np.ndarray  # (B,) uint8, for people: overlay and map viewer

    def thumbnail(self) -> np.ndarray:
        """(h, w, 3) uint8 RGB."""
        return cv2.cvtColor(cv2.imdecode(self.thumbnail_jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    @property
    def has_landmark(self) -> np.ndarray:
        """(N,) bool: which features have a 3D point."""
        return np.isfinite(self.landmarks_cam[:, 2])

    @property
    def median_depth(self) -> float:
        """Median landmark depth, odometry's unit; NaN without landmarks."""
        depth = self.landmarks_cam[self.has_landmark, 2]
        return float(np.median(depth)) if len(depth) else float("nan")

    @property
    def memory_bytes(self) -> int:
        """Bytes of its arrays."""
        arrays = (
            self.descriptor,
            self.keypoints_xy,
            self.local_descriptors,
            self.landmarks_cam,
            self.thumbnail_jpeg,
        )
        return sum(a.nbytes for a in arrays) + 2 * 128


class KeyframeDatabase:
    """All keyframes by id, in order of creation."""

    def __init__(self) -> None:
        self._by_id: dict[int, Keyframe] = {}
        self.next_id = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Keyframe]:
        return iter(self._by_id.values())

    def __contains__(self, keyframe_id: int) -> bool:
        return keyframe_id in self._by_id

    def __getitem__(self, keyframe_id: int) -> Keyframe:
        return self._by_id[keyframe_id]

    def add(self, keyframe: Keyframe) -> None:
        """Store a keyframe whose id is not below `next_id`."""
        if keyframe.id < self.next_id:
            raise ValueError(f"expected a keyframe id >= {self.next_id}, received {keyframe.id}")
        self._by_id[keyframe.id] = keyframe
        self.next_id = keyframe.id + 1

    def remove(self, keyframe_id: int) -> None:
        """Forget a keyframe; its id is never used again."""
        del self._by_id[keyframe_id]

    @property
    def memory_bytes(self) -> int:
        """Bytes of all keyframes' arrays."""
        return sum(k.memory_bytes for k in self._by_id.values())


class KeyframePolicy:
    """Decides which frames become keyframes: moved, turned, saw something else, or time passed."""

    def __init__(self, settings: KeyframeSettings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """The next frame becomes a keyframe."""
        self._last: Keyframe | None = None
        self._depth = float("nan")  # of the scene, as last known in this segment

    def accept(self, keyframe: Keyframe) -> None:
        """Measure from this keyframe on."""
        if self._last is not None and self._last.segment != keyframe.segment:
            self._depth = float("nan")
        depth = keyframe.median_depth
        self._depth = depth if np.isfinite(depth) else self._depth
        self._last = keyframe

    def wants(self, stamp_ns: int, segment: int, T_odom_cam: np.ndarray | None) -> bool:
        """True when a frame at this pose should become a keyframe."""
        last, settings = self._last, self._settings
        if last is None or last.segment != segment:
            return True
        elapsed_s = (stamp_ns - last.stamp_ns) * 1e-9
        if elapsed_s < 0:
            return True
        if elapsed_s < settings.keyframe_min_interval_s:
            return False
        if T_odom_cam is None or last.T_odom_cam is None:
            return elapsed_s >= settings.keyframe_without_pose_s
        if np.rad2deg(angle_between(last.T_odom_cam, T_odom_cam)) >= settings.keyframe_rotation_deg:
            return True
        distance = float(np.linalg.norm(T_odom_cam[:3, 3] - last.T_odom_cam[:3, 3]))
        if np.isfinite(self._depth):
            return distance >= settings.keyframe_distance_depths * self._depth
        return distance >= settings.keyframe_distance_m
