import numpy as np
import pytest
from textured_scene import CAMERA, K, draw, room, sideways

from vision_nodes.odometry.bundle_adjustment import solve_bundle
from vision_nodes.odometry.drift import frame_covariance, keyframe_covariance, propagate
from vision_nodes.odometry.geometry import bearings, exp_so3, invert, make_pose, project, transform
from vision_nodes.odometry.local_map import Keyframe, LocalMap
from vision_nodes.odometry.patches import PatchQuery, cut_patches, match_patches, patch_affine
from vision_nodes.odometry.settings import OdometrySettings

BLANK = np.zeros((240, 320), np.uint8)


def filled(count=6, landmarks=80, noise=0.0, settings=None):
    """A map of exact views, positions disturbed by `noise`."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-2, -1.5, 4], [3, 1.5, 9], (landmarks, 3))
    local_map = LocalMap(settings or OdometrySettings())
    for index, T in enumerate(sideways(count, 0.3)):
        xy = project(K, transform(invert(T), points)).astype(np.float32)
        local_map.add_keyframe(index * 10**9, T, np.arange(landmarks) * 2, xy, BLANK)
    local_map.add_landmarks(np.arange(landmarks) * 2, points + rng.normal(0, noise, points.shape))
    return local_map, points


def test_an_empty_map_knows_nothing():
    local_map = LocalMap(OdometrySettings())
    assert (local_map.rows(np.array([3, 4])) == -1).all()
    local_map.clear()
    assert len(local_map.points) == 0


def test_rows_find_landmarks_added_in_any_order():
    local_map = LocalMap(OdometrySettings())
    local_map.add_landmarks(np.array([9, 2]), np.array([[9.0, 0, 0], [2, 0, 0]]))
    local_map.add_landmarks(np.array([5]), np.array([[5.0, 0, 0]]))
    rows = local_map.rows(np.array([5, 9, 4, 2, 11]))
    assert local_map.points[rows[[0, 1, 3]], 0].tolist() == [5, 9, 2] and (rows[[2, 4]] == -1).all()


def test_window_solution_repairs_the_map():
    local_map, points = filled(noise=0.05)
    window = local_map.window(K)
    local_map.apply(window, solve_bundle(window.problem, 30))
    scale = np.linalg.norm(local_map.points[0] - local_map.points[1]) / np.linalg.norm(points[0] - points[1])
    assert np.abs(local_map.points / scale - points).max() < 0.1
    assert np.median(np.abs(local_map.points - points * scale)) < 0.02


def test_a_solution_from_before_a_rescaling_still_fits():
    direct, _ = filled(noise=0.05)
    late, _ = filled(noise=0.05)
    window = direct.window(K)
    solution = solve_bundle(window.problem)
    direct.apply(window, solution)
    centre = np.array([1.0, 2.0, 0.5])
    direct.rescale(3.0, centre)
    window = late.window(K)
    late.rescale(3.0, centre)
    late.apply(window, solution)
    assert np.allclose(late.points, direct.points)
    assert np.allclose(late.last.T_odom_cam, direct.last.T_odom_cam)
    late.clear()
    assert late.apply(window, solution) is None


def test_outliers_lose_their_observation_and_lonely_landmarks_their_place():
    local_map, _ = filled()
    local_map.keyframes[3].xy[10] += 60
    window = local_map.window(K)
    local_map.apply(window, solve_bundle(window.problem, 20))
    assert 20 not in local_map.keyframes[3].ids and 20 in local_map.ids
    for keyframe in list(local_map.keyframes.values())[1:]:
        keyframe.forget(keyframe.ids != 40)
    local_map.remove_unsupported()
    assert 40 not in local_map.ids


def test_culling_bounds_the_number_of_keyframes():
    local_map, _ = filled(count=30, settings=OdometrySettings(max_keyframes=12))
    local_map.cull()
    assert len(local_map.keyframes) == 12 and local_map.last.id == 29


def test_covariance_grows_along_the_way_and_shrinks_at_a_revisit():
    local_map = LocalMap(OdometrySettings())
    noise = 1e-6 * np.eye(6)
    for step in range(10):
        ids = np.arange(step * 20, step * 20 + 40)
        keyframe = local_map.add_keyframe(
            step, make_pose(np.eye(3), [step, 0, 0]), ids, np.zeros((40, 2), np.float32), BLANK
        )
        fresh = ids[local_map.rows(ids) < 0]
        local_map.add_landmarks(fresh, np.zeros((len(fresh), 3)))
        keyframe.covariance = keyframe_covariance(local_map, keyframe, noise, 5.0)
    traces = [np.trace(k.covariance[:3, :3]) for k in local_map.keyframes.values()]
    assert traces[0] == 0 and (np.diff(traces) > 0).all()
    back = local_map.add_keyframe(
        99, make_pose(np.eye(3), [0.2, 0, 0]), np.arange(40), np.zeros((40, 2), np.float32), BLANK
    )
    back.covariance = keyframe_covariance(local_map, back, noise, 5.0)
    assert np.trace(back.covariance[:3, :3]) < traces[2]


def test_propagation_is_the_derivative_of_the_motion():
    """Errors of rotation and scale move a point `displacement` away as the matrix says."""
    displacement, error = np.array([2.0, -1.0, 0.5]), 1e-6 * np.array([1, 2, 3, 4, -5, 6, 7.0])
    moved = error[:3] + (1 + error[6]) * exp_so3(error[3:6]) @ displacement - displacement
    spread = propagate(np.outer(error, error), displacement)
    assert np.allclose(spread[:3, :3], np.outer(moved, moved), rtol=2e-3, atol=1e-18)


def test_frame_covariance_is_symmetric_and_knows_the_scale():
    keyframe = Keyframe(0, 0, np.eye(4), np.zeros(0), np.zeros((0, 2)), BLANK)
    far = make_pose(exp_so3([0.1, 0.2, 0]), [10, 0, 0])
    known = frame_covariance(keyframe, far, 1e-6 * np.eye(6), 0.1)
    assert np.array_equal(known, known.T) and (np.linalg.eigvalsh(known) > 0).all()
    assert known[0, 0] == pytest.approx(1.0, rel=0.01) and known[1, 1] < 1e-3


def test_patches_are_found_under_rotation_and_zoom():
    panels = room()
    T_ref = np.eye(4)
    T_cam = make_pose(exp_so3([0.02, 0.03, 0.25]), [0.1, 0.0, 1.2])
    reference, depth = draw(panels, T_ref)
    image, _ = draw(panels, T_cam)
    x, y = np.meshgrid(np.arange(90, 240, 12), np.arange(70, 170, 12))
    xy = np.stack([x.ravel(), y.ravel()], 1).astype(np.float64)
    z = depth[xy[:, 1].astype(int), xy[:, 0].astype(int)].astype(np.float64)
    T_cam_ref = invert(T_cam) @ T_ref
    truth = project(K, transform(T_cam_ref, bearings(xy, K) * z[:, None]))
    patches, centres = cut_patches(reference, xy)
    affine = patch_affine(np.tile(T_cam_ref, (len(xy), 1, 1)), xy, z, K)
    guess = truth + np.random.default_rng(0).uniform(-4, 4, truth.shape)
    found, correlation = match_patches(image, PatchQuery(patches, centres, affine, guess))
    error = np.linalg.norm(found - truth, axis=1)
    assert (correlation > 0.8).mean() > 0.6
    assert np.percentile(error[correlation > 0.8], 80) < 0.5
    empty = PatchQuery(patches[:0], centres[:0], affine[:0], guess[:0])
    assert match_patches(image, empty)[0].shape == (0, 2)
    assert CAMERA.size_wh == image.shape[::-1]
