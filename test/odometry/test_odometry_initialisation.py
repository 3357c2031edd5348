import numpy as np
import pytest

from vision_nodes.odometry.geometry import bearings, exp_so3, log_so3, make_pose, project, transform
from vision_nodes.odometry.initialisation import initialise, pure_rotation
from vision_nodes.odometry.settings import OdometrySettings

K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
SETTINGS = OdometrySettings()
R = exp_so3([0.02, -0.05, 0.01])


def views(depth, t, noise_px=0.3, count=200):
    rng = np.random.default_rng(4)
    rays = bearings(rng.uniform([20, 20], [620, 460], (count, 2)), K)
    points = rays * depth(rays, rng)[:, None]
    T_b_a = make_pose(R, np.array(t, float))
    xy_a, xy_b = project(K, points), project(K, transform(T_b_a, points))
    return xy_a, xy_b + rng.normal(0, noise_px, xy_b.shape), T_b_a, points


def any_depth(rays, rng):
    return rng.uniform(2, 8, len(rays))


def one_plane(rays, rng):
    return 4 / (1 + 0.5 * rays[:, 0] - 0.3 * rays[:, 1])


@pytest.mark.parametrize("depth", [any_depth, one_plane])
def test_motion_and_points_up_to_scale(depth):
    xy_a, xy_b, T_b_a, points = views(depth, [0.5, 0.1, 0.1])
    xy_b[:30] += 37.0
    view, reason = initialise(xy_a, xy_b, K, SETTINGS)
    assert view is not None, reason
    direction = T_b_a[:3, 3] / np.linalg.norm(T_b_a[:3, 3])
    assert view.T_b_a[:3, 3] @ direction > np.cos(np.radians(4))
    assert np.linalg.norm(log_so3(view.T_b_a[:3, :3] @ R.T)) < np.radians(1)
    assert not view.good[:30].any() and view.good[30:].mean() > 0.9
    scale = np.linalg.norm(T_b_a[:3, 3])
    error = np.abs(view.points_a[view.good] * scale - points[view.good]).max(1) / points[view.good, 2]
    assert np.median(error) < 0.08


@pytest.mark.parametrize(
    ("t", "noise", "words"),
    [((0, 0, 0), 0.3, "parallax"), ((0.004, 0, 0), 0.3, "parallax")],
)
def test_rotation_alone_makes_no_map(t, noise, words):
    xy_a, xy_b, _, _ = views(any_depth, t, noise)
    view, reason = initialise(xy_a, xy_b, K, SETTINGS)
    assert view is None and words in reason


def test_a_still_camera_makes_no_map():
    xy_a, _, _, _ = views(any_depth, (0, 0, 0))
    noisy = xy_a + np.random.default_rng(0).normal(0, 0.3, xy_a.shape)
    assert initialise(xy_a, noisy, K, SETTINGS) == (None, "camera does not move")
    assert initialise(xy_a[:0], xy_a[:0], K, SETTINGS)[0] is None


def test_random_tracks_make_no_map():
    rng = np.random.default_rng(1)
    a, b = rng.uniform([0, 0], [640, 480], (2, 150, 2))
    assert initialise(a, b, K, SETTINGS)[0] is None


def test_rotation_is_found_among_moving_things():
    xy_a, xy_b, _, _ = views(any_depth, (0, 0, 0), 0.2)
    xy_b[:60] += 25
    found, left = pure_rotation(xy_a, xy_b, K)
    assert np.linalg.norm(log_so3(found @ R.T)) < np.radians(0.2) and np.median(left[60:]) < 0.6
