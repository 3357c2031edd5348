"""A first relative pose of two keyframes: epipolar geometry decides which matches agree, 3D points give the length.

Both samplers are USAC with MAGSAC++ scores (Barath et al., CVPR 2020).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.pose_refinement import Matches
from vision_nodes.places.rigid import inverse, transform

MIN_POINTS = 8  # matches with a 3D point, below which a pose has no trustworthy length
_FEW_POINTS = 20  # of the matched keyframe: with fewer the query's are asked
_SYSTEMATIC_UNIT = 0.03  # 1-sigma of the log ratio of two units: landmarks of one view err together


def matches_of(query: Keyframe, matched: Keyframe, pairs: np.ndarray) -> Matches:
    """The matched features of (P, 2) index pairs; each side's points in its own unit."""
    q, m = pairs.T
    assert query.K is not None and matched.K is not None  # verification takes calibrated keyframes only
    return Matches(
        xy_query=query.keypoints_xy[q],
        points_query=query.landmarks_cam[q],
        K_query=query.K,
        xy_matched=matched.keypoints_xy[m],
        points_matched=matched.landmarks_cam[m],
        K_matched=matched.K,
    )


@dataclass(frozen=True)
class Unit:
    """What the query's unit of length is worth in the matched keyframe's. Monocular odometry drifts in it."""

    log_scale: float = 0.0
    sigma: float = float("inf")
    usable: bool = True  # False: the query's points say nothing about the matched keyframe's unit

    def applied(self, matches: Matches) -> Matches:
        """The matches with the query's points in the matched keyframe's unit."""
        scale = np.exp(self.log_scale) if self.usable else np.nan
        return replace(matches, points_query=matches.points_query * np.float32(scale))


def measure_unit(matches: Matches, T_matched_query: np.ndarray) -> Unit | None:
    """From points known on both sides: their ranges in the query's camera by either; None when too few are.

    Args:
        matches: inliers, each side's points in its own unit.
        T_matched_query: (4, 4), translation in the matched keyframe's unit.
    """
    both = np.isfinite(matches.points_matched[:, 2]) & np.isfinite(matches.points_query[:, 2])
    if both.sum() < MIN_POINTS:
        return None
    there = transform(inverse(T_matched_query), matches.points_matched[both].astype(np.float64))
    ratios = np.log(np.linalg.norm(there, axis=1) / np.linalg.norm(matches.points_query[both], axis=1))
    log_scale = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - log_scale)))
    return Unit(log_scale, float(np.hypot(spread / np.sqrt(both.sum()), _SYSTEMATIC_UNIT)))


def epipolar_inliers(matches: Matches, threshold_px: float) -> np.ndarray:
    """(N,) bool; cameras may differ, so rays are scaled to a common focal length first."""
    f = matches.K_matched[0, 0]
    to_matched = matches.K_matched @ np.linalg.inv(matches.K_query)
    homogeneous = np.column_stack([matches.xy_query, np.ones(len(matches))]) @ to_matched.T
    try:
        _, mask = cv2.findEssentialMat(
            homogeneous[:, :2],
            matches.xy_matched.astype(np.float64),
            matches.K_matched,
            method=cv2.USAC_MAGSAC,
            prob=0.9999,
            threshold=threshold_px * f / max(f, matches.K_query[0, 0]),
        )
    except cv2.error:  # only degenerate samples
        mask = None
    return np.zeros(len(matches), bool) if mask is None else mask.ravel().astype(bool)


def metric_pose(chosen: Matches, same_segment: bool, threshold_px: float) -> tuple[np.ndarray, Unit] | None:
    """PnP from the matched keyframe's points; from the query's only where these are few and share its unit."""
    forward = np.isfinite(chosen.points_matched[:, 2])
    backward = np.isfinite(chosen.points_query[:, 2])
    if forward.sum() >= MIN_POINTS and (forward.sum() >= _FEW_POINTS or not same_segment):
        T_query_matched = solve_pnp(
            chosen.points_matched[forward], chosen.xy_query[forward], chosen.K_query, threshold_px
        )
        if T_query_matched is not None:
            T_matched_query = inverse(T_query_matched)
            return T_matched_query, measure_unit(chosen, T_matched_query) or Unit(usable=same_segment)
    if not same_segment or backward.sum() < MIN_POINTS:
        return None
    answer = solve_pnp(
        chosen.points_query[backward], chosen.xy_matched[backward], chosen.K_matched, threshold_px
    )
    return None if answer is None else (answer, Unit())


def solve_pnp(points: np.ndarray, xy: np.ndarray, K: np.ndarray, threshold_px: float) -> np.ndarray | None:
    """T_cam_points from (N, 3) points and their (N, 2) px, by USAC with MAGSAC++; None when none fits."""
    params = cv2.UsacParams()
    params.score = cv2.SCORE_METHOD_MAGSAC
    params.sampler = cv2.SAMPLING_UNIFORM
    params.loMethod = cv2.LOCAL_OPTIM_SIGMA
    params.threshold = threshold_px
    params.maxIterations = 2000
    params.confidence = 0.9999
    try:
        found, _, rotation, translation, _ = cv2.solvePnPRansac(
            points.astype(np.float64), xy.astype(np.float64), K, None, params=params
        )
    except cv2.error:  # only degenerate samples
        return None
    if not found or not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return None
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(rotation)[0], translation.ravel()
    return T
