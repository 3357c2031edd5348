"""The first two views of a map: is there motion, is there parallax, and which motion was it.

Homography and essential matrix are both estimated (MAGSAC++, Barath et al. 2020), the better-fitting
one proposes motions and the triangulated points choose among them (Mur-Artal et al. 2015, section IV).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.odometry.geometry import bearings, make_pose, project, transform, triangulate
from vision_nodes.odometry.settings import OdometrySettings

EPIPOLAR_PX = 1.0
MAX_REPROJECTION_PX = 2.0
MIN_PARALLAX_DEG = 0.35  # median over the first points; the window refines them as the baseline grows
AMBIGUOUS = 0.8  # the second-best motion must explain fewer points than this share of the best


@dataclass(frozen=True)
class TwoView:
    """A relative pose of unit baseline and the points it puts in front of both cameras."""

    T_b_a: np.ndarray  # (4, 4), |t| = 1
    points_a: np.ndarray  # (N, 3) in camera a; rows outside `good` are meaningless
    good: np.ndarray  # (N,) bool


def pure_rotation(xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation that best explains the flow without any translation (Kabsch, reweighted).

    Args:
        xy_a, xy_b: (N, 2) px, N >= 3.

    Returns:
        (3, 3) R_b_a and (N,) what it leaves unexplained, px: the parallax.
    """
    rays_a, rays_b = bearings(xy_a, K), bearings(xy_b, K)
    unit_a = rays_a / np.linalg.norm(rays_a, axis=1, keepdims=True)
    unit_b = rays_b / np.linalg.norm(rays_b, axis=1, keepdims=True)
    weights = np.ones(len(xy_a))
    for _ in range(5):
        U, _, Vt = np.linalg.svd((unit_b * weights[:, None]).T @ unit_a)
        R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
        left = np.linalg.norm(project(K, rays_a @ R.T) - xy_b, axis=1)
        weights = 1.0 / (1.0 + (left / max(float(np.median(left)), 1e-3)) ** 2)
    return R, left


def initialise(
    xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray, settings: OdometrySettings
) -> tuple[TwoView | None, str]:
    """Relative pose and points from two views, or the reason why not.

    Args:
        xy_a, xy_b: (N, 2) px of the same points.
        K: (3, 3) px.
    """
    if len(xy_a) < settings.min_init_points:
        return None, f"{len(xy_a)} tracks, {settings.min_init_points} needed"
    if float(np.median(np.linalg.norm(xy_b - xy_a, axis=1))) < settings.static_motion_px:
        return None, "camera does not move"
    _, parallax = pure_rotation(xy_a, xy_b, K)
    if float(np.median(parallax)) < settings.min_parallax_px:
        return None, f"parallax {np.median(parallax):.1f} px, {settings.min_parallax_px:g} needed"
    candidates, inliers = _motions(xy_a, xy_b, K)
    if not candidates or inliers.sum() < 0.5 * len(xy_a):
        return None, "no motion explains half of the tracks"
    views = sorted(
        (_triangulated(T, xy_a, xy_b, K, inliers) for T in candidates), key=lambda v: -v.good.sum()
    )
    return _choose(views, xy_a, xy_b, K, settings)


def _motions(xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Candidate T_b_a of unit baseline and (N,) bool inliers of the model that fits better."""
    cv2.setRNGSeed(len(xy_a))  # the same input gives the same map
    a, b = xy_a.astype(np.float64), xy_b.astype(np.float64)
    method = {"method": cv2.USAC_MAGSAC, "maxIters": 2000}
    E, inliers_E = cv2.findEssentialMat(a, b, K, prob=0.9999, threshold=EPIPOLAR_PX, **method)
    H, inliers_H = cv2.findHomography(
        a, b, cv2.USAC_MAGSAC, EPIPOLAR_PX * 1.5, maxIters=2000, confidence=0.9999
    )
    usable_E = E is not None and E.shape == (3, 3)
    count_E = int(inliers_E.sum()) if usable_E else 0
    count_H = int(inliers_H.sum()) if H is not None else 0
    if H is not None and count_H > 0.9 * count_E:
        _, rotations, translations, _ = cv2.decomposeHomographyMat(H, K)
        motions = [
            make_pose(R, t / np.linalg.norm(t))
            for R, t in zip(rotations, translations)
            if np.linalg.norm(t) > 1e-6
        ]
        inliers = inliers_H.ravel().astype(bool)
    else:
        motions, inliers = [], np.zeros(len(a), bool)
    if usable_E:
        inliers = inliers | inliers_E.ravel().astype(bool)
        _, R, t, _, _ = cv2.recoverPose(E, a, b, K, distanceThresh=1e4, mask=inliers_E.copy())
        motions.append(make_pose(R, t))
    return motions, inliers


def _triangulated(
    T_b_a: np.ndarray, xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray, usable: np.ndarray
) -> TwoView:
    rays_a = bearings(xy_a, K)
    depths = triangulate(T_b_a, rays_a, bearings(xy_b, K))
    with np.errstate(invalid="ignore"):
        points_a = rays_a * depths[:, :1]
        error = np.linalg.norm(project(K, transform(T_b_a, points_a)) - xy_b, axis=1)
        good = usable & (depths > 0).all(1) & (depths < 1e3).all(1) & (error < MAX_REPROJECTION_PX)
    return TwoView(T_b_a, points_a, good)


def _choose(
    views: list[TwoView], xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray, settings: OdometrySettings
) -> tuple[TwoView | None, str]:
    best = views[0]
    count = int(best.good.sum())
    if count < settings.min_init_points:
        return None, f"{count} points triangulated, {settings.min_init_points} needed"
    for other in views[1:]:
        different = _angle_deg(best.T_b_a, other.T_b_a) > 5.0
        if different and other.good.sum() > AMBIGUOUS * count:
            return None, "two motions explain the tracks equally well"
    angles = parallax_deg(best.T_b_a, bearings(xy_a, K), bearings(xy_b, K))
    median = float(np.median(angles[best.good]))
    if median < MIN_PARALLAX_DEG:
        return None, f"parallax {median:.2f} deg, {MIN_PARALLAX_DEG} needed"
    return best, ""


def parallax_deg(T_b_a: np.ndarray, rays_a: np.ndarray, rays_b: np.ndarray) -> np.ndarray:
    """(N,) angle between the two rays of each point, degrees; `T_b_a` (4, 4) or (N, 4, 4)."""
    turned = (T_b_a[..., :3, :3] @ rays_a[..., None])[..., 0]
    cross = np.linalg.norm(np.cross(turned, rays_b), axis=1)
    return np.degrees(np.arctan2(cross, (turned * rays_b).sum(1)))


def _angle_deg(T_b_a: np.ndarray, other: np.ndarray) -> float:
    """Largest of the angles between two rotations and between two translation directions, degrees."""
    between = T_b_a[:3, :3].T @ other[:3, :3]
    rotation = np.degrees(np.arccos(np.clip(0.5 * (np.trace(between) - 1), -1, 1)))
    direction = np.degrees(np.arccos(np.clip(T_b_a[:3, 3] @ other[:3, 3], -1, 1)))
    return float(max(rotation, direction))
