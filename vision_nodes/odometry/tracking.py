"""Camera pose from landmarks of known or partly known depth: robust, with covariance."""

from __future__ import annotations

from dataclasses import dataclass

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
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Residuals (N, 2) px, Jacobians (N, 2, 6), weights (N, 2, 2) and squared Mahalanobis norms (N,).

    The weight is the inverse of ``sigma^2 I + v v^T`` with v the image of the depth error
    (Sherman-Morrison); points behind the camera get norm inf.
    """
    points_cam = transform(T_cam_odom, seen.points)
    residuals = project(K, points_cam) - seen.xy
    J_point, J_pose = projection_jacobians(K, points_cam)
    v = (J_point @ (seen.rays @ T_cam_odom[:3, :3].T)[:, :, None])[:, :, 0]
    norm = sigma_px**2 + (v * v).sum(1)
    weights = (np.eye(2) - v[:, :, None] * v[:, None, :] / norm[:, None, None]) / sigma_px**2
    chi2 = np.einsum("ni,nij,nj->n", residuals, weights, residuals)
    chi2[points_cam[:, 2] <= 1e-6] = np.inf
    return residuals, J_pose, weights, chi2


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
    prior_information = np.diag(np.repeat([1 / (PRIOR_TRANSLATION * typical) ** 2, 1 / PRIOR_ROTATION**2], 3))
    state = _linearise(T_cam_odom, prior, prior_information, seen, (K, sigma_px))
    damping = 1e-4
    for _ in range(iterations):
        H, g, cost, _ = state
        step = -np.linalg.solve(H + damping * np.diag(np.diag(H)), g)
        candidate = exp_se3(step) @ T_cam_odom
        proposed = _linearise(candidate, prior, prior_information, seen, (K, sigma_px))
        if proposed[2] < cost:
            T_cam_odom, state, damping = candidate, proposed, max(damping * 0.1, 1e-9)
            if cost - proposed[2] < 1e-4 * cost:
                break
        else:
            damping *= 10
            if damping > 1e4:
                break
    return _finish(T_cam_odom, state, seen, K)


def _linearise(
    T: np.ndarray,
    prior: np.ndarray,
    prior_information: np.ndarray,
    seen: Correspondences,
    intrinsics: tuple[np.ndarray, float],
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    residuals, J, weights, chi2 = whitened(T, seen, *intrinsics)
    finite = np.isfinite(chi2)
    norm = np.sqrt(np.where(finite, chi2, 1.0))
    robust = np.where(finite, np.minimum(1.0, HUBER / np.maximum(norm, 1e-9)), 0.0)
    JtW = np.swapaxes(J, 1, 2) @ (weights * robust[:, None, None])
    H = (JtW @ J).sum(0) + prior_information
    offset = log_se3(T @ invert(prior))
    g = (JtW @ residuals[:, :, None]).sum(0)[:, 0] + prior_information @ offset
    huber = np.where(norm < HUBER, norm**2, 2 * HUBER * norm - HUBER**2)
    # A point behind the camera must not lower the cost: it pays like a gross outlier.
    cost = float(np.where(finite, huber, 400.0).sum() + offset @ prior_information @ offset)
    return H, g, cost, chi2


def _finish(
    T_cam_odom: np.ndarray, state: tuple[np.ndarray, ...], seen: Correspondences, K: np.ndarray
) -> PoseEstimate:
    H, _, _, chi2 = state
    inliers = chi2 < CHI2_2DOF
    known = inliers & ~seen.rays.any(1)
    errors = np.linalg.norm(project(K, transform(T_cam_odom, seen.points[known])) - seen.xy[known], axis=1)
    residual = float(np.median(errors)) if known.any() else float("nan")
    # The scatter really seen scales the covariance: an optimistic sigma_px must not make it small.
    freedom = 2 * int(inliers.sum()) - 6
    factor = max(1.0, float(chi2[inliers].sum()) / freedom) if freedom > 0 else 1.0
    return PoseEstimate(T_cam_odom, np.linalg.inv(H) * factor, inliers, residual)


def ransac_pose(points: np.ndarray, xy: np.ndarray, K: np.ndarray, threshold_px: float = 3.0) -> tuple:
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
