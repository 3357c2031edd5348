"""CameraInfo -> CameraModel, and the many ways in which a calibration can be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import CalibrationError
from vision_nodes.messages.from_ros import camera_info_key, camera_model_from_ros, image_size_wh
from vision_nodes.messages.to_ros import camera_info_to_ros

K = np.array([[500.0, 0, 319.5], [0, 510.0, 239.5], [0, 0, 1]])
P = np.diag([0.9, 0.9, 1.0]) @ K


def info(**changes) -> CameraInfo:
    fields = {
        "width": 640, "height": 480, "distortion_model": "plumb_bob", "d": [-0.2, 0.05, 0.001, -0.001, 0.0],
        "k": K.ravel(), "r": np.eye(3).ravel(), "p": np.hstack([P, np.zeros((3, 1))]).ravel(),
    }  # fmt: skip
    return CameraInfo(**{**fields, **changes})


def test_plain_calibration(receive):
    camera = camera_model_from_ros(receive(info()), (640, 480))
    assert camera.size_wh == (640, 480) and camera.distortion_model == "plumb_bob"
    np.testing.assert_array_equal(camera.K, K)
    np.testing.assert_array_equal(camera.P, P)
    np.testing.assert_array_equal(camera.distortion, [-0.2, 0.05, 0.001, -0.001, 0.0])
    assert not camera.is_rectified


def test_no_k_means_uncalibrated(receive):
    assert camera_model_from_ros(receive(CameraInfo(width=640, height=480)), (640, 480)) is None


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", [0.1, 0.2, 0.0, 0.0]),
        ("plumb_bob", []),
        ("rational_polynomial", [0.1] * 8),
        ("rational_polynomial", [0.1] * 14),
        ("equidistant", [0.01, 0.0, 0.0, 0.0]),
        ("", []),
        ("", [0.0] * 5),
    ],
)
def test_accepted_models(model, d, receive):
    camera = camera_model_from_ros(receive(info(distortion_model=model, d=d)))
    assert camera.distortion.tolist() == (d if any(d) or model else [])


def test_an_ideal_fisheye_is_not_a_pinhole():
    assert camera_model_from_ros(info(d=[0.0] * 4)).is_rectified
    assert not camera_model_from_ros(info(distortion_model="equidistant", d=[0.0] * 4)).is_rectified


def test_missing_r_and_p_are_left_out(receive):
    camera = camera_model_from_ros(receive(info(r=np.zeros(9), p=np.zeros(12))))
    assert camera.P is None
    np.testing.assert_array_equal(camera.R, np.eye(3))


BROKEN_K = K.copy()
BROKEN_K[0, 0] = np.nan
NEGATIVE_K = K * np.array([[-1], [1], [1]])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"k": BROKEN_K.ravel()}, "finite values in K"),
        ({"k": NEGATIVE_K.ravel()}, "positive focal"),
        ({"d": [np.nan] * 5}, "finite distortion"),
        ({"d": [0.1] * 6}, "coefficients for plumb_bob"),
        ({"d": [0.1] * 5, "distortion_model": "equidistant"}, "coefficients for equidistant"),
        ({"distortion_model": "omnidirectional"}, "distortion model among"),
        ({"distortion_model": ""}, "distortion model among"),
        ({"r": 2 * np.eye(3).ravel()}, "rotation matrix"),
        ({"r": np.diag([1.0, 1.0, -1.0]).ravel()}, "rotation matrix"),
        ({"r": np.full(9, np.inf)}, "finite values in R"),
        ({"p": -np.hstack([P, np.zeros((3, 1))]).ravel()}, "third row"),
        ({"p": np.hstack([np.diag([-1.0, 1.0, 1.0]), np.zeros((3, 1))]).ravel()}, "projection matrix"),
        ({"k": np.diag([500.0, 500.0, 0.0]).ravel()}, "third row"),
        ({"p": np.full(12, np.nan)}, "finite values in P"),
        ({"width": 1280, "height": 960}, "640x480"),
        ({"width": 0, "height": 0}, "640x480"),
    ],
)
def test_bad_calibrations_say_what_is_wrong(changes, says, receive):
    with pytest.raises(CalibrationError, match=says) as caught:
        camera_model_from_ros(receive(info(**changes)), (640, 480))
    assert caught.value.received and caught.value.remedy


@pytest.mark.parametrize("binning", [(1, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("crop", [None, (100, 40, 320, 200)])
def test_binning_and_region_project_points_where_the_pixels_went(binning, crop, receive):
    """A point's pixel index on the full sensor, cropped and binned, is what the new K projects to."""
    msg = info(binning_x=binning[0], binning_y=binning[1])
    x0, y0, width, height = crop or (0, 0, 640, 480)
    if crop:
        msg.roi = RegionOfInterest(x_offset=x0, y_offset=y0, width=width, height=height)
    msg = receive(msg)
    camera = camera_model_from_ros(msg, (width // binning[0], height // binning[1]))
    assert camera.size_wh == image_size_wh(msg) == (width // binning[0], height // binning[1])
    point = np.array([0.1, -0.07, 1.0])
    for full, scaled in ((K, camera.K), (P, camera.P)):
        u, v = (full @ point)[:2]
        # edges of pixels: index i covers i - 0.5 .. i + 0.5
        want = [(u + 0.5 - x0) / binning[0] - 0.5, (v + 0.5 - y0) / binning[1] - 0.5]
        np.testing.assert_allclose((scaled @ point)[:2], want)


def test_the_key_tells_cameras_apart_and_ignores_the_header(receive):
    msg = info()
    msg.header.stamp.sec = 99
    assert camera_info_key(receive(msg)) == camera_info_key(receive(info()))
    for changes in (
        {"d": [0.0] * 5},
        {"k": 2 * K.ravel()},
        {"width": 320},
        {"binning_x": 2},
        {"r": np.zeros(9)},
    ):
        assert camera_info_key(receive(info(**changes))) != camera_info_key(receive(info()))


def test_round_trip(receive):
    R = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    camera = CameraModel((640, 480), K, "rational_polynomial", np.linspace(-0.1, 0.1, 8), R, P)
    back = camera_model_from_ros(receive(camera_info_to_ros(camera, (5, "cam"))), (640, 480))
    assert back.size_wh == camera.size_wh and back.distortion_model == camera.distortion_model
    for name in ("K", "distortion", "R", "P"):
        np.testing.assert_allclose(getattr(back, name), getattr(camera, name))


def test_rectified_and_uncalibrated_round_trip(receive):
    back = camera_model_from_ros(receive(camera_info_to_ros(CameraModel((640, 480), K), (5, "cam"))))
    assert back.is_rectified
    np.testing.assert_array_equal(back.K, K)
    msg = receive(camera_info_to_ros(None, (5, "cam"), (640, 480)))
    assert camera_model_from_ros(msg, (640, 480)) is None
    with pytest.raises(ValueError, match="size_wh"):
        camera_info_to_ros(None, (5, "cam"))


NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1000, 1000) | st.just(0.0)


@settings(max_examples=300, deadline=None)
@given(
    k=st.lists(NUMBERS, min_size=9, max_size=9),
    p=st.lists(NUMBERS, min_size=12, max_size=12) | st.just([0.0] * 12),
    d=st.lists(NUMBERS, max_size=15),
    model=st.sampled_from(["plumb_bob", "equidistant", "rational_polynomial", "", "x"]),
    binning=st.integers(0, 2**32 - 1),
    offset=st.integers(0, 2**32 - 1),
)
def test_any_calibration_is_read_or_refused(k, p, d, model, binning, offset):
    msg = info(k=np.array(k), p=np.array(p), d=d, distortion_model=model, binning_x=binning)
    msg.roi.x_offset = offset
    try:
        camera = camera_model_from_ros(msg)
    except CalibrationError as error:
        assert error.received
        return
    assert camera is None or np.isfinite(camera.K).all()
