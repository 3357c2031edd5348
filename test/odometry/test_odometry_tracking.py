import numpy as np

from vision_nodes.odometry.geometry import bearings, exp_se3, invert, log_se3, project, transform
from vision_nodes.odometry.tracking import Correspondences, ransac_pose, refine_pose, whitened

K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])


def scene(count=150, noise_px=0.0, seed=0):
    rng = np.random.default_rng(seed)
    T_cam_odom = exp_se3(np.array([0.1, -0.2, 0.3, 0.05, -0.1, 0.08]))
    rays = bearings(rng.uniform([0, 0], [640, 480], (count, 2)), K)
    points = transform(invert(T_cam_odom), rays * rng.uniform(2, 8, (count, 1)))
    xy = project(K, transform(T_cam_odom, points)) + rng.normal(0, noise_px, (count, 2)) * (noise_px > 0)
    return T_cam_odom, Correspondences(points, np.zeros_like(points), xy)


def test_pose_is_found_through_a_third_of_outliers():
    truth, seen = scene()
    seen.xy[:50] += np.random.default_rng(3).uniform(20, 80, (50, 2))
    pose = refine_pose(exp_se3(np.full(6, 0.02)) @ truth, seen, K, 0.7)
    assert np.abs(log_se3(pose.T_cam_odom @ invert(truth))).max() < 2e-3
    assert not pose.inliers[:50].any() and pose.inliers[50:].mean() > 0.98


def test_covariance_matches_the_scatter_of_repeated_estimates():
    errors, covariance = [], np.zeros((6, 6))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth, seen = scene()
        noisy = Correspondences(seen.points, seen.rays, seen.xy + rng.normal(0, 0.7, seen.xy.shape))
        pose = refine_pose(truth, noisy, K, 0.7)
        errors.append(log_se3(pose.T_cam_odom @ invert(truth)))
        covariance += pose.covariance / 60
    anees = np.mean([e @ np.linalg.solve(covariance, e) for e in errors]) / 6
    assert 0.6 < anees < 1.4


def test_rotation_needs_no_depth():
    """Points at three times their true depth fix a pure rotation all the same."""
    _, seen = scene()
    first = np.eye(4)
    rays = bearings(project(K, seen.points), K)
    turned = exp_se3(np.array([0, 0, 0, 0.03, -0.08, 0.02]))
    xy = project(K, transform(turned, rays))
    assumed = rays * 3.0
    unknown = Correspondences(assumed, 0.7 * assumed, xy)
    pose = refine_pose(first, unknown, K, 0.7)
    assert np.abs(log_se3(pose.T_cam_odom @ invert(turned))[3:]).max() < 1e-4


def test_weights_are_the_inverse_of_pixel_and_depth_noise():
    _, seen = scene(20)
    rays = 0.3 * seen.points
    T = exp_se3(np.array([0.3, 0.1, 0, 0, 0, 0]))
    moved = Correspondences(seen.points, rays, seen.xy + 1.0)
    residuals, J, chi2 = whitened(T, moved, K, 0.7)
    step = 1e-6
    v = (project(K, transform(T, seen.points + step * rays)) - project(K, transform(T, seen.points))) / step
    covariance = 0.49 * np.eye(2) + v[:, :, None] * v[:, None, :]
    weights = np.linalg.inv(covariance)
    plain = project(K, transform(T, seen.points)) - moved.xy
    assert np.allclose(chi2, np.einsum("ni,nij,nj->n", plain, weights, plain), rtol=1e-3)
    assert np.allclose((residuals**2).sum(1), chi2)
    exact, _, _ = whitened(T, Correspondences(seen.points, 0 * rays, moved.xy), K, 0.7)
    _, J_plain, _ = whitened(T, Correspondences(seen.points, 0 * rays, moved.xy), K, 1.0)
    assert np.allclose(exact, plain / 0.7)
    information = np.swapaxes(J_plain, 1, 2) @ weights @ J_plain
    assert np.allclose(
        np.swapaxes(J, 1, 2) @ J, information, rtol=1e-3, atol=1e-3 * np.abs(information).max()
    )


def test_points_behind_the_camera_are_outliers():
    truth, seen = scene(40)
    seen.points[:5] = transform(invert(truth), np.array([[0, 0, -3.0]]))
    pose = refine_pose(truth, seen, K, 0.7)
    assert not pose.inliers[:5].any() and pose.inliers[5:].all()


def test_ransac_without_prediction():
    truth, seen = scene()
    seen.xy[:60] = np.random.default_rng(5).uniform([0, 0], [640, 480], (60, 2))
    T_cam_odom, inliers = ransac_pose(seen.points, seen.xy, K)
    assert np.abs(log_se3(T_cam_odom @ invert(truth))).max() < 1e-3 and inliers[60:].all()
    assert ransac_pose(seen.points[:3], seen.xy[:3], K)[0] is None
    again, _ = ransac_pose(seen.points, seen.xy, K)
    assert again.tobytes() == T_cam_odom.tobytes()
