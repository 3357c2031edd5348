"""One pose-graph solve with GTSAM. Runs in the worker process: GTSAM's binding holds the GIL throughout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.places.rigid import difference, inverse

DCS_PHI = 10.0  # squared Mahalanobis error from which a closure loses weight; chi2(6) is 10.6 at 90 %


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


@dataclass(frozen=True)
class GraphSolution:
    """Optimised poses and how well every measurement fits them (squared Mahalanobis errors, 6 dof)."""

    T_map_cam: np.ndarray  # (N, 4, 4)
    closure_errors: np.ndarray  # (L,)
    odometry_errors: np.ndarray  # (E,)


def solve_graph(problem: GraphProblem) -> GraphSolution:
    """Levenberg-Marquardt; closures are switchable by dynamic covariance scaling (Agarwal, ICRA 2013).

    Raises:
        RuntimeError: GTSAM found the system singular or produced values that are not finite.
    """
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
    poses = np.stack([result.atPose3(row).matrix() for row in range(len(problem.T_map_cam))])
    if not np.isfinite(poses).all():
        raise RuntimeError("the pose graph's solution is not finite")
    return GraphSolution(poses, _closure_errors(problem, poses), _odometry_errors(problem, poses))


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
