"""Scale from the robot instead of from depth: wheel odometry, or the camera's height over the ground."""

from __future__ import annotations

from collections import deque

import numpy as np

from vision_nodes.odometry.local_map import Keyframe
from vision_nodes.odometry.scale import ScaleMeasurement

MIN_TRAVEL_M = 0.2  # shorter steps drown in wheel slip and encoder steps
MAX_TURN_RAD = 0.3  # camera and base travel differently in a turn
WHEEL_SIGMA, WHEEL_BIAS = 0.05, 0.02
HEIGHT_SIGMA, HEIGHT_BIAS = 0.08, 0.03
GROUND_BAND = 0.04  # of the height: points this close to the plane belong to it
MIN_GROUND_POINTS = 15
MAX_TILT_COSINE = np.cos(np.radians(15))


class WheelOdometry:
    """Recent wheel poses, interpolated at image stamps."""

    def __init__(self) -> None:
        self._poses: deque[tuple[int, np.ndarray]] = deque(maxlen=1000)

    def add(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """A wheel-odometry pose (4, 4), metres; stamps that go backwards start over."""
        if self._poses and stamp_ns < self._poses[-1][0]:
            self._poses.clear()
        self._poses.append((int(stamp_ns), np.array(T_odom_base, np.float64)))

    def measure(self, keyframes: list[Keyframe]) -> ScaleMeasurement | None:
        """Compare the newest keyframe's way from an older one with the wheels' (oldest first in the list)."""
        newest = keyframes[-1]
        for older in reversed(keyframes[:-1]):
            wheels = self._travel(older.stamp_ns, newest.stamp_ns)
            if wheels is None:
                return None
            travelled, turned = wheels
            if turned > MAX_TURN_RAD:
                return None
            if travelled >= MIN_TRAVEL_M:
                seen = float(np.linalg.norm(newest.T_odom_cam[:3, 3] - older.T_odom_cam[:3, 3]))
                if seen <= 0:
                    return None
                return ScaleMeasurement(float(np.log(travelled / seen)), WHEEL_SIGMA, WHEEL_BIAS)
        return None

    def _travel(self, start_ns: int, end_ns: int) -> tuple[float, float] | None:
        """Distance (m) and turn (rad) of the base between two stamps; None outside the record."""
        poses = list(self._poses)
        stamps = np.array([s for s, _ in poses], np.int64)
        if len(poses) < 2 or start_ns < stamps[0] or end_ns > stamps[-1]:
            return None
        positions = np.array([T[:3, 3] for _, T in poses])
        relative = (stamps - stamps[0]).astype(np.float64)
        ends = np.array([start_ns, end_ns]) - stamps[0]
        at = np.stack([np.interp(ends, relative, positions[:, axis]) for axis in range(3)], axis=1)
        first, last = np.searchsorted(stamps, [start_ns, end_ns])
        R = poses[first][1][:3, :3].T @ poses[last][1][:3, :3]
        turned = float(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1)))
        return float(np.linalg.norm(at[1] - at[0])), turned


def measure_from_height(
    points_odom: np.ndarray, camera_odom: np.ndarray, camera_height_m: float
) -> ScaleMeasurement | None:
    """Fit the ground plane below the camera and compare its distance with the known height.

    Args:
        points_odom: (N, 3) landmarks in view, z up, map units.
        camera_odom: (3,).
        camera_height_m: of the optical centre over the ground.

    Returns:
        None when no nearly level plane below the camera has enough points.
    """
    relative = points_odom - camera_odom
    below = relative[relative[:, 2] < 0]
    if len(below) < MIN_GROUND_POINTS:
        return None
    picks = np.random.default_rng(0).integers(0, len(below), (300, 3))  # fixed: repeatable
    a, b, c = (below[picks[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    safe = length > 1e-12
    normal = normal[safe] / length[safe, None]
    normal *= np.sign(normal[:, 2:])
    height = -(normal * a[safe]).sum(1)
    level = (normal[:, 2] > MAX_TILT_COSINE) & (height > 0)
    if not level.any():
        return None
    normal, height = normal[level], height[level]
    distance = np.abs(below @ normal.T + height)
    counts = (distance < GROUND_BAND * height).sum(0)
    best = int(counts.argmax())
    if counts[best] < MIN_GROUND_POINTS:
        return None
    ground = below[distance[:, best] < GROUND_BAND * height[best]]
    median = float(np.median(-(ground @ normal[best])))
    return ScaleMeasurement(float(np.log(camera_height_m / median)), HEIGHT_SIGMA, HEIGHT_BIAS)
