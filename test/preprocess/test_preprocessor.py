"""Camera messages -> frames: geometry, colours, mid-stream changes and bad input."""

from __future__ import annotations

import logging
from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.rectify import rectified_to_raw
from vision_nodes.camera.scaling import halve
from vision_nodes.errors import CalibrationError, FrameError, VisionNodesError
from vision_nodes.messages.to_ros import camera_info_to_ros, image_to_ros
from vision_nodes.preprocess.preprocessor import Preprocessor
from vision_nodes.preprocess.settings import PreprocessSettings

WH = (1280, 720)
K = np.array([[800.0, 0, 640], [0, 800, 360], [0, 0, 1]])
LENS = CameraModel(
    WH, K, "plumb_bob", np.array([-0.25, 0.06, 0.001, -0.0005, 0.0]), P=0.95 * K + np.diag([0, 0, 0.05])
)


def scene(wh: tuple[int, int] = WH, seed: int = 0) -> np.ndarray:
    """(H, W, 3) RGB, smooth, different in every channel."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(coarse, wh, interpolation=cv2.INTER_CUBIC)


def image(stamp_ns: int, rgb: np.ndarray | None = None, encoding: str = "rgb8") -> Image:
    rgb = scene() if rgb is None else rgb
    return image_to_ros(
        rgb if encoding == "rgb8" else rgb[..., ::-1], (stamp_ns, "cam_optical_frame"), encoding
    )


def info(camera: CameraModel | None = LENS, wh: tuple[int, int] = WH) -> CameraInfo:
    return camera_info_to_ros(camera, (1, "cam_optical_frame"), wh)


def oracle(rgb: np.ndarray, camera: CameraModel, target_wh: tuple[int, int]) -> np.ndarray:
    """Rectify at full size in floating point, then average: what one remap should come close to."""
    maps = cv2.initUndistortRectifyMap(
        camera.K, camera.distortion, camera.R, camera.P, camera.size_wh, cv2.CV_32FC1
    )
    return cv2.resize(cv2.remap(rgb, *maps, cv2.INTER_LINEAR), target_wh, interpolation=cv2.INTER_AREA)


def test_a_frame_carries_everything():
    frame = Preprocessor().process(image(5_000_000_001), info(), received_ns=77)
    assert (frame.stamp_ns, frame.frame_id, frame.received_ns, frame.run) == (
        5_000_000_001,
        "cam_optical_frame",
        77,
        0,
    )
    assert frame.size_wh == (640, 360) and frame.source_wh == WH
    np.testing.assert_allclose(frame.camera.K, frame.source_map.camera_matrix(LENS.P))
    assert frame.camera.is_rectified
    np.testing.assert_array_equal(frame.source_camera.K, K)
    np.testing.assert_array_equal(frame.source_camera.distortion, LENS.distortion)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_picture_and_colours(encoding):
    frame = Preprocessor().process(image(1, encoding=encoding), info())
    want = oracle(scene(), LENS, (640, 360)).astype(int)
    difference = np.abs(frame.image - want)
    assert np.percentile(difference, 99.5) <= 2  # the rest is at the black border
    assert difference.mean() < 0.5


@pytest.mark.parametrize("encoding", ["mono8", "mono16", "rgba8", "bayer_rggb8", "yuv422"])
def test_every_kind_of_pixels_passes(encoding):
    grey = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY)
    data = {
        "mono8": grey,
        "mono16": grey.astype(np.uint16) << 8,
        "rgba8": np.dstack([grey, grey, grey, grey * 0]),
        "bayer_rggb8": grey,
        "yuv422": np.dstack(
            [np.full_like(grey, 128), 16 + (grey.astype(np.uint16) * 219 // 255).astype(np.uint8)]
        ),
    }[encoding]
    msg = Image(
        width=WH[0],
        height=WH[1],
        encoding=encoding,
        step=data.nbytes // WH[1],
        data=array("B", data.tobytes()),
    )
    frame = Preprocessor().process(msg, info())
    want = oracle(np.dstack([grey] * 3), LENS, (640, 360)).astype(int)
    assert np.abs(frame.image - want)[4:-4, 4:-4].max() <= 8


@pytest.mark.parametrize("max_width", [1280, 640, 300, 150])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("camera_info", [None, info()], ids=["resize", "rectify"])
def test_compressed_images_go_the_same_way(extension, max_width, camera_info):
    data = cv2.imencode(extension, scene()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1]
    msg = CompressedImage(format="rgb8; jpeg compressed bgr8", data=array("B", data.tobytes()))
    msg.header.frame_id = "cam_optical_frame"
    limits = PreprocessSettings(max_width=max_width)
    frame = Preprocessor(limits).process(msg, camera_info)
    plain = Preprocessor(limits).process(image(1), camera_info)
    assert frame.frame_id == "cam_optical_frame" and frame.source_wh == WH and frame.size_wh == plain.size_wh
    difference = np.abs(frame.image.astype(int) - plain.image)
    assert difference.mean() < 1.5 and np.percentile(difference, 99) <= 6


def test_boxes_find_their_way_back_to_raw_pixels():
    """A drawn square, seen in the frame, mapped back onto the raw image where it was drawn."""
    raw = np.zeros((WH[1], WH[0], 3), np.uint8)
    want = rectified_to_raw(LENS, np.array([[300.0, 200.0]]))[0]
    cv2.circle(raw, tuple(round(16 * c) for c in want), 16 * 6, (255, 255, 255), -1, cv2.LINE_AA, 4)
    frame = Preprocessor().process(image(1, raw), info())
    v, u = np.indices(frame.image.shape[:2])
    weight = frame.image[..., 0].astype(float)
    seen = np.array([[(u * weight).sum(), (v * weight).sum()]]) / weight.sum()
    back = rectified_to_raw(LENS, frame.source_map.to_source(seen))[0]
    assert np.abs(back - want).max() < 0.3


def test_uncalibrated_frames_are_scaled_only():
    frame = Preprocessor().process(image(1), None)
    assert frame.camera is None and frame.source_camera is None and frame.size_wh == (640, 360)
    np.testing.assert_array_equal(frame.image, halve(scene()))


def test_k_of_zero_is_uncalibrated_and_said_once(caplog):
    preprocessor = Preprocessor()
    for stamp in range(1, 6):
        assert preprocessor.process(image(stamp), info(None)).camera is None
    assert [r.message for r in caplog.records if "uncalibrated" in r.message] == [
        "camera_info has K = 0: running uncalibrated, so nothing will be metric"
    ]


def test_small_images_are_never_enlarged_and_not_copied():
    msg = image(1, scene((320, 240)))
    frame = Preprocessor().process(msg)
    assert frame.size_wh == (320, 240)
    assert np.shares_memory(frame.image, np.frombuffer(msg.data, np.uint8))


def test_an_image_that_is_already_rectified():
    frame = Preprocessor(PreprocessSettings(rectify=False)).process(image(1), info())
    np.testing.assert_array_equal(frame.image, halve(scene()))
    np.testing.assert_allclose(frame.camera.K, frame.source_map.camera_matrix(LENS.P))
    assert frame.source_camera.is_rectified


def test_maps_are_built_once(monkeypatch):
    preprocessor = Preprocessor()
    first = preprocessor.process(image(1), info())
    monkeypatch.setattr(cv2, "initUndistortRectifyMap", lambda *_: pytest.fail("built again"))
    second = preprocessor.process(image(2), info())
    np.testing.assert_array_equal(second.image, first.image)


def test_a_new_resolution_or_calibration_in_mid_stream(caplog):
    caplog.set_level(logging.INFO)
    preprocessor = Preprocessor()
    preprocessor.process(image(1), info())
    small = CameraModel(
        (640, 480),
        np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]),
        "plumb_bob",
        np.array([-0.1, 0, 0, 0]),
    )
    frame = preprocessor.process(image(2, scene((640, 480))), info(small))
    assert frame.size_wh == (640, 480) and frame.source_camera.size_wh == (640, 480)
    zoomed = CameraModel(
        (640, 480), small.K * [[2, 1, 1], [1, 2, 1], [1, 1, 1]], "plumb_bob", small.distortion
    )
    assert preprocessor.process(image(3, scene((640, 480))), info(zoomed)).camera.fx == 1000
    changes = [r.getMessage() for r in caplog.records if "mid-stream" in r.getMessage()]
    assert len(changes) == 2 and "was 1280x720, now 640x480" in changes[0]


def test_the_wrong_camera_info_drops_the_frame_and_the_next_one_works():
    preprocessor = Preprocessor()
    with pytest.raises(CalibrationError, match="640x480"):
        preprocessor.process(image(1, scene((640, 480))), info())
    with pytest.raises(CalibrationError, match="finite"):
        broken = info()
        broken.k[0] = np.nan
        preprocessor.process(image(1), broken)
    assert preprocessor.process(image(1), info()).camera is not None


def test_stamps_a_little_backwards_are_refused():
    preprocessor = Preprocessor()
    preprocessor.process(image(5_000_000_000), info())
    for stamp in (5_000_000_000, 4_900_000_000):
        with pytest.raises(FrameError, match="a stamp after 5000000000"):
            preprocessor.process(image(stamp), info())
    assert preprocessor.process(image(5_100_000_000), info()).run == 0


def test_a_bag_that_loops_starts_a_new_run(caplog):
    preprocessor = Preprocessor()
    runs = [preprocessor.process(image(s * 1_000_000_000), info()).run for s in (10, 11, 12, 2, 3, 2 * 4, 1)]
    assert runs == [0, 0, 0, 1, 1, 1, 2] and preprocessor.run == 2
    assert sum("restarted" in r.message for r in caplog.records) == 2


def test_a_broken_frame_does_not_move_the_clock():
    """A refused image must not make the good ones after it look late."""
    preprocessor = Preprocessor()
    preprocessor.process(image(1), info())
    broken = image(9_000)
    broken.encoding = "none"
    with pytest.raises(FrameError):
        preprocessor.process(broken, info())
    assert preprocessor.process(image(2), info()).run == 0


def test_a_pixel_limit_of_one_s_own():
    with pytest.raises(FrameError, match="at most 1000 px"):
        Preprocessor(PreprocessSettings(max_pixels=1000)).process(image(1))


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(0, 64),
    height=st.integers(0, 64),
    encoding=st.sampled_from(["rgb8", "mono8", "bgr8", "bayer_grbg8", "nv12", "mono16", "yuyv", "what"]),
    length=st.integers(0, 20000),
    distortion=st.lists(st.floats(-1e3, 1e3), max_size=9),
    model=st.sampled_from(["plumb_bob", "equidistant", "rational_polynomial", ""]),
    focal=st.floats(allow_nan=True, allow_infinity=True) | st.floats(1, 100),
)
def test_anything_becomes_a_frame_or_one_of_our_errors(
    width, height, encoding, length, distortion, model, focal
):
    msg = Image(width=width, height=height, encoding=encoding, step=3 * width, data=array("B", bytes(length)))
    camera_info = CameraInfo(width=width, height=height, d=distortion, distortion_model=model)
    camera_info.k = np.array([focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1.0])
    try:
        frame = Preprocessor(PreprocessSettings(max_width=32)).process(msg, camera_info)
    except VisionNodesError as error:
        assert error.received
        return
    assert frame.source_wh == (width, height) and frame.size_wh[0] <= max(32, 1)
