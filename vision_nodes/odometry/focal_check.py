"""Does the calibration agree with the pictures: the focal length the window itself would choose.

After the window has been solved with the given focal length, one Gauss-Newton step is taken with the logarithm of
the focal length as one unknown more (self-calibrating bundle adjustment, Triggs et al. 2000). Turning makes the
focal length observable; where nothing does, its information is small and nothing is claimed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vision_nodes.odometry.bundle_adjustment import BundleProblem, BundleSolution, solve_bundle
from vision_nodes.odometry.geometry import project, projection_jacobians

HUBER_SIGMA = 1.5
FORGET = 0.9  # windows overlap: what one says wears off as others come
# Model errors (rolling shutter, tracks that slide along edges) do not average out over points. Rendered drives
# with the true focal length read within 1 %, with one 10 % wrong 7 to 10 %; the kitchen's nominal one reads 2.5 %.
INFLATION = 4.0
SUSPICIOUS = 0.04  # relative error from which poses are degraded
MAX_SIGMA = 0.02  # how well it must be known to say so


def solve_window(problem: BundleProblem) -> BundleSolution:
    """`solve_bundle`, and what the window says about the focal length. Raises numpy.linalg.LinAlgError."""
    solution = solve_bundle(problem)
    return replace(solution, focal=focal_step(problem, solution))


def focal_step(problem: BundleProblem, solution: BundleSolution) -> tuple[float, float]:
    """Relative change of the focal length that the window asks for, and its information (1 / variance).

    All cameras are free here, also those that hold the window: they were placed with the same focal length.
    """
    T, points = solution.T_cam_odom, solution.points
    cameras, landmarks = problem.cameras, problem.landmarks
    R, t = T[cameras, :3, :3], T[cameras, :3, 3]
    points_cam = np.einsum("mij,mj->mi", R, points[landmarks]) + t
    sane = points_cam[:, 2] > 1e-6
    pixel = project(problem.K, points_cam)
    residual = (pixel - problem.xy) / problem.sigma_px
    weight = np.minimum(1.0, HUBER_SIGMA / np.maximum(np.linalg.norm(residual, axis=1), 1e-9)) * sane
    root = np.sqrt(weight)[:, None]
    J_cam, J_pose = projection_jacobians(problem.K, points_cam)
    scale = root[:, :, None] / problem.sigma_px
    J_point, J_pose = (J_cam @ R) * scale, J_pose * scale
    J_focal = (pixel - problem.K[:2, 2]) * root / problem.sigma_px
    residual = residual * root
    count, size = len(points), 6 * len(T) + 1
    V = np.zeros((count, 3, 3))
    np.add.at(V, landmarks, np.swapaxes(J_point, 1, 2) @ J_point)
    V_inverse = np.linalg.inv(V + 1e-9 * (1 + np.trace(V, axis1=1, axis2=2))[:, None, None] * np.eye(3))
    W = np.zeros((count, len(T), 6, 3))
    W[landmarks, cameras] = np.swapaxes(J_pose, 1, 2) @ J_point
    W_focal, g_point = np.zeros((count, 3)), np.zeros((count, 3))
    np.add.at(W_focal, landmarks, np.einsum("mij,mi->mj", J_point, J_focal))
    np.add.at(g_point, landmarks, np.einsum("mij,mi->mj", J_point, residual))
    mixed = np.concatenate([W.reshape(count, -1, 3), W_focal[:, None, :]], axis=1)  # (P, size, 3)
    H, g = np.zeros((size, size)), np.zeros(size)
    for camera in range(len(T)):
        mine, rows = cameras == camera, slice(6 * camera, 6 * camera + 6)
        H[rows, rows] = np.einsum("mij,mik->jk", J_pose[mine], J_pose[mine])
        H[rows, -1] = H[-1, rows] = np.einsum("mij,mi->j", J_pose[mine], J_focal[mine])
        g[rows] = np.einsum("mij,mi->j", J_pose[mine], residual[mine])
    H[-1, -1], g[-1] = (J_focal**2).sum(), (J_focal * residual).sum()
    WV = mixed @ V_inverse
    H -= np.tensordot(WV, mixed, axes=([0, 2], [0, 2]))
    g -= np.tensordot(WV, g_point, axes=([0, 2], [0, 1]))
    S, cross = H[:-1, :-1], H[:-1, -1]
    S = S + 1e-8 * np.trace(S) / len(S) * np.eye(len(S))  # the gauge is free
    solved = np.linalg.solve(S, np.stack([cross, g[:-1]], axis=1))
    information = float(H[-1, -1] - cross @ solved[:, 0])
    gradient = float(g[-1] - cross @ solved[:, 1])
    return (-gradient / information, information) if information > 1e-6 else (0.0, 0.0)


class FocalCheck:
    """Gathers what the windows say about the focal length."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another camera, or another map."""
        self._weighted = self._information = 0.0

    def add(self, focal: tuple[float, float]) -> None:
        """Take in one window's `focal_step`."""
        change, information = focal
        self._weighted = FORGET * self._weighted + change * information
        self._information = FORGET * self._information + information

    @property
    def error(self) -> float:
        """Relative error of the given focal length; 0 while nothing is known."""
        return -self._weighted / self._information if self._information > 0 else 0.0

    @property
    def sigma(self) -> float:
        """1-sigma of `error`; inf while nothing is known."""
        return INFLATION / np.sqrt(self._information) if self._information > 0 else float("inf")

    @property
    def complaint(self) -> str:
        """What is wrong with the calibration, empty when nothing can be said against it."""
        if self.sigma > MAX_SIGMA or abs(self.error) < SUSPICIOUS + self.sigma:
            return ""
        return f"focal length looks {100 * self.error:+.0f} % off: calibrate the camera"
