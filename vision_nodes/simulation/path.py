"""Camera paths: a smooth closed drive at a robot's height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.camera.model import CameraModel


@dataclass(frozen=True)
class Drive:
    """Camera poses over time."""

    stamps_ns: np.ndarray  # (N,) int64
    T_world_cam: np.ndarray  # (N, 4, 4) float64, optical frame: x right, y down, z forward

    def __len__(self) -> int:
        return len(self.stamps_ns)


def resized_K(camera: CameraModel, size_wh: tuple[int, int]) -> np.ndarray:
    """(3, 3) intrinsics of a resized copy of a camera's image (pixel centres at integers)."""
    sx, sy = size_wh[0] / camera.size_wh[0], size_wh[1] / camera.size_wh[1]
    scale = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
    return np.asarray(scale @ camera.K)


def optical_pose(position: np.ndarray, yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(4, 4) T_world_cam of a camera at `position` (m) looking along `yaw` (rad about world z up).

    `pitch` > 0 looks down, `roll` > 0 tilts the right side down.
    """
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    forward = np.array([cy * cp, sy * cp, -sp])
    right = np.array([sy, -cy, 0.0])
    down = np.cross(forward, right)
    T_world_cam = np.eye(4)
    T_world_cam[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    T_world_cam[:3, 1] = -np.sin(roll) * right + np.cos(roll) * down
    T_world_cam[:3, 2] = forward
    T_world_cam[:3, 3] = position
    return T_world_cam


@dataclass(frozen=True)
class RoundedLoop:
    """A rounded rectangle about the origin, driven counter-clockwise from the middle of its +x side.

    `half_x`, `half_y` are half sides, m; `radius` that of the corners, m.
    """

    half_x: float
    half_y: float
    radius: float

    @property
    def length_m(self) -> float:
        """Length of one lap."""
        straight = 4 * (self.half_x + self.half_y - 2 * self.radius)
        return straight + 2 * np.pi * self.radius

    def at(self, distance_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 2) and unit directions (N, 2) at these distances along the lap."""
        hx, hy, r = self.half_x, self.half_y, self.radius
        legs = [2 * (hy - r), np.pi * r / 2, 2 * (hx - r), np.pi * r / 2] * 2
        starts = [(hx, -(hy - r)), (hx - r, hy - r), (hx - r, hy), (-(hx - r), hy - r)]
        starts += [(-hx, hy - r), (-(hx - r), -(hy - r)), (-(hx - r), -hy), (hx - r, -(hy - r))]
        ends = np.cumsum(legs)
        s = np.mod(np.asarray(distance_m, np.float64) + (hy - r), self.length_m)
        leg = np.minimum(np.searchsorted(ends, s, side="right"), 7)
        along = s - (ends - legs)[leg]
        heading = np.pi / 2 * (1 + leg // 2)
        origin = np.array(starts)[leg]
        turning = leg % 2 == 1
        angle = np.where(turning, along / r, 0.0)
        ahead = np.stack([np.cos(heading), np.sin(heading)], axis=1)
        inner = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
        straight = origin + along[:, None] * ahead
        curve = origin + r * (np.sin(angle)[:, None] * ahead - np.cos(angle)[:, None] * inner)
        direction = np.cos(angle)[:, None] * ahead + np.sin(angle)[:, None] * inner
        return np.where(turning[:, None], curve, straight), direction

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distance of points from the line, m, positive outside."""
        dx, dy = np.abs(x) - (self.half_x - self.radius), np.abs(y) - (self.half_y - self.radius)
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - self.radius)


LOOP = RoundedLoop(8.0, 6.0, 5.0)
START_NS = 1_700_000_000_000_000_000  # a fixed epoch: bags of equal seeds are equal


def stamps(rate_hz: float, duration_s: float) -> np.ndarray:
    """(N,) int64 ns from `START_NS`."""
    count = round(rate_hz * duration_s)
    return np.asarray(START_NS + np.rint(np.arange(count) * 1e9 / rate_hz).astype(np.int64))


@dataclass(frozen=True)
class DriveStyle:
    """How a robot goes round its loop. Speeds are mean values; distances in metres, angles in radians."""

    loop: RoundedLoop = LOOP
    speed_m_s: float = 3.0
    lateral_m: float = 0.25
    height_m: float = 1.25
    pitch: float = 0.06


def loop_drive(seed: int, rate_hz: float, duration_s: float, style: DriveStyle) -> Drive:
    """Round the loop and on along its beginning, a little beside the first lap.

    The line weaves gently, the camera nods and rolls by a degree and bobs by 1.2 cm: the motion of a
    wheeled robot. At 15 Hz it turns by at most 2.6 degrees per frame.
    """
    rng = np.random.default_rng([seed, 2])
    phase = rng.uniform(0, 2 * np.pi, 8)
    times = stamps(rate_hz, duration_s)
    t = (times - times[0]) / 1e9 if len(times) else np.zeros(0)
    along = style.speed_m_s * (t + 0.06 * (np.sin(0.7 * t + phase[0]) - np.sin(phase[0])))
    lateral = style.lateral_m + 0.05 * style.speed_m_s * np.sin(0.35 * t + phase[1])
    points, heading = _smoothed(style.loop, along)
    normal = np.stack([np.sin(heading), -np.cos(heading)], axis=1)
    position = points + lateral[:, None] * normal
    yaw = heading + 0.02 * np.sin(1.3 * t + phase[2])
    pitch = style.pitch + 0.010 * np.sin(5.1 * t + phase[3]) + 0.008 * np.sin(2.3 * t + phase[4])
    roll = 0.012 * np.sin(3.7 * t + phase[5])
    height = style.height_m + 0.012 * np.sin(6.3 * t + phase[6])
    poses = [
        optical_pose(np.array([p[0], p[1], h]), a, b, c)
        for p, h, a, b, c in zip(position, height, yaw, pitch, roll)
    ]
    return Drive(times, np.array(poses).reshape(-1, 4, 4))


def _smoothed(loop: RoundedLoop, along_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loop points (N, 2) and headings (N,) rad, averaged over half a radius: the curvature has no steps."""
    window_m = 0.48 * loop.radius
    offsets = np.linspace(-0.5, 0.5, 25) * window_m
    weight = np.cos(np.pi * offsets / window_m) ** 2
    weight /= weight.sum()
    points, directions = loop.at((along_m[:, None] + offsets).ravel())
    points = np.einsum("nkd,k->nd", points.reshape(-1, len(offsets), 2), weight)
    direction = np.einsum("nkd,k->nd", directions.reshape(-1, len(offsets), 2), weight)
    return points, np.arctan2(direction[:, 1], direction[:, 0])


@dataclass(frozen=True)
class ViewRange:
    """Ranges that random training views are drawn from: (low, high), metres and radians."""

    height_m: tuple[float, float] = (0.4, 1.8)
    pitch: tuple[float, float] = (-0.15, 0.35)
    roll: tuple[float, float] = (-0.06, 0.06)
    lateral_m: tuple[float, float] = (-0.9, 0.9)
    focal_per_width: tuple[float, float] = (0.5, 1.2)


def random_pose(rng: np.random.Generator, loop: RoundedLoop, view: ViewRange) -> np.ndarray:
    """(4, 4) T_world_cam somewhere near the loop's line, looking anywhere."""
    points, directions = loop.at(rng.uniform(0, loop.length_m, 1))
    normal = np.array([directions[0, 1], -directions[0, 0]])
    spot = points[0] + normal * rng.uniform(*view.lateral_m)
    height = rng.uniform(*view.height_m)
    yaw = rng.uniform(-np.pi, np.pi)
    return optical_pose(np.array([*spot, height]), yaw, rng.uniform(*view.pitch), rng.uniform(*view.roll))
