"""Camera pose from landmarks of known or partly known depth: robust, with covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from vision_nodes.odometry.geometry import (
    exp_se3,
    invert,
    log_se3,
    make_pose,
    project,
    projection_jacobians,
    transform,
)

CHI2_2DOF = 16.0  # 3.3 sigma for two dimensions with room for a rolling shutter: a dropped track is gone
HUBER = 1.5  # whitened residuals beyond it count linearly
LEAST_SCATTER = 0.05  # of sigma_px squared: no camera sees sharper
MIN_DECREASE = 1e-3  # of the cost: less is within the noise of a single point
# Motion prior: standard deviations per frame, translation in median scene depths, rotation in radians.
PRIOR_TRANSLATION, PRIOR_ROTATION = 0.3, 0.3


@dataclass(frozen=True)
class Correspondences:
    """N landmarks and where this image shows them.

    `rays` are 1-sigma depth errors along the reference view's ray: zero for a triangulated landmark,
    long for one whose depth is only assumed. Such a point still fixes the rotation, and by the epipolar
    constraint part of the translation (its depth is marginalised out of the residual).
    """

    points: np.ndarray  # (N, 3) odom
    rays: np.ndarray  # (N, 3) odom
    xy: np.ndarray  # (N, 2) px

    def select(self, mask: np.ndarray) -> Correspondences:
        """Those where `mask` says so."""
        return Correspondences(self.points[mask], self.rays[mask], self.xy[mask])


@dataclass(frozen=True)
class PoseEstimate:
    """`covariance` is (6, 6) of the left motion of `T_cam_odom` (translation, rotation, camera axes)."""

    T_cam_odom: np.ndarray
    covariance: np.ndarray
    inliers: np.ndarray  # (N,) bool
    residual_px: float  # median reprojection error of inliers with known depth, px

    def covariance_in_unit(self, factor: float) -> np.ndarray:
        """(6, 6) covariance after the map was stretched by `factor`."""
        stretch = np.diag([factor] * 3 + [1.0] * 3)
        return np.asarray(stretch @ self.covariance @ stretch)


def whitened(
    T_cam_odom: np.ndarray, seen: Correspondences, K: np.ndarray, sigma_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals (N, 2), their Jacobians (N, 2, 6) by the pose, both in sigmas, and squared norms (N,).

    The weight is the inverse square root of ``sigma^2 I + v v^T`` with v the image of the depth error; points
    behind the camera get norm inf.
    """
    points_cam = transform(T_cam_odom, seen.points)
    residuals = (project(K, points_cam) - seen.xy) / sigma_px
    J_point, J_pose = projection_jacobians(K, points_cam)
    J_pose /= sigma_px
    assumed = np.flatnonzero(seen.rays.any(1))
    if len(assumed):
        rays = seen.rays[assumed] @ T_cam_odom[:3, :3].T
        v = (J_point[assumed] @ rays[:, :, None])[:, :, 0]
        square = (v * v).sum(1)
        # (sigma^2 I + v v^T)^(-1/2) = (I - shrink v v^T) / sigma
        shrink = (1 - sigma_px / np.sqrt(sigma_px**2 + square)) / np.maximum(square, 1e-12)
        along = shrink * (v * residuals[assumed]).sum(1)
        residuals[assumed] -= along[:, None] * v
        J = J_pose[assumed]
        J_pose[assumed] = J - v[:, :, None] * (shrink[:, None] * (v[:, None, :] @ J)[:, 0])[:, None, :]
    chi2 = (residuals * residuals).sum(1)
    chi2[points_cam[:, 2] <= 1e-6] = np.inf
    return residuals, J_pose, chi2


