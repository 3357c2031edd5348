"""Windowed bundle adjustment: Levenberg-Marquardt with the points eliminated (Schur complement).

Triggs et al. 2000, "Bundle Adjustment - A Modern Synthesis", section 6. Everything is dense NumPy: with
ten cameras the reduced system is 60x60 and one matrix product eliminates all points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.odometry.geometry import exp_se3, project, projection_jacobians

HUBER_SIGMA = 1.5
DEPTH_SIGMA = 0.02  # relative, of a depth camera's pixel
BEHIND_COST = 400.0  # an observation behind its camera costs as much as a gross outlier


@dataclass(frozen=True)
class BundleProblem:
    """C cameras, P points, M observations; the first `fixed` cameras do not move."""

    K: np.ndarray  # (3, 3) px
    T_cam_odom: np.ndarray  # (C, 4, 4)
    fixed: int
    points: np.ndarray  # (P, 3) odom
    cameras: np.ndarray  # (M,) int64 camera of each observation
    landmarks: np.ndarray  # (M,) int64 point of each observation
    xy: np.ndarray  # (M, 2) float64 px
    sigma_px: float
    depth: np.ndarray | None = None  # (M,) depth a depth camera measured along z, NaN = none


@dataclass(frozen=True)
class BundleSolution:
    """The optimised window; `chi2` are squared residuals over sigma^2, inf behind the camera."""

    T_cam_odom: np.ndarray  # (C, 4, 4)
    points: np.ndarray  # (P, 3)
    chi2: np.ndarray  # (M,)
    covariance: np.ndarray  # (6, 6) of the last camera's left motion, points and other cameras marginalised
    iterations: int
    focal: tuple[float, float] = (0.0, 0.0)  # see `focal_check.focal_step`


@dataclass(frozen=True)
class _Normal:
    """Normal equations in blocks: cameras U, points V, mixed W (dense), gradients."""

    U: np.ndarray  # (F, 6, 6)
    V: np.ndarray  # (P, 3, 3)
    W: np.ndarray  # (P, 6F, 3)
    g_cameras: np.ndarray  # (6F,)
    g_points: np.ndarray  # (P, 3)
    cost: float


def solve_bundle(problem: BundleProblem, iterations: int = 10, tolerance: float = 1e-4) -> BundleSolution:
    """Minimise the Huber reprojection error over the free cameras and all points.

    Args:
        tolerance: relative decrease of the cost at which to stop.

    Raises:
        numpy.linalg.LinAlgError: a camera or a point has no observation.
    """
    order = np.argsort(problem.landmarks, kind="stable")
    layout = _Layout.of(problem, order)
    T, points = problem.T_cam_odom.copy(), problem.points.copy()
    normal, damping, done = _linearise(problem, layout, T, points), 1e-4, 0
    for done in range(1, iterations + 1):
        step_cameras, step_points = _step(normal, damping)
        T_new = T.copy()
        T_new[problem.fixed :] = exp_se3(step_cameras.reshape(-1, 6)) @ T[problem.fixed :]
        points_new = points + step_points
        if _cost(problem, T_new, points_new) < normal.cost:
            previous = normal.cost
            T, points, damping = T_new, points_new, max(damping * 0.2, 1e-8)
            normal = _linearise(problem, layout, T, points)
            if previous - normal.cost < tolerance * previous:
                break
        else:
            damping *= 8
            if damping > 1e3:
                break
    return BundleSolution(T, points, _chi2(problem, T, points), _last_covariance(normal), done)


@dataclass(frozen=True)
class _Layout:
    """Orders and offsets that turn sums over observations into `reduceat`."""

    by_point: np.ndarray
    point_starts: np.ndarray
    by_camera: np.ndarray
    camera_starts: np.ndarray
    free: np.ndarray  # (M,) bool, the observation's camera is free
    n_free: int

    @classmethod
    def of(cls, problem: BundleProblem, by_point: np.ndarray) -> _Layout:
        free = problem.cameras >= problem.fixed
        by_camera = np.flatnonzero(free)
        by_camera = by_camera[np.argsort(problem.cameras[by_camera], kind="stable")]
        n_free = len(problem.T_cam_odom) - problem.fixed
        counts = np.bincount(problem.cameras[by_camera] - problem.fixed, minlength=n_free)
        point_counts = np.bincount(problem.landmarks, minlength=len(problem.points))
        if (counts == 0).any() or (point_counts == 0).any():
            raise np.linalg.LinAlgError("a camera or a point of the window has no observation")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        point_starts = np.concatenate([[0], np.cumsum(point_counts)[:-1]])
        return cls(by_point, point_starts, by_camera, starts, free, n_free)


def _residuals(
    problem: BundleProblem, T: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in their cameras (M, 3), whitened residuals (M, 2), Mahalanobis norms (M,), inf behind."""
    R, t = T[problem.cameras, :3, :3], T[problem.cameras, :3, 3]
    points_cam = np.einsum("mij,mj->mi", R, points[problem.landmarks]) + t
    residuals = (project(problem.K, points_cam) - problem.xy) / problem.sigma_px
    norm = np.sqrt((residuals * residuals).sum(1))
    norm[points_cam[:, 2] <= 1e-6] = np.inf
    return points_cam, residuals, norm


def _huber_cost(norm: np.ndarray) -> float:
    finite = np.isfinite(norm)
    inside = norm[finite]
    cost = np.where(inside < HUBER_SIGMA, inside**2, 2 * HUBER_SIGMA * inside - HUBER_SIGMA**2)
    return float(cost.sum()) + BEHIND_COST * float((~finite).sum())


