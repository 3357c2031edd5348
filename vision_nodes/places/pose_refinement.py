"""Relative pose of two views by least squares over two kinds of evidence, with its covariance.

Every match binds the pose by its epipolar constraint; matches with a 3D point on either side also by its
reprojection, which is what gives the translation its length. Each kind is weighted by its own robust spread:
landmarks inherit the odometry's errors, epipolar lines do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from vision_nodes.places.landmarks import bearing
from vision_nodes.places.rigid import difference, inverse, retract, skew, transform

_ITERATIONS = 8
_HUBER_SIGMAS = 1.5
_STRIPS = 5
_MIN_EPIPOLAR_PX = 0.5  # no detector localises better than this across viewpoints
_MIN_REPROJECTION_PX = 0.8


@dataclass(frozen=True)
class Matches:
    """N matched features of a query and a matched view; 3D points are NaN where unknown."""

    xy_query: np.ndarray  # (N, 2) px
    points_query: np.ndarray  # (N, 3), query camera frame
    K_query: np.ndarray
    xy_matched: np.ndarray  # (N, 2) px
    points_matched: np.ndarray  # (N, 3), matched camera frame
    K_matched: np.ndarray
    rays_query: np.ndarray = field(init=False)  # (N, 3), z = 1
    rays_matched: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rays_query", bearing(self.K_query, self.xy_query))
        object.__setattr__(self, "rays_matched", bearing(self.K_matched, self.xy_matched))

    def __len__(self) -> int:
        return len(self.xy_query)

    @property
    def has_point(self) -> np.ndarray:
        """(N,) bool: at least one side has a 3D point."""
        return np.isfinite(self.points_matched[:, 2]) | np.isfinite(self.points_query[:, 2])

    def subset(self, keep: np.ndarray) -> Matches:
        """The matches picked by a mask or indices."""
        return replace(
            self,
            xy_query=self.xy_query[keep],
            points_query=self.points_query[keep],
            xy_matched=self.xy_matched[keep],
            points_matched=self.points_matched[keep],
        )


def epipolar_errors_px(matches: Matches, T_matched_query: np.ndarray) -> np.ndarray:
    """(N,) signed Sampson distances, px."""
    return _epipolar(matches, T_matched_query)[0]


def reprojection_errors_px(matches: Matches, T_matched_query: np.ndarray) -> np.ndarray:
    """(N,) larger error of the known points of each match, px; inf behind a camera, NaN without a point."""
    forward = _distance_px(
        inverse(T_matched_query), matches.points_matched, matches.xy_query, matches.K_query
    )
    backward = _distance_px(T_matched_query, matches.points_query, matches.xy_matched, matches.K_matched)
    return np.fmax(forward, backward)


def _distance_px(T_a_b: np.ndarray, points_b: np.ndarray, xy_a: np.ndarray, K_a: np.ndarray) -> np.ndarray:
    points_a = transform(T_a_b, points_b.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = (points_a @ K_a.T)[:, :2] / points_a[:, 2:]
        error = np.linalg.norm(xy - xy_a, axis=1)
    return np.where(points_a[:, 2] <= 1e-6, np.inf, error)


def refine(matches: Matches, T_matched_query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Damped Gauss-Newton with Huber weights on inlier matches.

    Returns:
        T_matched_query (4, 4) and its (6, 6) covariance: translation then rotation, in the matched camera's
        frame.
    """
    for _ in range(2):  # the spreads at the start are those of a wrong pose
        residual, _, group = _whitened(matches, T_matched_query, None)
        T_matched_query, H = _minimise(matches, T_matched_query, _spreads(residual, group))
    return T_matched_query, np.linalg.inv(H + 1e-12 * np.trace(H) * np.eye(6))


def spread_covariance(matches: Matches, T_matched_query: np.ndarray) -> np.ndarray:
    """(6, 6) covariance of a refined pose from what parts of the image say, in the matched camera's frame.

    Delete-a-block jackknife (Künsch 1989) over vertical strips: neighbouring matches share the errors of their
    landmarks and of the calibration, which the residuals of a good fit do not show.
    """
    residual, _, group = _whitened(matches, T_matched_query, None)
    sigmas = _spreads(residual, group)
    strip = np.argsort(np.argsort(matches.xy_query[:, 0], kind="stable")) * _STRIPS // len(matches)
    moved = np.stack(
        [
            difference(T_matched_query, _minimise(matches.subset(strip != k), T_matched_query, sigmas)[0])
            for k in range(_STRIPS)
        ]
    )
    deviation = moved - moved.mean(0)
    return (_STRIPS - 1) / _STRIPS * deviation.T @ deviation


