import numpy as np
import pytest

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap
from vision_nodes.odometry.geometry import exp_so3, make_pose
from vision_nodes.odometry.local_map import Keyframe
from vision_nodes.odometry.scale import ScaleFilter, ScaleMeasurement, measure_from_depth
from vision_nodes.odometry.scale_sources import WheelOdometry, measure_from_height

CAMERA = CameraModel((80, 60), np.array([[60.0, 0, 39.5], [0, 60, 29.5], [0, 0, 1]]))
RNG = np.random.default_rng(0)
POINTS = RNG.uniform([-1, -0.8, 2], [1, 0.8, 5], (200, 3))


def depth_of(points, factor):
    depth = np.full((60, 80), np.nan, np.float32)
    xy = np.round(points[:, :2] / points[:, 2:] * 60 + [39.5, 29.5]).astype(int)
    inside = (xy >= 0).all(1) & (xy < [80, 60]).all(1)
    depth[xy[inside, 1], xy[inside, 0]] = factor * points[inside, 2]
    return depth


@pytest.mark.parametrize("factor", [0.2, 1.0, 12.5])
def test_ratio_is_found_although_a_quarter_of_the_depth_is_wrong(factor):
    depth = depth_of(POINTS, factor)
    depth[:15] *= 3
    measured = measure_from_depth(POINTS, DepthMap(depth, True), CAMERA, sensor=False)
    assert abs(measured.log_ratio - np.log(factor)) < 0.15
    clean = measure_from_depth(POINTS, DepthMap(depth_of(POINTS, factor), True), CAMERA, sensor=True)
    assert abs(clean.log_ratio - np.log(factor)) < 0.05 and clean.sigma < measured.sigma


def test_nothing_usable_measures_nothing():
    depth = DepthMap(depth_of(POINTS, 2.0), True)
    assert measure_from_depth(np.zeros((0, 3)), depth, CAMERA, True) is None
    assert measure_from_depth(POINTS * [1, 1, -1], depth, CAMERA, True) is None
    assert measure_from_depth(POINTS, DepthMap(depth.depth_m, False), CAMERA, True) is None
    assert (
        measure_from_depth(POINTS, DepthMap(np.full((60, 80), np.nan, np.float32), True), CAMERA, True)
        is None
    )


def test_filter_converges_and_its_sigma_is_honest():
    errors, sigmas = [], []
    for seed in range(200):
        rng, scale, kalman = np.random.default_rng(seed), 1.0, ScaleFilter()
        for _ in range(12):
            measured = ScaleMeasurement(float(np.log(3.0 / scale) + rng.normal(0, 0.1)), 0.1, 0.0)
            scale *= kalman.update(measured)
        errors.append(np.log(scale / 3.0))
        sigmas.append(kalman.sigma)
    assert 0.7 < np.std(errors) / np.mean(sigmas) < 1.3
    assert np.isnan(ScaleFilter().sigma)


def test_a_wild_measurement_is_refused_a_lasting_change_is_not():
    kalman = ScaleFilter()
    for _ in range(10):
        kalman.update(ScaleMeasurement(0.0, 0.05, 0.0))
    assert kalman.update(ScaleMeasurement(1.5, 0.05, 0.0)) == 1.0
    scale = 1.0
    for _ in range(30):
        scale *= kalman.update(ScaleMeasurement(float(1.0 - np.log(scale)), 0.05, 0.0))
    assert abs(np.log(scale) - 1.0) < 0.05


def keyframes(positions):
    none = np.zeros(0, np.int64)
    return [
        Keyframe(i, i * 10**9, make_pose(np.eye(3), p), none, np.zeros((0, 2)), np.zeros((2, 2), np.uint8))
        for i, p in enumerate(positions)
    ]


def test_wheels_give_the_ratio_of_ways():
    wheels = WheelOdometry()
    views = keyframes([[0.1 * i, 0, 0] for i in range(5)])
    assert wheels.measure(views) is None
    for i in range(41):
        wheels.add(i * 10**8, make_pose(np.eye(3), [0.05 * i, 0, 0]))
    assert wheels.measure(views).log_ratio == pytest.approx(np.log(5), abs=1e-9)
    assert wheels.measure(keyframes([[0, 0, 0]] * 5)) is None
    turning = WheelOdometry()
    for i in range(41):
        turning.add(i * 10**8, make_pose(exp_so3([0, 0, 0.1 * i]), [0.05 * i, 0, 0]))
    assert turning.measure(views) is None


def test_ground_below_the_camera_gives_the_height():
    rng = np.random.default_rng(2)
    ground = np.stack([rng.uniform(1, 8, 80), rng.uniform(-3, 3, 80), np.full(80, -0.3)], 1)
    ground[:, 2] += 0.03 * ground[:, 0] * 0.3 + rng.normal(0, 0.002, 80)
    wall = np.stack([np.full(100, 8.0), rng.uniform(-3, 3, 100), rng.uniform(-0.3, 2, 100)], 1)
    measured = measure_from_height(np.concatenate([ground, wall]), np.zeros(3), 1.2)
    assert abs(measured.log_ratio - np.log(1.2 / 0.3)) < 0.05
    assert measure_from_height(wall[:, [0, 1, 2]] + [0, 0, 3], np.zeros(3), 1.2) is None
    assert measure_from_height(np.zeros((0, 3)), np.zeros(3), 1.2) is None
