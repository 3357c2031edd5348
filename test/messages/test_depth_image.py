"""Depth images: metres, NaN invalid (REP 118)."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from vision_nodes.datatypes import DepthMap
from vision_nodes.errors import FrameError
from vision_nodes.messages.from_ros import depth_image_from_ros
from vision_nodes.messages.to_ros import depth_to_ros


def message(values: np.ndarray, encoding: str, big: bool = False, padding: int = 0) -> Image:
    height, width = values.shape
    rows = np.frombuffer(values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes(), np.uint8)
    rows = np.pad(rows.reshape(height, -1), ((0, 0), (0, padding)), constant_values=171)
    return Image(
        width=width, height=height, encoding=encoding, is_bigendian=int(big), step=rows.shape[1],
        data=array("B", rows.tobytes()),
    )  # fmt: skip


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
def test_metres_survive_and_the_invalid_become_nan(big, padding, receive):
    values = np.array([[1.5, 0.0, np.nan], [np.inf, -2.0, 80.25]], np.float32)
    got = depth_image_from_ros(receive(message(values, "32FC1", big, padding)))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.array([[1.5, np.nan, np.nan], [np.nan, np.nan, 80.25]], np.float32))


@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
def test_millimetres_become_metres(encoding, big, padding, receive):
    values = np.array([[0, 1, 1500], [65535, 256, 2]], np.uint16)
    got = depth_image_from_ros(receive(message(values, encoding, big, padding)))
    np.testing.assert_allclose(got, [[np.nan, 0.001, 1.5], [65.535, 0.256, 0.002]], rtol=1e-6)


def test_round_trip(receive):
    depth_m = np.random.default_rng(0).uniform(0.1, 50, (12, 16)).astype(np.float32)
    depth_m[3, 4] = np.nan
    msg = depth_to_ros(DepthMap(depth_m, metric=True), (1_500_000_001, "cam"))
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec, msg.header.frame_id) == (1, 500_000_001, "cam")
    np.testing.assert_array_equal(depth_image_from_ros(receive(msg)), depth_m)


def test_a_colour_image_is_no_depth(receive):
    with pytest.raises(FrameError, match="32FC1"):
        depth_image_from_ros(receive(message(np.zeros((2, 2), np.uint8), "mono8")))


def test_an_empty_image_is_refused(receive):
    with pytest.raises(FrameError, match="1x1"):
        depth_image_from_ros(receive(Image(encoding="32FC1")))


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(0, 30),
    height=st.integers(0, 30),
    step=st.integers(0, 150),
    encoding=st.sampled_from(["32FC1", "16UC1", "rgb8"]),
    data=st.binary(max_size=3000),
)
def test_depth_is_read_or_refused(width, height, step, encoding, data):
    msg = Image(width=width, height=height, step=step, encoding=encoding, data=array("B", data))
    try:
        got = depth_image_from_ros(msg)
    except FrameError:
        return
    assert got.shape == (height, width) and got.dtype == np.float32
    assert not np.isinf(got).any() and not (got <= 0).any()
