"""3D points of keyframe features: triangulated between neighbouring keyframes, else read from depth.

The odometry's relative poses are taken as known, so the points carry the odometry's unit, whatever it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.local_features import match
from vision_nodes.places.rigid import inverse

WINDOW = 4  # neighbouring keyframes that may observe a point
MIN_PARALLAX_RAD = np.deg2rad(1.2)  # half a pixel at f = 525 px is then 5 % of the depth
MAX_REPROJECTION_PX = 2.0  # at a 640 px wide image
MATCH_RATIO = 0.8
_MIN_COMMON = 20  # points that see both a triangulation and a depth before the two units are compared


@dataclass
class _Recent:
    """A keyframe still gathering observations from its neighbours."""

    keyframe: Keyframe
    sampled_depth: np.ndarray  # (N,) float32, the depth map's unit, NaN unknown
    metric: bool
    observations: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    # each: (M,) feature indices, (M, 2) px in the neighbour, (4, 4) T_this_neighbour


class LandmarkBuilder:
    """Keeps the landmarks of the last keyframes of one odometry segment up to date, in place."""

    def __init__(self) -> None:
        self._recent: deque[_Recent] = deque(maxlen=WINDOW)
        self._depth_scale = float("nan")  # triangulated unit / depth map unit

    def reset(self) -> None:
        """Start of another odometry segment: nothing before it may be used."""
        self._recent.clear()
        self._depth_scale = float("nan")

    def add(self, keyframe: Keyframe, sampled_depth: np.ndarray, metric: bool) -> None:
        """Triangulate `keyframe` against its predecessors, and them against it."""
        new = _Recent(keyframe, sampled_depth, metric)
        if keyframe.K is None:
            return
        if keyframe.T_odom_cam is not None:
            for old in self._recent:
                _observe(old, new)
            for entry in [*self._recent, new]:
                self._solve(entry)
            self._recent.append(new)
        elif metric:
            fill_from_depth(keyframe, sampled_depth)

    def _solve(self, entry: _Recent) -> None:
        keyframe = entry.keyframe
        keyframe.landmarks_cam[:] = triangulate(keyframe, entry.observations)
        both = keyframe.has_landmark & np.isfinite(entry.sampled_depth)
        if both.sum() >= _MIN_COMMON:
            ratio = float(np.median(keyframe.landmarks_cam[both, 2] / entry.sampled_depth[both]))
            known = np.isfinite(self._depth_scale)
            self._depth_scale = 0.8 * self._depth_scale + 0.2 * ratio if known else ratio
        if np.isfinite(self._depth_scale):
            fill_from_depth(keyframe, entry.sampled_depth, self._depth_scale)


def _observe(old: _Recent, new: _Recent) -> None:
    """Match two keyframes and note each one's view of the other's features."""
    a, b = old.keyframe, new.keyframe
    pairs = match(a.local_descriptors, b.local_descriptors, MATCH_RATIO)
    if len(pairs) == 0:
        return
    assert a.T_odom_cam is not None and b.T_odom_cam is not None
    T_a_b = inverse(a.T_odom_cam) @ b.T_odom_cam
    old.observations.append((pairs[:, 0], b.keypoints_xy[pairs[:, 1]], T_a_b))
    new.observations.append((pairs[:, 1], a.keypoints_xy[pairs[:, 0]], inverse(T_a_b)))


def fill_from_depth(keyframe: Keyframe, sampled_depth: np.ndarray, scale: float = 1.0) -> None:
    """Give features without a landmark one from (N,) depth along the optical axis, NaN unknown, times `scale`."""
    assert keyframe.K is not None
    use = ~keyframe.has_landmark & np.isfinite(sampled_depth)
    rays = bearing(keyframe.K, keyframe.keypoints_xy[use])
    keyframe.landmarks_cam[use] = rays * (scale * sampled_depth[use, None])


def bearing(K: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """(N, 2) px -> (N, 3) float64 rays with z = 1."""
    homogeneous = np.column_stack([xy.astype(np.float64), np.ones(len(xy))])
    return homogeneous @ np.linalg.inv(K).T


def triangulate(
    keyframe: Keyframe, observations: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> np.ndarray:
    """(N, 3) float32 points in the keyframe's camera frame, NaN where parallax or agreement is too small.

    Midpoint method with inverse-range weights, twice: the fixed point minimises angular errors.
    Observations that disagree with the first solution are left out of the second.
    """
    n, K = len(keyframe.keypoints_xy), keyframe.K
    assert K is not None
    points = np.full((n, 3), np.nan, np.float32)
    if not observations or n == 0:
        return points
    index = np.concatenate([o[0] for o in observations] + [np.arange(n)])
    centre = np.concatenate([np.repeat(o[2][None, :3, 3], len(o[0]), 0) for o in observations])
    rays = [bearing(K, o[1]) @ o[2][:3, :3].T for o in observations]
    own = bearing(K, keyframe.keypoints_xy)
    direction = np.concatenate([*rays, own])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    centre = np.concatenate([centre, np.zeros((n, 3))])
    parallax = _max_parallax(index, direction, direction[-n:])
    tolerance = MAX_REPROJECTION_PX * keyframe.size_wh[0] / 640 / K[0, 0]
    weight = np.ones(len(index))
    for _ in range(3):
        X, solvable = _midpoint(index, centre, direction, weight, n)
        error, distance = _angular_error(X[index], centre, direction)
        weight = np.where(error < tolerance, 1.0 / np.maximum(distance, 1e-9) ** 2, 0.0)
    agreeing = np.bincount(index, weights=error < tolerance, minlength=n)
    valid = solvable & (X[:, 2] > 0) & (parallax >= MIN_PARALLAX_RAD) & (agreeing >= 2)
    valid &= error[-n:] < tolerance
    points[valid] = X[valid]
    return points


def _max_parallax(index: np.ndarray, direction: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(N,) largest angle between a feature's own ray and its other rays, rad."""
    sine = np.sqrt(np.maximum(1.0 - (direction * own[index]).sum(1) ** 2, 0.0))
    largest = np.zeros(len(own))
    np.maximum.at(largest, index, sine)
    return np.arcsin(largest.clip(0, 1))


