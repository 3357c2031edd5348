"""Geometric verification: are two keyframes views of the same place, and from where exactly?

The epipolar geometry of all matches (USAC with MAGSAC++ scores, Barath et al., CVPR 2020) decides which agree;
those with 3D points give the metric pose by PnP; both are refined together. A repeated poster or facade also
yields a perfect local pose, so inliers alone prove little: they must be spread over both images, and a fair
share of the landmarks that the pose says are in view must really be matched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.local_features import match_with_ratio
from vision_nodes.places.pose_hypothesis import (
    MIN_POINTS,
    Unit,
    epipolar_inliers,
    matches_of,
    measure_unit,
    metric_pose,
)
from vision_nodes.places.pose_refinement import (
    Matches,
    epipolar_errors_px,
    refine,
    reprojection_errors_px,
    spread_covariance,
)
from vision_nodes.places.rigid import inverse, transform
from vision_nodes.places.settings import VerificationSettings

_GRID = 6
_DISTINCT_RATIO, _DISTINCT_SHARE = 0.8, 0.5  # look-alikes rarely get that far: saves them their RANSAC
_MIN_AGREEMENT = 0.5
_SYSTEMATIC_DEPTHS = 0.005  # 1-sigma / the scene's depth
_SYSTEMATIC_DISTANCE = 0.04  # 1-sigma / distance between the two cameras
_SYSTEMATIC_RAD = np.deg2rad(0.4)
_PNP_SLACK = 2.5  # landmarks are off by more than features: PnP threshold / epipolar threshold


@dataclass(frozen=True)
class Verification:
    """Outcome for one candidate; `reason` is empty when the place is the same."""

    matched_id: int
    T_matched_query: np.ndarray | None = None  # (4, 4) float64
    covariance: np.ndarray | None = None  # (6, 6), ROS order, in the matched camera's frame
    inliers: int = 0  # matches that fit the epipolar geometry and, where they have points, the depth
    inlier_ratio: float = 0.0  # inliers / matches
    point_inliers: int = 0  # inliers with a 3D point
    point_agreement: float = 0.0  # of the matches on their epipolar lines that have a point
    coverage: float = 0.0  # share of the image that holds inliers, the smaller of both images
    support: float = 0.0  # share of the landmarks in view that are inliers
    log_scale: float = 0.0  # log(length in the matched keyframe's unit / length in the query's)
    log_scale_sigma: float = float("inf")
    reason: str = ""

    @property
    def accepted(self) -> bool:
        """True when every test passed."""
        return not self.reason


def verify(query: Keyframe, matched: Keyframe, settings: VerificationSettings) -> Verification:
    """Compare two keyframes geometrically."""
    hypothesis = hypothesise(query, matched, settings)
    return hypothesis if isinstance(hypothesis, Verification) else confirm(hypothesis, settings)


@dataclass(frozen=True)
class Hypothesis:
    """A first pose from the inliers of a sampler: enough to rank candidates by, before the costly refinement."""

    query: Keyframe
    matched: Keyframe
    pairs: np.ndarray  # (P, 2) indices of matched features, query and matched
    matches: Matches
    inlier: np.ndarray  # (P,) bool: epipolar
    T_matched_query: np.ndarray
    unit: Unit

    @property
    def inliers(self) -> int:
        """Matches that agree with the epipolar geometry."""
        return int(self.inlier.sum())


def hypothesise(
    query: Keyframe, matched: Keyframe, settings: VerificationSettings
) -> Hypothesis | Verification:
    """The pose by which two keyframes could show the same place, or the refusal when there is none."""
    if query.K is None or matched.K is None:
        return Verification(matched.id, reason="uncalibrated camera")
    pairs, ratio = match_with_ratio(query.local_descriptors, matched.local_descriptors, settings.match_ratio)
    distinct = int((ratio < _DISTINCT_RATIO).sum())
    if len(pairs) < settings.min_inliers or distinct < _DISTINCT_SHARE * settings.min_inliers:
        return Verification(matched.id, reason=f"{len(pairs)} matches, {distinct} of them distinct")
    matches = matches_of(query, matched, pairs)
    threshold_px = _threshold_px(query, settings)
    inlier = epipolar_inliers(matches, threshold_px)
    if inlier.sum() < settings.min_inliers:
        return Verification(matched.id, inliers=int(inlier.sum()), reason=f"{inlier.sum()} epipolar inliers")
    same_segment = query.segment == matched.segment
    solved = metric_pose(matches.subset(inlier), same_segment, _PNP_SLACK * threshold_px)
    if solved is None:
        return Verification(matched.id, reason="no pose agrees with the landmarks")
    return Hypothesis(query, matched, pairs, matches, inlier, *solved)


def confirm(hypothesis: Hypothesis, settings: VerificationSettings) -> Verification:
    """Refine a hypothesis and put it to every test."""
    query, matched, matches = hypothesis.query, hypothesis.matched, hypothesis.matches
    inlier, T_matched_query, unit = hypothesis.inlier, hypothesis.T_matched_query, hypothesis.unit
    threshold_px = _threshold_px(query, settings)
    for _ in range(2):
        in_unit = unit.applied(matches)
        T_matched_query, covariance = refine(in_unit.subset(inlier), T_matched_query)
        inlier = _inliers(in_unit, T_matched_query, threshold_px)
        if inlier.sum() < settings.min_inliers:
            return Verification(matched.id, inliers=int(inlier.sum()), reason=f"{inlier.sum()} inliers")
        unit = measure_unit(matches.subset(inlier), T_matched_query) or unit
    covariance = covariance + spread_covariance(in_unit.subset(inlier), T_matched_query)
    result = Verification(
        matched.id,
        T_matched_query,
        covariance + _systematic(T_matched_query, matched.median_depth),
        int(inlier.sum()),
        float(inlier.mean()),
        int((inlier & in_unit.has_point).sum()),
        _agreement(in_unit, T_matched_query, threshold_px),
        min(
            _coverage(matches.xy_query[inlier], query.size_wh),
            _coverage(matches.xy_matched[inlier], matched.size_wh),
        ),
        _support(query, matched, T_matched_query, hypothesis.pairs[inlier, 1]),
        unit.log_scale,
        unit.sigma,
    )
    reason = _refusal(result, settings)
    sigma_deg = float(np.rad2deg(np.sqrt(np.trace(covariance[3:, 3:]))))
    if not reason and sigma_deg > settings.max_sigma_deg:
        reason = f"parts of the image disagree by {sigma_deg:.2f} deg about the pose"
    return replace(result, reason=reason)


def _threshold_px(query: Keyframe, settings: VerificationSettings) -> float:
    return settings.epipolar_px * query.size_wh[0] / 640


def _agreement(matches: Matches, T_matched_query: np.ndarray, threshold_px: float) -> float:
    """Share of the matches on their epipolar lines whose 3D points project where they should."""
    on_line = np.abs(epipolar_errors_px(matches, T_matched_query)) <= threshold_px
    tested = on_line & matches.has_point
    if not tested.any():
        return 0.0
    return float((_inliers(matches, T_matched_query, threshold_px) & tested).sum() / tested.sum())


def _inliers(matches: Matches, T_matched_query: np.ndarray, threshold_px: float) -> np.ndarray:
    """(N,) bool: on the epipolar line and, where a point is known, near its projection."""
    on_line = np.abs(epipolar_errors_px(matches, T_matched_query)) <= threshold_px
    reprojection = reprojection_errors_px(matches, T_matched_query)
    far = reprojection > 2.0 * _PNP_SLACK * threshold_px  # False for NaN: no point, no objection
    return on_line & ~far


def _systematic(T_matched_query: np.ndarray, depth: float) -> np.ndarray:
    """(6, 6) errors that all matches share (landmarks of one odometry, calibration, rolling shutter)."""
    distance = float(np.linalg.norm(T_matched_query[:3, 3]))
    sigma_m = np.hypot(_SYSTEMATIC_DEPTHS * depth, _SYSTEMATIC_DISTANCE * distance)
    return np.diag(np.repeat([sigma_m**2, _SYSTEMATIC_RAD**2], 3))


def _refusal(v: Verification, settings: VerificationSettings) -> str:
    """Why a solved pose does not prove the same place; empty when it does."""
    if v.point_inliers < MIN_POINTS:
        return f"{v.point_inliers} inliers with a 3D point"
    if v.point_agreement < _MIN_AGREEMENT:
        return f"only {v.point_agreement:.2f} of the 3D points agree with the epipolar geometry"
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
    assert query.K is not None  # verification takes calibrated keyframes only
    known = np.flatnonzero(matched.has_landmark)
    points = transform(inverse(T_matched_query), matched.landmarks_cam[known].astype(np.float64))
    in_front = points[:, 2] > 1e-6
    xy = (points[in_front] @ query.K.T)[:, :2] / points[in_front, 2:]
    inside = ((xy >= 0) & (xy < np.asarray(query.size_wh))).all(axis=1)
    visible = int(inside.sum())
    return float(np.isin(known[in_front][inside], confirmed).sum() / visible) if visible else 0.0
