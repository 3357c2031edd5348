"""Rigid transforms against SciPy and against their own inverses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vision_nodes.places.rigid import (
    angle_between,
    difference,
    interpolate,
    inverse,
    orthonormalised,
    quaternion,
    retract,
    rotation_exp,
    rotation_log,
    transform,
)

CALM = settings(deadline=None, max_examples=40)  # shared machines stall: no time limits


parts = st.floats(-1.8, 1.8, allow_nan=False)
vectors = st.tuples(parts, parts, parts).map(np.array)


def random_pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    T = np.eye(4)
    T[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    T[:3, 3] = rng.normal(0, 5, 3)
    return T


@CALM
@given(vectors)
def test_exp_agrees_with_scipy_and_log_inverts_it(theta: np.ndarray) -> None:
    R = rotation_exp(theta)
    np.testing.assert_allclose(R, Rotation.from_rotvec(theta).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(rotation_log(R), Rotation.from_matrix(R).as_rotvec(), atol=1e-7)


@CALM
@given(st.integers(0, 500), st.sampled_from([0.0, 1e-12, 1e-7, 1e-3, np.pi - 1e-6, np.pi]))
def test_log_at_its_hard_angles(seed: int, angle: float) -> None:
    axis = np.random.default_rng(seed).normal(0, 1, 3)
    axis /= np.linalg.norm(axis)
    R = Rotation.from_rotvec(angle * axis).as_matrix()
    np.testing.assert_allclose(rotation_exp(rotation_log(R)), R, atol=1e-6)
    assert abs(np.linalg.norm(rotation_log(R)) - angle) < 1e-6


@CALM
@given(st.integers(0, 500))
def test_quaternion_agrees_with_scipy(seed: int) -> None:
    R = random_pose(seed)[:3, :3]
    expected = Rotation.from_matrix(R).as_quat()
    found = quaternion(R)
    assert min(np.abs(found - expected).max(), np.abs(found + expected).max()) < 1e-9


@CALM
@given(st.integers(0, 500))
def test_inverse_and_transform(seed: int) -> None:
    T = random_pose(seed)
    np.testing.assert_allclose(inverse(T) @ T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(inverse(np.stack([T, T]))[1], np.linalg.inv(T), atol=1e-9)
    points = np.random.default_rng(seed).normal(0, 1, (4, 3))
    np.testing.assert_allclose(transform(inverse(T), transform(T, points)), points, atol=1e-9)
    assert transform(T, np.zeros((0, 3))).shape == (0, 3)


@CALM
@given(st.integers(0, 200), st.integers(201, 400), st.floats(0, 1))
def test_difference_retracts_and_interpolation_divides_it(a: int, b: int, fraction: float) -> None:
    T_a, T_b = random_pose(a), random_pose(b)
    np.testing.assert_allclose(retract(T_a, difference(T_a, T_b)), T_b, atol=1e-7)
    middle = interpolate(T_a, T_b, fraction)
    np.testing.assert_allclose(angle_between(T_a, middle), fraction * angle_between(T_a, T_b), atol=1e-7)


def test_orthonormalised_removes_rounding_only() -> None:
    T = random_pose(3)
    bent = T.copy()
    bent[:3, :3] += 1e-4 * np.ones((3, 3))
    fixed = orthonormalised(bent)
    np.testing.assert_allclose(fixed[:3, :3] @ fixed[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(fixed[:3, :3]) > 0 and np.abs(fixed - T).max() < 1e-3