def _depth_residuals(problem: BundleProblem, points_cam: np.ndarray) -> np.ndarray | None:
    """(M,) measured depths' errors in sigmas, 0 where none was measured; None without a depth camera."""
    if problem.depth is None:
        return None
    error = points_cam[:, 2] / problem.depth - 1
    return np.where(np.isfinite(error), error, 0.0) / DEPTH_SIGMA


def _depth_rows(
    problem: BundleProblem, T: np.ndarray, points_cam: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A third row for every observation: Jacobians by point (M, 1, 3) and camera (M, 1, 6), residual (M, 1, 1)."""
    assert problem.depth is not None
    root = np.sqrt(np.minimum(1.0, HUBER_SIGMA / np.maximum(np.abs(errors), 1e-9)))
    scale = np.where(np.isfinite(problem.depth), root / (problem.depth * DEPTH_SIGMA), 0.0)
    J_camera = np.zeros((len(errors), 1, 6))
    J_camera[:, 0, 2], J_camera[:, 0, 3], J_camera[:, 0, 4] = 1, points_cam[:, 1], -points_cam[:, 0]
    J_point = T[problem.cameras, 2:3, :3] * scale[:, None, None]
    return J_point, J_camera * scale[:, None, None], (errors * root)[:, None, None]


def _cost(problem: BundleProblem, T: np.ndarray, points: np.ndarray) -> float:
    points_cam, _, norm = _residuals(problem, T, points)
    return _total_cost(norm, _depth_residuals(problem, points_cam))


def _total_cost(norm: np.ndarray, depth_errors: np.ndarray | None) -> float:
    return _huber_cost(norm) + (0.0 if depth_errors is None else _huber_cost(np.abs(depth_errors)))


def _chi2(problem: BundleProblem, T: np.ndarray, points: np.ndarray) -> np.ndarray:
    return _residuals(problem, T, points)[2] ** 2


def _linearise(problem: BundleProblem, layout: _Layout, T: np.ndarray, points: np.ndarray) -> _Normal:
    points_cam, residuals, norm = _residuals(problem, T, points)
    weight = np.where(np.isfinite(norm), np.minimum(1.0, HUBER_SIGMA / np.maximum(norm, 1e-9)), 0.0)
    root = np.sqrt(weight)[:, None, None]
    J_cam, J_camera = projection_jacobians(problem.K, points_cam)
    J_camera = J_camera * (root / problem.sigma_px)
    J_point = (J_cam @ T[problem.cameras, :3, :3]) * (root / problem.sigma_px)
    r = residuals[:, :, None] * root
    depth_errors = _depth_residuals(problem, points_cam)
    if depth_errors is not None:
        rows = _depth_rows(problem, T, points_cam, depth_errors)
        J_point, J_camera, r = (np.concatenate(p, axis=1) for p in zip((J_point, J_camera, r), rows))
    JpT, JcT = np.swapaxes(J_point, 1, 2), np.swapaxes(J_camera, 1, 2)

    def by_point(blocks: np.ndarray) -> np.ndarray:
        return np.add.reduceat(blocks[layout.by_point], layout.point_starts, axis=0)

    def by_camera(blocks: np.ndarray) -> np.ndarray:
        return np.add.reduceat(blocks[layout.by_camera], layout.camera_starts, axis=0)

    W = np.zeros((len(points), layout.n_free, 6, 3))
    W[problem.landmarks[layout.free], problem.cameras[layout.free] - problem.fixed] = (
        JcT[layout.free] @ J_point[layout.free]
    )
    return _Normal(
        U=by_camera(JcT @ J_camera),
        V=by_point(JpT @ J_point),
        W=W.reshape(len(points), layout.n_free * 6, 3),
        g_cameras=by_camera(JcT @ r).ravel(),
        g_points=by_point(JpT @ r)[:, :, 0],
        cost=_total_cost(norm, depth_errors),
    )


def _reduced(normal: _Normal, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Schur complement (6F, 6F), ``W V^-1`` (P, 6F, 3) and V^-1 (P, 3, 3)."""
    diagonal = np.einsum("pii->pi", normal.V)
    V = normal.V + (damping * diagonal + 1e-9 * (1 + diagonal))[:, :, None] * np.eye(3)
    V_inverse = np.linalg.inv(V)
    WV = normal.W @ V_inverse
    size = normal.W.shape[1]
    S = np.zeros((size, size))
    for index, block in enumerate(normal.U):
        rows = slice(6 * index, 6 * index + 6)
        S[rows, rows] = block + damping * np.diag(np.diag(block))
    flat_WV = np.swapaxes(WV, 0, 1).reshape(size, -1)
    flat_W = np.swapaxes(normal.W, 0, 1).reshape(size, -1)
    return S - flat_WV @ flat_W.T, WV, V_inverse


def _step(normal: _Normal, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Damped Gauss-Newton step: (6F,) for the cameras, (P, 3) for the points."""
    S, WV, V_inverse = _reduced(normal, damping)
    right = normal.g_cameras - np.einsum("pci,pi->c", WV, normal.g_points)
    S[np.diag_indices(len(S))] += 1e-9 * (1 + np.diag(S))
    step_cameras = -np.linalg.solve(S, right)
    back = normal.g_points + np.einsum("pci,c->pi", normal.W, step_cameras)
    return step_cameras, -np.einsum("pij,pj->pi", V_inverse, back)


def _last_covariance(normal: _Normal) -> np.ndarray:
    """(6, 6) marginal covariance of the last camera; a free gauge is held by a vanishing prior."""
    S, _, _ = _reduced(normal, 0.0)
    scale = np.trace(S) / len(S)
    return np.linalg.inv(S + 1e-6 * scale * np.eye(len(S)))[-6:, -6:]
