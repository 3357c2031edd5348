"""Depth errors by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vision_nodes.evaluation.depth import compare_depth, errors, mean_figures, sample_at


def test_errors_by_hand():
    figures = errors(np.array([2.0, 1.0]), np.array([1.0, 4.0]))
    assert figures["abs_rel"] == pytest.approx((1 / 1 + 3 / 4) / 2)
    assert figures["sq_rel"] == pytest.approx((1 / 1 + 9 / 4) / 2)
    assert figures["rmse_m"] == pytest.approx(math.sqrt((1 + 9) / 2))
    assert figures["rmse_log"] == pytest.approx(math.sqrt((math.log(2) ** 2 + math.log(4) ** 2) / 2))
    assert (figures["delta1"], figures["delta2"], figures["delta3"]) == (0, 0, 0)


def test_delta_counts_ratios_below_powers_of_a_quarter_more():
    figures = errors(np.array([1.2, 1.5, 1.9, 3.0]), np.ones(4))
    assert (figures["delta1"], figures["delta2"], figures["delta3"]) == (0.25, 0.5, 0.75)


def test_a_wrong_scale_is_all_error_raw_and_none_after_scaling():
    truth = np.random.default_rng(0).uniform(1, 10, (20, 30)).astype(np.float32)
    figures = compare_depth(truth / 2, truth)
    assert figures["abs_rel"] == pytest.approx(0.5, abs=1e-6)
    assert figures["ratio"] == pytest.approx(2.0)
    assert figures["abs_rel_scaled"] == pytest.approx(0, abs=1e-6)
    assert figures["delta1_scaled"] == 1.0


def test_invalid_pixels_are_left_out_and_counted_as_coverage():
    truth = np.array([[1.0, 2.0, np.nan, 0.0, 200.0]], np.float32)
    found = np.array([[1.0, np.nan, 3.0, 3.0, 3.0]], np.float32)
    figures = compare_depth(found, truth)
    assert figures["abs_rel"] == 0.0
    assert figures["coverage"] == 0.5  # two true pixels in range, one answered


def test_nothing_to_compare_is_empty():
    nothing = np.full((2, 2), np.nan, np.float32)
    assert compare_depth(np.ones((2, 2), np.float32), nothing) == {}
    assert compare_depth(nothing, np.ones((2, 2), np.float32)) == {}
    assert mean_figures([])["abs_rel"] is None
    assert mean_figures([{}])["frames"] == 0


def test_sampling_keeps_a_plane_and_spreads_holes():
    u = (np.arange(64) + 0.5) / 64  # the same plane seen at two resolutions
    small = np.tile((2 + (np.arange(16) + 0.5) / 16).astype(np.float32), (12, 1))
    large = sample_at(small, (48, 64))
    inner = slice(4, -4)
    np.testing.assert_allclose(large[:, inner], np.tile(2 + u, (48, 1))[:, inner], atol=5e-3)
    small[5, 5] = np.nan
    assert np.isnan(sample_at(small, (48, 64))[22, 22])


def test_means_count_every_frame_once():
    frames = [{"abs_rel": 0.1, "ratio": 1.0}, {"abs_rel": 0.3, "ratio": math.e**2}, {}]
    means = mean_figures(frames)
    assert means["abs_rel"] == pytest.approx(0.2)
    assert means["ratio_std"] == pytest.approx(1.0)
    assert means["frames"] == 2