def _midpoint(
    index: np.ndarray, centre: np.ndarray, direction: np.ndarray, weight: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least-squares points nearest to their rays: (N, 3), and where that is determined."""
    dx, dy, dz = direction.T
    cx, cy, cz = centre.T
    along = dx * cx + dy * cy + dz * cz
    terms = (1 - dx * dx, 1 - dy * dy, 1 - dz * dz, -dx * dy, -dx * dz, -dy * dz)
    rights = (cx - dx * along, cy - dy * along, cz - dz * along)
    xx, yy, zz, xy, xz, yz = (np.bincount(index, weight * v, n) for v in terms)
    bx, by, bz = (np.bincount(index, weight * v, n) for v in rights)
    # Cramer's rule on the symmetric 3 x 3 systems of all points at once.
    kxx, kxy, kxz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    kyy, kyz, kzz = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    determinant = xx * kxx + xy * kxy + xz * kxz
    solvable = determinant > 1e-9 * ((xx + yy + zz) / 3) ** 3
    divisor = np.where(solvable, determinant, 1.0)
    solution = (
        kxx * bx + kxy * by + kxz * bz,
        kxy * bx + kyy * by + kyz * bz,
        kxz * bx + kyz * by + kzz * bz,
    )
    return np.stack(solution, axis=1) / divisor[:, None], solvable


def _angular_error(X: np.ndarray, centre: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle between each ray and its point, rad (pi when behind), and the point's range."""
    towards = X - centre
    distance = np.linalg.norm(towards, axis=1)
    along = (towards * direction).sum(1)
    across = np.linalg.norm(towards - along[:, None] * direction, axis=1)
    return np.arctan2(across, along), distance
