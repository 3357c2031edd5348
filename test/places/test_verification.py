"""Geometric verification and its refinement on scenes whose truth is exact."""

from __future__ import annotations

import numpy as np
import pytest
from place_scenes import K, PointCloud, empty_keyframe, pose

from vision_nodes.places.pose_refinement import Matches, _whitened, refine
from vision_nodes.places.rigid import angle_between, difference, inverse, retract, transform
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.places.verification import verify

SETTINGS = PlaceSettings()


def exact_matches(T_matched_query: np.ndarray, count: int, noise_px: float, seed: int) -> Matches:
    rng = np.random.default_rng(seed)
    z = rng.uniform(2, 6, count)
    points_m = np.column_stack([rng.uniform(-0.5, 0.5, count) * z, rng.uniform(-0.4, 0.4, count) * z, z])
    points_q = transform(inverse(T_matched_query), points_m)
    xy_m, xy_q = ((p @ K.T)[:, :2] / p[:, 2:] for p in (points_m, points_q))
    noise = rng.normal(0, noise_px, (2, count, 2))
    points_q[::2] = np.nan  # half the matches know a point on one side only
    return Matches(xy_q + noise[0], points_q, K, xy_m + noise[1], points_m, K)


def test_nothing_to_see_is_no_match() -> None:
    seen = PointCloud(0).view(pose())
    for query, matched in (
        (empty_keyframe(), seen),
        (seen, empty_keyframe()),
        (empty_keyframe(), empty_keyframe()),
    ):
        result = verify(query, matched, SETTINGS)
        assert not result.accepted and result.reason and result.T_matched_query is None


def test_uncalibrated_is_never_verified() -> None:
    query, matched = PointCloud(0).view(pose()), PointCloud(0).view(pose(x=0.2))
    query.K = None
    assert verify(query, matched, SETTINGS).reason == "uncalibrated camera"


@pytest.mark.parametrize("seed", range(4))
def test_known_pose_is_recovered(seed: int) -> None:
    cloud = PointCloud(seed)
    T_world_matched, T_world_query = pose(), pose(0.4, -0.1, 0.3, yaw=8, pitch=-3, roll=5)
    query = cloud.view(T_world_query, 9, noise_px=0.3, segment=1, landmarks=False)
    matched = cloud.view(T_world_matched, 2, noise_px=0.3)
    result = verify(query, matched, SETTINGS)
    expected = inverse(T_world_matched) @ T_world_query
    assert result.accepted, result.reason
    assert np.linalg.norm(result.T_matched_query[:3, 3] - expected[:3, 3]) < 0.01
    assert np.rad2deg(angle_between(result.T_matched_query, expected)) < 0.2
    assert result.support > 0.7 and result.coverage > 0.6 and result.inliers > 90


def test_landmarks_of_another_odometry_stretch_do_not_set_the_length() -> None:
    """The query's own points are twice too far: with the matched keyframe's unit the pose stays right."""
    cloud = PointCloud(5)
    T_query = pose(0.5, yaw=5)
    query, matched = cloud.view(T_query, 9, segment=1), cloud.view(pose(), 2)
    query.landmarks_cam *= 2.0
    result = verify(query, matched, SETTINGS)
    assert result.accepted
    np.testing.assert_allclose(result.T_matched_query[:3, 3], T_query[:3, 3], atol=0.01)


def test_same_viewpoint_and_pure_rotation_are_matched() -> None:
    cloud = PointCloud(6)
    matched = cloud.view(pose(), 2, noise_px=0.3)
    for T in (pose(), pose(yaw=12)):
        result = verify(cloud.view(T, 9, noise_px=0.3), matched, SETTINGS)
        assert result.accepted, result.reason
        assert np.abs(difference(T, result.T_matched_query)).max() < 0.02


def test_another_place_is_refused() -> None:
    assert not verify(PointCloud(1).view(pose(), 9), PointCloud(2).view(pose(), 2), SETTINGS).accepted


def test_the_same_poster_in_another_room_is_refused() -> None:
    """80 shared points in a corner, perfect geometry, everything else different: an alias, not the place."""
    room_a, room_b = PointCloud(1), PointCloud(2)
    poster = room_a.points[:80] * 0.0
    rng = np.random.default_rng(0)
    poster[:] = np.column_stack([rng.uniform(-1.2, -0.7, 80), rng.uniform(-0.9, -0.5, 80), np.full(80, 3.0)])
    for room in (room_a, room_b):
        room.points[:80] = poster
        room.descriptors[:80] = room_a.descriptors[:80]
    result = verify(room_b.view(pose(0.2, yaw=2), 9), room_a.view(pose(), 2), SETTINGS)
    assert result.inliers >= SETTINGS.min_inliers  # the geometry alone would have agreed
    assert not result.accepted and "cover" in result.reason


def test_derivatives_agree_with_finite_differences() -> None:
    T = pose(0.3, -0.2, 0.1, yaw=10, pitch=4, roll=-7)
    matches = exact_matches(T, 40, 1.0, 0)
    _, J, group = _whitened(matches, T, None)
    numeric = np.zeros_like(J)
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-6
        plus, minus = (_whitened(matches, retract(T, s), None)[0] for s in (step, -step))
        numeric[:, k] = (plus - minus) / 2e-6
    assert np.abs(numeric - J)[group == 1].max() < 1e-3 * np.abs(J).max()
    # Sampson's denominator is held, which is exact where the residual is zero and close elsewhere.
    assert np.abs(numeric - J)[group == 0].max() < 0.02 * np.abs(J[group == 0]).max()


def test_covariance_is_that_of_the_errors() -> None:
    """Over 30 noisy draws the squared Mahalanobis error averages near 6."""
    T = pose(0.4, -0.1, 0.2, yaw=6, pitch=-3)
    nees = []
    for seed in range(30):
        found, covariance = refine(exact_matches(T, 80, 0.7, seed), retract(T, np.full(6, 0.01)))
        error = difference(found, T)
        nees.append(error @ np.linalg.solve(covariance, error))
        assert np.linalg.eigvalsh(covariance)[0] > 0
    assert 0.4 < np.mean(nees) / 6 < 2.0
