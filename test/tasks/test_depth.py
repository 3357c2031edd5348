"""Depth decoder: focal scaling, the uncalibrated camera, what counts as invalid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import EngineError, ModelError
from vision_nodes.tasks.depth import DepthDecoder

DECODER = DepthDecoder(fx_canonical=200.0, max_m=80.0)


def camera(fx: float, fy: float | None = None) -> CameraModel:
    return CameraModel((256, 192), np.array([[fx, 0, 128.0], [0, fy or fx, 96], [0, 0, 1]]))


def outputs(depth: list[list[float]], confidence: list[list[float]] | None = None) -> dict[str, np.ndarray]:
    result = {"depth": np.array([depth], np.float32)}
    if confidence is not None:
        result["confidence"] = np.array([confidence], np.float32)
    return result


def test_double_focal_length_doubles_depth():
    result = DECODER.decode(outputs([[1.0, 3.0]]), camera(400.0))
    assert result.metric
    np.testing.assert_allclose(result.depth_m, [[2.0, 6.0]])
    assert result.depth_m.dtype == np.float32


@given(st.floats(50, 2000), st.floats(0.2, 70))
def test_a_wall_keeps_its_metres_whatever_the_lens(fx: float, wall_m: float):
    canonical = wall_m * DECODER.fx_canonical / fx  # what a perfect network answers through that lens
    if canonical >= 78:
        return
    result = DECODER.decode(outputs([[canonical]]), camera(fx))
    np.testing.assert_allclose(result.depth_m, [[wall_m]], rtol=1e-5)


def test_only_the_horizontal_focal_length_counts():
    result = DECODER.decode(outputs([[1.0]]), camera(200.0, fy=313.0))
    np.testing.assert_allclose(result.depth_m, [[1.0]])


def test_uncalibrated_is_never_metric():
    result = DECODER.decode(outputs([[1.0, 3.0]]), None)
    assert not result.metric
    np.testing.assert_allclose(result.depth_m, [[1.0, 3.0]])


def test_invalid_values_become_nan_with_zero_confidence():
    depth = [[np.nan, np.inf, 0.0, -1.0, 80.0, 2.0]]
    result = DECODER.decode(outputs(depth, [[0.9] * 6]), camera(200.0))
    assert np.isnan(result.depth_m[0]).tolist() == [True] * 5 + [False]
    np.testing.assert_allclose(result.confidence[0], [0, 0, 0, 0, 0, 0.9], rtol=1e-6)


def test_unsure_pixels_are_left_out_on_request():
    result = DECODER.decode(outputs([[1.0, 1.0]], [[0.2, 0.8]]), camera(200.0), min_confidence=0.5)
    assert np.isnan(result.depth_m[0]).tolist() == [True, False]


def test_confidence_is_optional_and_kept_in_range():
    assert DECODER.decode(outputs([[1.0]]), None).confidence is None
    result = DECODER.decode(outputs([[1.0, 1.0]], [[1.5, np.nan]]), None)
    np.testing.assert_array_equal(result.confidence, [[1.0, 0.0]])


def test_result_outlives_the_engines_buffer():
    raw = outputs([[1.0]])
    result = DECODER.decode(raw, None)
    raw["depth"][:] = 9
    assert result.depth_m[0, 0] == 1.0


@pytest.mark.parametrize("raw", [{}, {"depth": np.zeros((2, 3, 3), np.float32)}])
def test_missing_or_batched_output_is_refused(raw: dict[str, np.ndarray]):
    with pytest.raises(EngineError, match="depth"):
        DECODER.decode(raw, None)


def test_a_canonical_focal_length_of_zero_is_refused():
    with pytest.raises(ModelError, match="fx_canonical"):
        DepthDecoder(0.0, 80.0)
