"""One pose-graph solve with GTSAM. Runs in the worker process: GTSAM's binding holds the GIL throughout."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as splinalg

from vision_nodes.places.rigid import difference, inverse

DCS_PHI = 10.0  # squared Mahalanobis error from which a closure loses weight; chi2(6) is 10.6 at 90 %

UNIT_SIGMA = 0.1  # how firmly the mean of all units is the map's, log
_SCALE_ITERATIONS = 6


@dataclass(frozen=True)
class GraphProblem:
    """N poses, E odometry edges, L closures, A anchors; indices refer to rows of `T_map_cam`."""

    T_map_cam: np.ndarray  # (N, 4, 4) initial values
    odometry_pairs: np.ndarray  # (E, 2) int64, (a, b)
    odometry_T: np.ndarray  # (E, 4, 4) T_a_b
    odometry_sigmas: np.ndarray  # (E, 2) metres, radians
    closure_pairs: np.ndarray  # (L, 2) int64, (matched, query)
    closure_T: np.ndarray  # (L, 4, 4) T_matched_query
    closure_covariances: np.ndarray  # (L, 6, 6) ROS order in the matched frame
    anchors: np.ndarray  # (A,) int64, rows that stay where they are
    odometry_scale_sigmas: np.ndarray  # (E,) 1-sigma of the unit's drift along an edge, log
    closure_log_scales: np.ndarray  # (L,) log(length in matched's unit / in query's)
    closure_scale_sigmas: np.ndarray  # (L,) inf = not measured


@dataclass(frozen=True)
class GraphSolution:
    """Optimised poses and how well every measurement fits them (squared Mahalanobis errors, 6 dof)."""

    T_map_cam: np.ndarray  # (N, 4, 4)
    log_scales: np.ndarray  # (N,) log(map unit / odometry's unit at this node)
    closure_errors: np.ndarray  # (L,)
    odometry_errors: np.ndarray  # (E,)


def solve_graph(problem: GraphProblem) -> GraphSolution:
    """First the units of length, then the poses with every edge in the map's unit.

    Raises:
        RuntimeError: GTSAM found the system singular or produced values that are not finite.
    """
    log_scales = solve_scales(problem)
    scaled = in_map_unit(problem, log_scales)
    poses = _solve_poses(scaled)
    if not np.isfinite(poses).all():
        raise RuntimeError("the pose graph's solution is not finite")
    return GraphSolution(poses, log_scales, _closure_errors(scaled, poses), _odometry_errors(scaled, poses))


def solve_scales(problem: GraphProblem) -> np.ndarray:
    """(N,) log of map unit / odometry's unit at each node.

    Monocular odometry drifts in scale; closures that measured the ratio of the units at their two ends tell by
    how much (Strasdat et al., RSS 2010, solve it together with the poses; apart it is linear). All nodes are
    held loosely at 0, so that the map's unit is the odometry's mean one. Closures weigh by Huber's rule.
    """
    count = len(problem.T_map_cam)
    measured = np.isfinite(problem.closure_scale_sigmas)
    pairs = np.concatenate([problem.odometry_pairs, problem.closure_pairs[measured]])
    target = np.concatenate([np.zeros(len(problem.odometry_pairs)), problem.closure_log_scales[measured]])
    sigmas = np.concatenate([problem.odometry_scale_sigmas, problem.closure_scale_sigmas[measured]])
    if not measured.any() or (sigmas <= 0).all():
        return np.zeros(count)
    rows, weight = np.arange(len(pairs)), 1.0 / np.maximum(sigmas, 1e-6) ** 2
    D = sparse.csr_matrix(
        (np.tile([-1.0, 1.0], len(pairs)), (np.repeat(rows, 2), pairs.ravel())), shape=(len(pairs), count)
    )
    robust = np.ones(len(pairs))
    for _ in range(_SCALE_ITERATIONS):
        W = sparse.diags(weight * robust)
        normal = D.T @ W @ D + sparse.identity(count) / (UNIT_SIGMA**2 * count)
        log_scales = splinalg.spsolve(normal.tocsc(), D.T @ (W @ target))
        size = np.abs(D @ log_scales - target) * np.sqrt(weight)
        robust = np.where(
            rows < len(problem.odometry_pairs), 1.0, np.minimum(1.0, 1.5 / np.maximum(size, 1e-9))
        )
    return np.asarray(log_scales).reshape(count)


def in_map_unit(problem: GraphProblem, log_scales: np.ndarray) -> GraphProblem:
    """Every edge's lengths in the map's unit: an odometry edge by the mean of its ends, a closure by its match."""
    a, b = problem.odometry_pairs.T
    steps = np.exp((log_scales[a] + log_scales[b]) / 2)
    closures = np.exp(log_scales[problem.closure_pairs[:, 0]])
    odometry_T, closure_T = problem.odometry_T.copy(), problem.closure_T.copy()
    odometry_T[:, :3, 3] *= steps[:, None]
    closure_T[:, :3, 3] *= closures[:, None]
    sigmas, covariances = problem.odometry_sigmas.copy(), problem.closure_covariances.copy()
    sigmas[:, 0] *= steps
    covariances[:, :3, :] *= closures[:, None, None]
    covariances[:, :, :3] *= closures[:, None, None]
    return replace(
        problem,
        odometry_T=odometry_T,
        closure_T=closure_T,
        odometry_sigmas=sigmas,
        closure_covariances=covariances,
    )


def _solve_poses(problem: GraphProblem) -> np.ndarray:
    """Levenberg-Marquardt; closures are switchable by dynamic covariance scaling (Agarwal, ICRA 2013)."""
    import gtsam

    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for row, T in enumerate(problem.T_map_cam):
        values.insert(row, gtsam.Pose3(T))
    tight = gtsam.noiseModel.Isotropic.Sigma(6, 1e-6)
    for row in problem.anchors:
        graph.add(gtsam.PriorFactorPose3(int(row), gtsam.Pose3(problem.T_map_cam[row]), tight))
    for (a, b), T, (sigma_m, sigma_rad) in zip(
        problem.odometry_pairs, problem.odometry_T, problem.odometry_sigmas
    ):
        noise = gtsam.noiseModel.Diagonal.Sigmas(np.repeat([sigma_rad, sigma_m], 3))
        graph.add(gtsam.BetweenFactorPose3(int(a), int(b), gtsam.Pose3(T), noise))
    kernel = gtsam.noiseModel.mEstimator.DCS.Create(DCS_PHI)
    for (m, q), T, covariance in zip(problem.closure_pairs, problem.closure_T, problem.closure_covariances):
        gaussian = gtsam.noiseModel.Gaussian.Covariance(tangent_covariance(T, covariance))
        noise = gtsam.noiseModel.Robust.Create(kernel, gaussian)
        graph.add(gtsam.BetweenFactorPose3(int(m), int(q), gtsam.Pose3(T), noise))
    result = gtsam.LevenbergMarquardtOptimizer(graph, values).optimize()
    return np.stack([result.atPose3(row).matrix() for row in range(len(problem.T_map_cam))])


def tangent_covariance(T_a_b: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """ROS-ordered covariance in frame a -> GTSAM's: rotation first, both in frame b."""
    R_b_a = T_a_b[:3, :3].T
    A = np.zeros((6, 6))
    A[:3, 3:] = R_b_a
    A[3:, :3] = R_b_a
    return A @ covariance @ A.T


def _residual(T_measured: np.ndarray, T_map_a: np.ndarray, T_map_b: np.ndarray) -> np.ndarray:
    """(6,) disagreement in ROS order, expressed in frame a."""
    return difference(T_measured, inverse(T_map_a) @ T_map_b)


def _closure_errors(problem: GraphProblem, poses: np.ndarray) -> np.ndarray:
    errors = [
        r @ np.linalg.solve(covariance, r)
        for (m, q), T, covariance in zip(
            problem.closure_pairs, problem.closure_T, problem.closure_covariances
        )
        for r in [_residual(T, poses[m], poses[q])]
    ]
    return np.array(errors, dtype=np.float64)


def _odometry_errors(problem: GraphProblem, poses: np.ndarray) -> np.ndarray:
    errors = [
        float((r[:3] @ r[:3]) / sigma[0] ** 2 + (r[3:] @ r[3:]) / sigma[1] ** 2)
        for (a, b), T, sigma in zip(problem.odometry_pairs, problem.odometry_T, problem.odometry_sigmas)
        for r in [_residual(T, poses[a], poses[b])]
    ]
    return np.array(errors, dtype=np.float64)