def refine_pose(
    T_cam_odom: np.ndarray, seen: Correspondences, K: np.ndarray, sigma_px: float, iterations: int = 12
) -> PoseEstimate:
    """Levenberg-Marquardt on Huber-weighted reprojection errors around a predicted pose.

    The prediction enters as a weak prior, so that no configuration of points is singular.

    Args:
        T_cam_odom: (4, 4) predicted.
        seen: N >= 1 correspondences.
        K: (3, 3) px.
        sigma_px: 1-sigma of a tracked position.
    """
    prior = T_cam_odom
    depth = transform(prior, seen.points)[:, 2]
    typical = float(np.median(depth[depth > 0])) if (depth > 0).any() else 1.0
    information = np.repeat([1 / (PRIOR_TRANSLATION * typical) ** 2, 1 / PRIOR_ROTATION**2], 3)
    problem = _Problem(seen, K, sigma_px, invert(prior), information)
    state = problem.linearise(T_cam_odom)
    damping = 1e-4
    for _ in range(iterations):
        step = -np.linalg.solve(state.H + damping * np.diag(np.diag(state.H)), state.g)
        proposed = problem.linearise(exp_se3(step) @ T_cam_odom)
        if proposed.cost < state.cost:
            decrease = state.cost - proposed.cost
            T_cam_odom, state, damping = proposed.T_cam_odom, proposed, max(damping * 0.1, 1e-9)
            if decrease < MIN_DECREASE * state.cost:
                break
        else:
            damping *= 10
            if damping > 1e4 or float(np.abs(step @ state.g)) < MIN_DECREASE * state.cost:
                break
    return _finish(state, seen, K)


@dataclass(frozen=True)
class _State:
    """Normal equations of the pose at one place."""

    T_cam_odom: np.ndarray
    H: np.ndarray  # (6, 6)
    g: np.ndarray  # (6,)
    cost: float
    chi2: np.ndarray  # (N,)


@dataclass(frozen=True)
class _Problem:
    """What stays the same over the iterations."""

    seen: Correspondences
    K: np.ndarray
    sigma_px: float
    T_prior_inverse: np.ndarray
    prior_information: np.ndarray  # (6,) diagonal

    def linearise(self, T: np.ndarray) -> _State:
        residuals, J, chi2 = whitened(T, self.seen, self.K, self.sigma_px)
        finite = np.isfinite(chi2)
        norm = np.sqrt(np.where(finite, chi2, 1.0))
        robust = np.where(finite, np.minimum(1.0, HUBER / np.maximum(norm, 1e-9)), 0.0)
        flat = J.reshape(-1, 6)
        weighted = flat * np.repeat(robust, 2)[:, None]
        offset = log_se3(T @ self.T_prior_inverse)
        pull = self.prior_information * offset
        huber = np.where(norm < HUBER, norm**2, 2 * HUBER * norm - HUBER**2)
        # A point behind the camera must not lower the cost: it pays like a gross outlier.
        cost = float(np.where(finite, huber, 400.0).sum() + offset @ pull)
        H = weighted.T @ flat + np.diag(self.prior_information)
        return _State(T, H, weighted.T @ residuals.ravel() + pull, cost, chi2)


def _finish(state: _State, seen: Correspondences, K: np.ndarray) -> PoseEstimate:
    T_cam_odom, H, chi2 = state.T_cam_odom, state.H, state.chi2
    inliers = chi2 < CHI2_2DOF
    known = inliers & ~seen.rays.any(1)
    errors = np.linalg.norm(project(K, transform(T_cam_odom, seen.points[known])) - seen.xy[known], axis=1)
    residual = float(np.median(errors)) if known.any() else float("nan")
    # The scatter really seen scales the covariance: `sigma_px` is for telling outliers, and only a guess.
    freedom = 2 * int(inliers.sum()) - 6
    factor = max(LEAST_SCATTER, float(chi2[inliers].sum()) / freedom) if freedom > 0 else 1.0
    return PoseEstimate(T_cam_odom, np.linalg.inv(H) * factor, inliers, residual)


def ransac_pose(
    points: np.ndarray, xy: np.ndarray, K: np.ndarray, threshold_px: float = 3.0
) -> tuple[Any, ...]:
    """Pose without any prediction: P3P in MAGSAC++.

    Args:
        points: (N, 3) odom.
        xy: (N, 2) px.

    Returns:
        (T_cam_odom (4, 4), inliers (N,) bool), or (None, all False) when nothing fits.
    """
    inliers = np.zeros(len(points), bool)
    if len(points) < 6:
        return None, inliers
    cv2.setRNGSeed(len(points))  # the same input gives the same answer
    try:
        found, rotation, t, index = cv2.solvePnPRansac(
            points, xy.astype(np.float64), K, None, reprojectionError=threshold_px, confidence=0.999,
            iterationsCount=500, flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
    except cv2.error:  # a sample without extent (wrong matches on one spot): no pose fits it
        return None, inliers
    if not found or index is None or len(index) < 6:
        return None, inliers
    inliers[index.ravel()] = True
    return make_pose(cv2.Rodrigues(rotation)[0], t), inliers
