"""Resampling: place, brightness and aliasing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.camera.scaling import count_exact_halvings, count_halvings, halve, resample


def test_same_size_is_the_same_image():
    image = np.zeros((10, 12, 3), np.uint8)
    assert resample(image, (12, 10)) is image


def test_halving_is_the_mean_of_four():
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    want = image.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert np.abs(halve(image) - want).max() <= 0.5
    assert halve(image[:7, :11]).shape == (3, 5, 3)
    np.testing.assert_array_equal(resample(image, (6, 4)), halve(image))


@settings(max_examples=300, deadline=None)
@given(*[st.integers(1, 3000)] * 4)
def test_halvings_never_pass_the_target(w, h, tw, th):
    for count in (count_halvings, count_exact_halvings):
        n = count((w, h), (tw, th))
        assert n >= 0 and (n == 0 or (w / 2**n >= tw and h / 2**n >= th))
    n = count_exact_halvings((w, h), (tw, th))
    assert (w >> n) << n == w and (h >> n) << n == h


@pytest.mark.parametrize(
    "target_wh",
    [
        (640, 480),
        (416, 416),
        (320, 240),
        (213, 160),
        (224, 100),
        (60, 300),
        (700, 500),
        (640, 700),
        (640, 300),
        (320, 480),
    ],
)
@pytest.mark.parametrize("source_wh", [(640, 480), (641, 479)])
def test_things_stay_where_the_map_says(source_wh, target_wh):
    x, y = np.meshgrid(np.arange(source_wh[0]), np.arange(source_wh[1]))
    point = np.array([400.3, 170.6])
    dot = np.clip(255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 2 / 12**2), 0, 255).astype(
        np.uint8
    )
    small = resample(dot, target_wh).astype(float)
    assert small.shape == target_wh[::-1]
    v, u = np.indices(small.shape)
    seen = np.array([(u * small).sum(), (v * small).sum()]) / small.sum()
    assert np.abs(seen - ResizeMap(source_wh, target_wh).to_target(point)).max() < 0.08


@pytest.mark.parametrize("target_wh", [(416, 416), (256, 192), (150, 110), (100, 300)])
def test_close_to_the_true_average_on_pictures(target_wh):
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (480, 640, 3), np.uint8), (0, 0), 2)
    want = cv2.resize(image, target_wh, interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(resample(image, target_wh) - want).mean() < 2.5


def test_a_fine_pattern_does_not_turn_into_a_coarse_one():
    board = (np.indices((480, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert resample(board, (200, 150)).std() < 3
    assert cv2.resize(board, (200, 150), interpolation=cv2.INTER_LINEAR).std() > 20
