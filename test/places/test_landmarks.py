"""Triangulated landmarks against the points they are views of."""

from __future__ import annotations

import numpy as np
from place_scenes import PointCloud, empty_keyframe, pose

from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.landmarks import LandmarkBuilder
from vision_nodes.places.rigid import inverse, transform


def unknown_depth(keyframe: Keyframe) -> tuple[np.ndarray, bool]:
    return np.full(len(keyframe.keypoints_xy), np.nan, np.float32), False


def true_points(cloud: PointCloud, keyframe: Keyframe) -> np.ndarray:
    """(N, 3) exact points of a keyframe's features in its camera frame, found by descriptor."""
    row = {bytes(d): i for i, d in enumerate(cloud.descriptors)}
    index = [row[bytes(d)] for d in keyframe.local_descriptors]
    return transform(inverse(keyframe.T_odom_cam), cloud.points[index])


def test_empty_and_single_keyframes_have_no_landmarks() -> None:
    builder = LandmarkBuilder()
    for keyframe in (empty_keyframe(0), empty_keyframe(1)):
        builder.add(keyframe, *unknown_depth(keyframe))
        assert np.isnan(keyframe.median_depth)
    one = PointCloud(0).view(pose(), 2, landmarks=False)
    builder.add(one, *unknown_depth(one))
    assert not one.has_landmark.any()


def test_moving_sideways_gives_exact_points_to_both_keyframes() -> None:
    cloud, builder = PointCloud(0), LandmarkBuilder()
    keyframes = [cloud.view(pose(x=0.15 * k, yaw=k), k, landmarks=False) for k in range(4)]
    for keyframe in keyframes:
        builder.add(keyframe, *unknown_depth(keyframe))
    for keyframe in keyframes:
        known = keyframe.has_landmark
        assert known.mean() > 0.7
        error = np.linalg.norm(keyframe.landmarks_cam - true_points(cloud, keyframe), axis=1)[known]
        assert error.max() < 0.02


def test_noise_and_wrong_matches_leave_few_bad_points() -> None:
    cloud, builder = PointCloud(1), LandmarkBuilder()
    keyframes = [cloud.view(pose(x=0.2 * k), k, noise_px=0.5, landmarks=False) for k in range(4)]
    rng = np.random.default_rng(0)
    for keyframe in keyframes:  # a tenth of the features sit somewhere else
        wrong = rng.choice(len(keyframe.keypoints_xy), len(keyframe.keypoints_xy) // 10, replace=False)
        keyframe.keypoints_xy[wrong] = rng.uniform(0, 480, (len(wrong), 2))
        builder.add(keyframe, *unknown_depth(keyframe))
    last = keyframes[-1]
    known = last.has_landmark
    relative = np.abs(last.landmarks_cam[known, 2] / true_points(cloud, last)[known, 2] - 1)
    assert known.mean() > 0.5 and np.median(relative) < 0.02 and np.mean(relative > 0.2) < 0.03


def test_turning_on_the_spot_gives_no_points() -> None:
    cloud, builder = PointCloud(2), LandmarkBuilder()
    for k in range(3):
        keyframe = cloud.view(pose(yaw=4.0 * k), k, noise_px=0.3, landmarks=False)
        builder.add(keyframe, *unknown_depth(keyframe))
        assert keyframe.has_landmark.mean() < 0.02


def test_depth_fills_what_cannot_be_triangulated_in_the_odometrys_unit() -> None:
    """Odometry's unit is 5 times smaller than a metre's: the depth map is scaled to it by common points."""
    cloud, builder = PointCloud(3), LandmarkBuilder()
    for k in range(3):
        keyframe = cloud.view(pose(x=0.2 * k), k, landmarks=False)
        metres = (true_points(cloud, keyframe)[:, 2] / 5.0).astype(np.float32)
        builder.add(keyframe, metres, metric=True)
    assert keyframe.has_landmark.all()
    np.testing.assert_allclose(keyframe.landmarks_cam, true_points(cloud, keyframe), rtol=0.02, atol=0.02)


def test_depth_of_unknown_unit_is_not_used_without_odometry() -> None:
    keyframe = PointCloud(4).view(pose(), 0, landmarks=False)
    keyframe.T_odom_cam = None
    depth = np.full(len(keyframe.keypoints_xy), 2.0, np.float32)
    LandmarkBuilder().add(keyframe, depth, metric=False)
    assert not keyframe.has_landmark.any()
    LandmarkBuilder().add(keyframe, depth, metric=True)
    assert keyframe.has_landmark.all() and np.allclose(keyframe.landmarks_cam[:, 2], 2.0)


def test_another_segment_starts_afresh() -> None:
    cloud, builder = PointCloud(5), LandmarkBuilder()
    first = cloud.view(pose(), 0, landmarks=False)
    builder.add(first, *unknown_depth(first))
    builder.reset()
    second = cloud.view(pose(x=0.3), 1, landmarks=False)
    builder.add(second, *unknown_depth(second))
    assert not second.has_landmark.any()
