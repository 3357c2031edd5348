"""Geometric verification: are two keyframes views of the same place, and from where exactly?

Matched features with 3D points in the older keyframe give the query's pose by PnP inside USAC with MAGSAC++
scores (Barath et al., CVPR 2020), refined on the inliers of both directions. A repeated poster or facade
also yields a perfect local pose, so inliers alone prove little: they must be spread over both images, and
a fair share of the landmarks that the pose says are in view must really be matched.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.local_features import match
from vision_nodes.places.pose_refinement import Projections, refine
from vision_nodes.places.rigid import inverse, transform
from vision_nodes.places.settings import VerificationSettings

_GRID = 6
_MIN_INLIERS_TO_REFINE = 6


@dataclass(frozen=True)
class Verification:
    """Outcome for one candidate; `reason` is empty when the place is the same."""

    matched_id: int
    T_matched_query: np.ndarray | None = None  # (4, 4) float64
    covariance: np.ndarray | None = None  # (6, 6), ROS order, in the matched camera's frame
    inliers: int = 0
    inlier_ratio: float = 0.0
    coverage: float = 0.0
    support: float = 0.0
    reason: str = ""

    @property
    def accepted(self) -> bool:
        """True when every test passed."""
        return not self.reason


def verify(query: Keyframe, matched: Keyframe, settings: VerificationSettings) -> Verification:
    """Compare two keyframes geometrically."""
    if query.K is None or matched.K is None:
        return Verification(matched.id, reason="uncalibrated camera")
    pairs = match(query.local_descriptors, matched.local_descriptors, settings.match_ratio)
    if len(pairs) < settings.min_inliers:
        return Verification(matched.id, reason=f"{len(pairs)} matches")
    T_matched_query = _initial_pose(query, matched, pairs, settings)
    if T_matched_query is None:
        return Verification(matched.id, reason="no pose agrees with the matches")
    return _judge(query, matched, pairs, T_matched_query, settings)


def _initial_pose(
    query: Keyframe, matched: Keyframe, pairs: np.ndarray, settings: VerificationSettings
) -> np.ndarray | None:
    """PnP from whichever keyframe has more matched landmarks."""
    q, m = pairs.T
    forward, backward = matched.has_landmark[m], query.has_landmark[q]
    threshold = settings.reprojection_px * query.size_wh[0] / 640
    if forward.sum() >= max(backward.sum() / 2, settings.min_inliers):
        T_query_matched = solve_pnp(
            matched.landmarks_cam[m[forward]], query.keypoints_xy[q[forward]], query.K, threshold
        )
        return None if T_query_matched is None else inverse(T_query_matched)
    if backward.sum() < settings.min_inliers or not _same_unit(query, matched):
        return None
    return solve_pnp(
        query.landmarks_cam[q[backward]], matched.keypoints_xy[m[backward]], matched.K, threshold
    )


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
    except cv2.error:  # degenerate samples only
        return None
    if not found or not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return None
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(rotation)[0], translation.ravel()
    return T


def _same_unit(query: Keyframe, matched: Keyframe) -> bool:
    """Landmarks of both keyframes may be mixed only within one odometry segment."""
    return query.segment == matched.segment


def _judge(
    query: Keyframe,
    matched: Keyframe,
    pairs: np.ndarray,
    T_matched_query: np.ndarray,
    settings: VerificationSettings,
) -> Verification:
    q, m = pairs.T
    threshold = settings.reprojection_px * query.size_wh[0] / 640
    projections = Projections(
        points_matched=matched.landmarks_cam[m],
        xy_query=query.keypoints_xy[q],
        K_query=query.K,
        points_query=query.landmarks_cam[q] if _same_unit(query, matched) else np.full((len(q), 3), np.nan),
        xy_matched=matched.keypoints_xy[m],
        K_matched=matched.K,
    )
    for _ in range(2):
        inlier = projections.inliers(T_matched_query, threshold)
        if inlier.sum() < _MIN_INLIERS_TO_REFINE:
            return Verification(matched.id, reason=f"{inlier.sum()} inliers")
        T_matched_query, covariance = refine(projections.subset(inlier), T_matched_query)
    inlier = projections.inliers(T_matched_query, threshold)
    testable = projections.testable
    result = Verification(
        matched.id,
        T_matched_query,
        covariance,
        int(inlier.sum()),
        float(inlier.sum() / max(testable.sum(), 1)),
        min(
            _coverage(query.keypoints_xy[q[inlier]], query.size_wh),
            _coverage(matched.keypoints_xy[m[inlier]], matched.size_wh),
        ),
        _support(query, matched, T_matched_query, m[inlier]),
    )
    return Verification(**{**result.__dict__, "reason": _refusal(result, settings)})


def _refusal(v: Verification, settings: VerificationSettings) -> str:
    """Why a solved pose does not prove the same place; empty when it does."""
    if v.inliers < settings.min_inliers:
        return f"{v.inliers} inliers"
    if v.inlier_ratio < settings.min_inlier_ratio:
        return f"inlier ratio {v.inlier_ratio:.2f}"
    if v.coverage < settings.min_coverage:
        return f"inliers cover {v.coverage:.2f} of the image"
    if v.support < settings.min_support:
        return f"only {v.support:.2f} of the visible landmarks matched"
    return ""


def _coverage(xy: np.ndarray, size_wh: tuple[int, int]) -> float:
    """Share of a grid's cells that hold at least one point."""
    cell = (xy * _GRID / np.asarray(size_wh)).astype(int).clip(0, _GRID - 1)
    return len(np.unique(cell[:, 1] * _GRID + cell[:, 0])) / _GRID**2


def _support(query: Keyframe, matched: Keyframe, T_matched_query: np.ndarray, confirmed: np.ndarray) -> float:
    """Share of the matched keyframe's landmarks inside the query's view that were confirmed there."""
    known = np.flatnonzero(matched.has_landmark)
    points = transform(inverse(T_matched_query), matched.landmarks_cam[known].astype(np.float64))
    in_front = points[:, 2] > 1e-6
    xy = (points[in_front] @ query.K.T)[:, :2] / points[in_front, 2:]
    inside = ((xy >= 0) & (xy < np.asarray(query.size_wh))).all(axis=1)
    visible = int(inside.sum())
    return float(np.isin(known[in_front][inside], confirmed).sum() / visible) if visible else 0.0
