"""Pose errors and their AUC: by hand, against integration point by point, and on exact two-view geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nodes.evaluation.pose_errors import (
    area_under_curve,
    mutual_nearest,
    pose_error_deg,
    relative_pose,
)


def integrated(errors: list[float], threshold: float) -> float:
    """The area under the polygon (0, 0), (e1, 1 / n), (e2, 2 / n), ..., level up to the threshold: trapezium by trapezium."""
    area, x0, y0 = 0.0, 0.0, 0.0
    for rank, error in enumerate(sorted(errors), start=1):
        if error >= threshold:
            break
        area += (error - x0) * (y0 + rank / len(errors)) / 2
        x0, y0 = error, rank / len(errors)
    return (area + (threshold - x0) * y0) / threshold


def test_area_by_hand():
    # recall 0 -> 1/2 from 0 to 2 degrees, level to 5, nothing more
    assert area_under_curve(np.array([2.0, 90.0]), [5.0])[0] == pytest.approx((2 * 0.25 + 3 * 0.5) / 5)
    assert area_under_curve(np.zeros(7), [5.0, 10.0]) == pytest.approx([1.0, 1.0])
    assert area_under_curve(np.array([180.0, np.inf]), [5.0])[0] == 0.0
    assert np.isnan(area_under_curve(np.zeros(0), [5.0])[0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 180, width=32), min_size=1, max_size=40), st.sampled_from([1.0, 5.0, 10.0, 20.0])
)
def test_area_against_integration(errors: list[float], threshold: float):
    assert area_under_curve(np.array(errors), [threshold])[0] == pytest.approx(integrated(errors, threshold))


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def pose(R: np.ndarray, t: tuple[float, float, float]) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 3.0, 90.0, 179.0])
def test_rotation_angle(degrees: float):
    truth = pose(rotation((1, 2, 3), 20), (1, 0, 0))
    moved = pose(rotation((1, 2, 3), 20) @ rotation((0, 1, -1), degrees), (1, 0, 0))
    assert pose_error_deg(moved, truth)[0] == pytest.approx(degrees, abs=1e-6)


def test_translation_is_a_direction_without_sign():
    truth = pose(np.eye(3), (2, 0, 0))
    assert pose_error_deg(pose(np.eye(3), (0.1, 0.1, 0)), truth)[1] == pytest.approx(45)
    assert pose_error_deg(pose(np.eye(3), (-5, 0, 0)), truth)[1] == pytest.approx(0, abs=1e-6)
    assert pose_error_deg(None, truth) == (180.0, 180.0)


def test_pose_from_exact_matches_with_outliers():
    rng = np.random.default_rng(0)
    K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    points = rng.uniform((-2, -1.5, 3), (2, 1.5, 8), (200, 3))
    T_b_a = pose(rotation((0, 1, 0.2), 8), (0.5, 0.1, -0.1))
    moved = points @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    xy_a, xy_b = (p @ K.T for p in (points, moved))
    xy_a, xy_b = xy_a[:, :2] / xy_a[:, 2:], xy_b[:, :2] / xy_b[:, 2:]
    xy_b[:50] = rng.uniform((0, 0), (640, 480), (50, 2))
    found = relative_pose(xy_a, xy_b, K)
    assert found is not None
    assert max(pose_error_deg(found[0], T_b_a)) < 0.1
    assert 145 <= found[1] <= 160
    assert relative_pose(xy_a[:7], xy_b[:7], K) is None
    assert relative_pose(np.zeros((0, 2)), np.zeros((0, 2)), K) is None


def test_mutual_nearest_against_loops():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(30, 8)), rng.normal(size=(40, 8))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    expected = [(i, j) for i in range(30) for j in range(40)
                if distance[i].argmin() == j and distance[:, j].argmin() == i]  # fmt: skip
    assert [tuple(p) for p in mutual_nearest(a, b)] == expected
    assert mutual_nearest(a[:0], b).shape == (0, 2)


def test_binary_descriptors_compare_by_hamming():
    a = np.array([[0b11110000], [0b00000000]], np.uint8)
    b = np.array([[0b00000001], [0b11100000]], np.uint8)
    assert mutual_nearest(a, b).tolist() == [[0, 1], [1, 0]]