def _minimise(
    matches: Matches, T_matched_query: np.ndarray, sigmas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pose, and the normal matrix there."""
    damping = 1e-6
    residual, J, _ = _whitened(matches, T_matched_query, sigmas)
    cost = _huber_cost(residual)
    for _ in range(_ITERATIONS):
        weight = _huber_weight(residual)
        H, gradient = J.T @ (weight[:, None] * J), J.T @ (weight * residual)
        step = -np.linalg.solve(H + damping * np.diag(np.diag(H) + 1e-12), gradient)
        candidate = retract(T_matched_query, step)
        new_residual, new_J, _ = _whitened(matches, candidate, sigmas)
        new_cost = _huber_cost(new_residual)
        if not new_cost <= cost:
            damping *= 10
            continue
        converged = cost - new_cost < 1e-4 * cost
        T_matched_query, residual, J, cost = candidate, new_residual, new_J, new_cost
        damping = max(damping / 10, 1e-9)
        if converged:
            break
    return T_matched_query, J.T @ (_huber_weight(residual)[:, None] * J)


def _whitened(
    matches: Matches, T_matched_query: np.ndarray, sigmas: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(M,) residuals, (M, 6) derivatives by (dt, dθ), (M,) group: 0 epipolar, 1 reprojection."""
    epipolar, J_epipolar = _epipolar(matches, T_matched_query)
    reprojection, J_reprojection = _reprojection(matches, T_matched_query)
    residual = np.concatenate([epipolar, reprojection])
    J = np.concatenate([J_epipolar, J_reprojection])
    group = np.repeat([0, 1], [len(epipolar), len(reprojection)])
    if sigmas is not None:
        residual, J = residual / sigmas[group], J / sigmas[group, None]
    return residual, J, group


def _spreads(residual: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(2,) robust 1-sigma of each kind of residual, px."""
    floors = (_MIN_EPIPOLAR_PX, _MIN_REPROJECTION_PX)
    return np.array(
        [
            max(1.4826 * float(np.median(np.abs(residual[group == g]))), floor) if (group == g).any() else 1.0
            for g, floor in enumerate(floors)
        ]
    )


def _epipolar(matches: Matches, T_matched_query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sampson distances x_m . (t x R x_q), and their derivatives with the denominator held."""
    R, t = T_matched_query[:3, :3], T_matched_query[:3, 3]
    x_q, x_m = matches.rays_query, matches.rays_matched
    rotated = x_q @ R.T
    E = skew(t) @ R
    line_m, line_q = x_q @ E.T, x_m @ E
    # Gradient by pixels: the rays move by 1 / f per pixel.
    f_q, f_m = matches.K_query[0, 0], matches.K_matched[0, 0]
    length = max(float(np.linalg.norm(t)), 1e-9)
    squared = (line_m[:, :2] ** 2).sum(1) / f_m**2 + (line_q[:, :2] ** 2).sum(1) / f_q**2
    gradient = np.sqrt(squared + (1e-6 * length) ** 2)
    error = (x_m * line_m).sum(1) / gradient
    by_t = _cross(rotated, x_m) / gradient[:, None]
    # The distance does not depend on t's length; with the denominator held, a shorter t would seem better.
    direction = t / length
    by_t -= (by_t @ direction)[:, None] * direction
    by_rotation = _cross(rotated, x_m @ -skew(t).T) / gradient[:, None]
    return error, np.concatenate([by_t, by_rotation], axis=1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row; numpy.cross costs ten times as much on small arrays."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)


def _reprojection(matches: Matches, T_matched_query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of the known points of both sides, x and y one after the other."""
    R, t = T_matched_query[:3, :3], T_matched_query[:3, 3]
    known = np.isfinite(matches.points_matched[:, 2])
    from_centre = matches.points_matched[known].astype(np.float64) - t
    motion = np.concatenate(
        [np.broadcast_to(-np.eye(3), (len(from_centre), 3, 3)), skew(from_centre)], axis=2
    )
    forward = _projection(from_centre @ R, matches.xy_query[known], matches.K_query, R.T @ motion)
    known = np.isfinite(matches.points_query[:, 2])
    rotated = matches.points_query[known].astype(np.float64) @ R.T
    motion = np.concatenate([np.broadcast_to(np.eye(3), (len(rotated), 3, 3)), -skew(rotated)], axis=2)
    backward = _projection(rotated + t, matches.xy_matched[known], matches.K_matched, motion)
    return np.concatenate([forward[0], backward[0]]), np.concatenate([forward[1], backward[1]])


def _projection(
    points: np.ndarray, xy: np.ndarray, K: np.ndarray, motion: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of points already in the camera frame, whose derivative by the pose is `motion` (N, 3, 6)."""
    z = np.maximum(points[:, 2], 1e-6)
    u = K[0, 0] * points[:, 0] / z + K[0, 2] - xy[:, 0]
    v = K[1, 1] * points[:, 1] / z + K[1, 2] - xy[:, 1]
    by_point = np.zeros((len(z), 2, 3))
    by_point[:, 0, 0], by_point[:, 0, 2] = K[0, 0] / z, -K[0, 0] * points[:, 0] / z**2
    by_point[:, 1, 1], by_point[:, 1, 2] = K[1, 1] / z, -K[1, 1] * points[:, 1] / z**2
    return np.stack([u, v], axis=1).ravel(), (by_point @ motion).reshape(-1, 6)


def _huber_weight(residual: np.ndarray) -> np.ndarray:
    return np.minimum(1.0, _HUBER_SIGMAS / np.maximum(np.abs(residual), 1e-12))


def _huber_cost(residual: np.ndarray) -> float:
    size = np.abs(residual)
    quadratic = np.minimum(size, _HUBER_SIGMAS)
    return float((quadratic * (size - 0.5 * quadratic)).sum())
