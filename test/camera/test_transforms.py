"""Quaternions and rigid transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nodes.camera.covariance import covariance_of_attached_frame, rotated_covariance
from vision_nodes.camera.transforms import (
    invert,
    make_transform,
    matrix_from_quat_xyzw,
    quat_xyzw_from_matrix,
)

QUATERNIONS = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3)


@settings(max_examples=300, deadline=None)
@given(QUATERNIONS)
def test_quaternion_round_trip(values):
    quat = np.array(values) / np.linalg.norm(values)
    back = quat_xyzw_from_matrix(matrix_from_quat_xyzw(np.array(values)))
    assert back[3] >= 0 and np.isclose(np.linalg.norm(back), 1)
    assert min(np.abs(back - quat).max(), np.abs(back + quat).max()) < 1e-7


@settings(max_examples=100, deadline=None)
@given(QUATERNIONS)
def test_matrix_is_a_rotation_and_turns_like_the_quaternion_product(values):
    R = matrix_from_quat_xyzw(np.array(values))
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.isclose(np.linalg.det(R), 1)
    x, y, z, w = np.array(values) / np.linalg.norm(values)
    u, point = np.array([x, y, z]), np.array([0.3, -1.2, 2.0])
    want = point + 2 * w * np.cross(u, point) + 2 * np.cross(u, np.cross(u, point))
    np.testing.assert_allclose(R @ point, want, atol=1e-12)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_and_quarter_turns(axis):
    for angle in (0.0, np.pi / 2, np.pi):
        quat = np.zeros(4)
        quat[axis], quat[3] = np.sin(angle / 2), np.cos(angle / 2)
        back = quat_xyzw_from_matrix(matrix_from_quat_xyzw(quat))
        assert min(np.abs(back - quat).max(), np.abs(back + quat).max()) < 1e-12


def test_quarter_turn_about_z_takes_x_to_y():
    R = matrix_from_quat_xyzw(np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)]))
    np.testing.assert_allclose(R @ [1, 0, 0], [0, 1, 0], atol=1e-15)


@pytest.mark.parametrize("values", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_no_rotation(values):
    with pytest.raises(ValueError, match="quaternion"):
        matrix_from_quat_xyzw(np.array(values, np.float64))


def test_invert_and_compose():
    T = make_transform(matrix_from_quat_xyzw(np.array([0.1, -0.4, 0.2, 0.6])), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(invert(T) @ T, np.eye(4), atol=1e-15)
    np.testing.assert_allclose(invert(T), np.linalg.inv(T), atol=1e-14)
    assert invert(T.astype(np.float32)).dtype == np.float64


def test_covariance_of_an_attached_frame_matches_samples():
    """Errors drawn for the camera, carried to the base by the rigid mount."""
    rng = np.random.default_rng(1)
    A = rng.normal(size=(6, 6))
    covariance = 1e-6 * A @ A.T
    T_odom_cam = make_transform(matrix_from_quat_xyzw(rng.normal(size=4)), rng.normal(size=3))
    T_cam_base = make_transform(matrix_from_quat_xyzw(rng.normal(size=4)), rng.normal(size=3))
    mean = T_odom_cam @ T_cam_base
    samples = []
    for error in rng.multivariate_normal(np.zeros(6), covariance, 4000):
        noisy = T_odom_cam.copy()
        noisy[:3, :3] = matrix_from_quat_xyzw(np.array([*(error[3:] / 2), 1.0])) @ noisy[:3, :3]
        noisy[:3, 3] += error[:3]
        moved = noisy @ T_cam_base
        turn = moved[:3, :3] @ mean[:3, :3].T
        samples.append([*(moved[:3, 3] - mean[:3, 3]), turn[2, 1], turn[0, 2], turn[1, 0]])
    sampled = np.cov(np.array(samples).T)
    got = covariance_of_attached_frame(covariance, T_odom_cam, T_cam_base)
    assert np.linalg.norm(got - sampled) < 0.1 * np.linalg.norm(sampled)


def test_rotated_covariance():
    R = matrix_from_quat_xyzw(np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)]))
    got = rotated_covariance(np.diag([1.0, 2, 3, 4, 5, 6]), R)
    np.testing.assert_allclose(got, np.diag([2.0, 1, 3, 5, 4, 6]), atol=1e-12)
