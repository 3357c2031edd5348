from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from vision_nodes.odometry.bundle_adjustment import HUBER_SIGMA, BundleProblem, solve_bundle
from vision_nodes.odometry.geometry import exp_se3, invert, log_se3, project, transform

K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])


def problem(noise_px=0.5, disturbed=0.02, outliers=0, cameras=4, points=25):
    rng = np.random.default_rng(2)
    T = np.stack(
        [exp_se3(np.array([-0.3 * c, 0.05 * c, 0.1 * c, 0.01 * c, 0.02 * c, 0])) for c in range(cameras)]
    )
    X = rng.uniform([-1.5, -1, 3], [1.5, 1, 6], (points, 3))
    camera, landmark = (a.ravel() for a in np.meshgrid(np.arange(cameras), np.arange(points), indexing="ij"))
    xy = np.concatenate([project(K, transform(t, X)) for t in T]) + rng.normal(0, noise_px, (len(camera), 2))
    xy[rng.choice(len(xy), outliers, replace=False)] += 40
    start = T.copy()
    start[2:] = exp_se3(rng.normal(0, disturbed, (cameras - 2, 6))) @ T[2:]
    return T, X, BundleProblem(K, start, 2, X + rng.normal(0, disturbed, X.shape), camera, landmark, xy, 0.5)


def residual_vector(p, x):
    free = len(p.T_cam_odom) - p.fixed
    T = p.T_cam_odom.copy()
    T[p.fixed :] = exp_se3(x[: 6 * free].reshape(-1, 6)) @ T[p.fixed :]
    X = x[6 * free :].reshape(-1, 3)
    seen = np.einsum("mij,mj->mi", T[p.cameras, :3, :3], X[p.landmarks]) + T[p.cameras, :3, 3]
    return (project(K, seen) - p.xy) / p.sigma_px


def test_agrees_with_scipy_on_a_robust_problem():
    _, _, p = problem(outliers=4, points=14)

    def root_of_huber(x):
        norm = np.linalg.norm(residual_vector(p, x), axis=1)
        outside = np.sqrt(np.maximum(2 * HUBER_SIGMA * norm - HUBER_SIGMA**2, 0))
        return np.where(norm < HUBER_SIGMA, norm, outside)

    ours = solve_bundle(p, iterations=200, tolerance=1e-12)
    at_ours = replace(p, T_cam_odom=ours.T_cam_odom, points=ours.points)
    start = np.concatenate([np.zeros(12), p.points.ravel()])
    oracle = least_squares(root_of_huber, start, xtol=1e-12, ftol=1e-12, max_nfev=60)
    p = at_ours
    start = np.concatenate([np.zeros(12), ours.points.ravel()])
    cost = (root_of_huber(start) ** 2).sum()
    assert cost <= 2 * oracle.cost * 1.0001
    from_ours = least_squares(root_of_huber, start, xtol=1e-12, ftol=1e-12, max_nfev=60)
    assert 2 * from_ours.cost > cost * (1 - 1e-4) and np.abs(from_ours.x[:12]).max() < 5e-3


def test_exact_measurements_give_the_truth_back_and_fixed_cameras_stay():
    T, X, p = problem(noise_px=0.0)
    solution = solve_bundle(p, iterations=40)
    assert np.abs(solution.T_cam_odom - T).max() < 1e-4 and np.abs(solution.points - X).max() < 1e-3
    assert solution.T_cam_odom[:2].tobytes() == p.T_cam_odom[:2].tobytes()


def test_covariance_of_the_last_camera_is_that_of_the_whole_problem():
    _, X, p = problem(noise_px=0.0, disturbed=0.0)
    solution = solve_bundle(p)
    x, step = np.concatenate([np.zeros(12), X.ravel()]), 1e-6
    columns = [
        (residual_vector(p, x + d) - residual_vector(p, x - d)).ravel() / (2 * step)
        for d in step * np.eye(len(x))
    ]
    J = np.stack(columns, axis=1)
    dense = np.linalg.inv(J.T @ J)[6:12, 6:12]
    assert np.allclose(solution.covariance, dense, rtol=0.02, atol=1e-9)


def test_gtsam_finds_no_better_answer():
    gtsam = pytest.importorskip("gtsam")
    _, _, p = problem()
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    noise = gtsam.noiseModel.Isotropic.Sigma(2, p.sigma_px)
    calibration = gtsam.Cal3_S2(300, 300, 0, 160, 120)
    for c, T_cam_odom in enumerate(p.T_cam_odom):
        pose = gtsam.Pose3(invert(T_cam_odom))
        values.insert(gtsam.symbol("c", c), pose)
        if c < p.fixed:
            graph.add(gtsam.NonlinearEqualityPose3(gtsam.symbol("c", c), pose))
    for j, point in enumerate(p.points):
        values.insert(gtsam.symbol("p", j), point)
    for c, j, xy in zip(p.cameras, p.landmarks, p.xy):
        key = gtsam.symbol("c", int(c)), gtsam.symbol("p", int(j))
        graph.add(gtsam.GenericProjectionFactorCal3_S2(xy, noise, *key, calibration))
    result = gtsam.LevenbergMarquardtOptimizer(graph, values).optimize()
    ours = solve_bundle(p, iterations=40)
    robust_excess = ours.chi2[ours.chi2 > HUBER_SIGMA**2].sum()
    assert ours.chi2.sum() <= 2 * graph.error(result) + 0.05 * robust_excess + 1.0
    last = invert(result.atPose3(gtsam.symbol("c", 3)).matrix())
    assert np.abs(log_se3(last @ invert(ours.T_cam_odom[3]))).max() < 5e-3


def test_a_point_without_observation_is_refused():
    _, _, p = problem()
    lonely = replace(p, points=np.vstack([p.points, [0, 0, 5]]))
    with pytest.raises(np.linalg.LinAlgError):
        solve_bundle(lonely)


def test_measured_depth_brings_the_scale_back():
    """A window whose free part has the wrong scale: only depth can tell, one bad pixel in ten does no harm."""
    rng = np.random.default_rng(4)
    K = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
    points = np.stack([rng.uniform(-2, 2, 60), rng.uniform(-1.5, 1.5, 60), rng.uniform(4, 8, 60)], axis=1)
    T = np.stack([exp_se3(np.array([-0.3 * i, 0.02 * i, 0.05 * i, 0.01 * i, 0, 0])) for i in range(4)])
    cameras, landmarks = np.repeat(np.arange(4), 60), np.tile(np.arange(60), 4)
    seen = np.einsum("mij,mj->mi", T[cameras, :3, :3], points[landmarks]) + T[cameras, :3, 3]
    depth = seen[:, 2] * (1 + rng.normal(0, 0.01, len(seen)))
    depth[::10] *= 2
    depth[5::10] = np.nan
    wrong, wrong_points = T.copy(), points * 1.15
    wrong[:, :3, 3] *= 1.15
    problem = BundleProblem(K, wrong, 1, wrong_points, cameras, landmarks, project(K, seen), 0.7, depth)
    solution = solve_bundle(problem, iterations=30, tolerance=1e-9)
    assert np.allclose(solution.T_cam_odom[:, :3, 3], T[:, :3, 3], atol=0.02)
    blind = solve_bundle(replace(problem, depth=None), iterations=30, tolerance=1e-9)
    assert np.linalg.norm(blind.T_cam_odom[-1, :3, 3]) > 1.1 * np.linalg.norm(T[-1, :3, 3])
