import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_nodes.odometry.geometry import (
    bearings,
    exp_se3,
    exp_so3,
    invert,
    log_so3,
    make_pose,
    orthonormalise,
    project,
    projection_jacobians,
    transform,
    triangulate,
)

K = np.array([[500.0, 0, 320], [0, 480, 240], [0, 0, 1]])
angles = st.lists(st.floats(-1.7, 1.7), min_size=3, max_size=3).map(np.array)


@given(angles)
def test_rotation_vector_round_trip(rotation):
    R = exp_so3(rotation)
    assert np.allclose(R @ R.T, np.eye(3), atol=1e-12) and np.isclose(np.linalg.det(R), 1)
    assert np.allclose(exp_so3(log_so3(R)), R, atol=1e-7)


@pytest.mark.parametrize("axis", np.eye(3).tolist() + [[0.6, 0.8, 0.0]])
def test_half_turn_has_a_rotation_vector(axis):
    R = exp_so3(np.pi * np.array(axis))
    assert np.allclose(exp_so3(log_so3(R)), R, atol=1e-9)


def test_no_points_stay_no_points():
    none = np.zeros((0, 3))
    assert transform(np.eye(4), none).shape == (0, 3)
    assert project(K, none).shape == (0, 2)
    assert bearings(np.zeros((0, 2)), K).shape == (0, 3)
    assert triangulate(np.eye(4), none, none).shape == (0, 2)


def test_inverse_and_orthonormalise():
    T = make_pose(exp_so3([0.2, -0.4, 1.0]), [1, 2, 3])
    assert np.allclose(invert(T) @ T, np.eye(4))
    noisy = T.copy()
    noisy[:3, :3] += 1e-4
    R = orthonormalise(noisy)[:3, :3]
    assert np.allclose(R @ R.T, np.eye(3), atol=1e-12) and np.abs(R - T[:3, :3]).max() < 5e-4


def test_jacobians_agree_with_differences():
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 2], [1, 1, 6], (20, 3))
    J_point, J_pose = projection_jacobians(K, points)
    step = 1e-6
    for axis in range(3):
        delta = np.zeros(3)
        delta[axis] = step
        numeric = (project(K, points + delta) - project(K, points - delta)) / (2 * step)
        assert np.allclose(J_point[:, :, axis], numeric, atol=1e-4)
    for axis in range(6):
        xi = np.zeros(6)
        xi[axis] = step
        numeric = project(K, transform(exp_se3(xi), points)) - project(K, transform(exp_se3(-xi), points))
        assert np.allclose(J_pose[:, :, axis], numeric / (2 * step), atol=1e-3)


def test_triangulation_is_exact_and_parallel_rays_give_nan():
    rng = np.random.default_rng(1)
    points_a = rng.uniform([-2, -2, 2], [2, 2, 8], (30, 3))
    T_b_a = make_pose(exp_so3([0.05, -0.1, 0.02]), [0.4, 0.1, -0.2])
    points_b = transform(T_b_a, points_a)
    depths = triangulate(T_b_a, points_a / points_a[:, 2:], points_b / points_b[:, 2:])
    assert np.allclose(depths, np.stack([points_a[:, 2], points_b[:, 2]], 1))
    still = triangulate(np.eye(4), points_a / points_a[:, 2:], points_a / points_a[:, 2:])
    assert np.isnan(still).all()
