"""sensor_msgs/Image -> RGB against independent encoders."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from vision_nodes.errors import FrameError
from vision_nodes.messages.from_ros import image_from_ros, pixels_from_ros
from vision_nodes.messages.from_ros.image import ENCODINGS

RNG = np.random.default_rng(7)


def message(
    encoding: str, rows: np.ndarray, size_wh: tuple[int, int], padding: int = 0, big: int = 0
) -> Image:
    """Image whose rows are `rows` (R, bytes) uint8, each followed by `padding` bytes of rubbish."""
    rubbish = RNG.integers(0, 256, (len(rows), padding), np.uint8)
    data = array("B", np.hstack([rows, rubbish]).tobytes())
    step = rows.shape[1] + padding
    return Image(
        width=size_wh[0], height=size_wh[1], encoding=encoding, step=step, is_bigendian=big, data=data
    )


def rows_of(values: np.ndarray, big: int) -> np.ndarray:
    """(H, ...) uint8 or uint16 -> (H, bytes) in the message's byte order."""
    ordered = values.astype(values.dtype.newbyteorder(">" if big else "<"))
    return np.frombuffer(ordered.tobytes(), np.uint8).reshape(len(values), -1)


INTERLEAVED = {
    "mono8": "m", "8UC1": "m", "mono16": "m", "16UC1": "m", "rgb8": "rgb", "bgr8": "bgr", "8UC3": "bgr",
    "rgba8": "rgba", "bgra8": "bgra", "8UC4": "bgra", "rgb16": "rgb", "bgr16": "bgr", "16UC3": "bgr",
    "rgba16": "rgba", "bgra16": "bgra",
}  # fmt: skip


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", INTERLEAVED)
def test_interleaved_encodings_keep_every_value(encoding, padding, big, receive):
    channels = INTERLEAVED[encoding]
    dtype = np.uint16 if "16" in encoding else np.uint8
    values = RNG.integers(0, np.iinfo(dtype).max + 1, (7, 9, len(channels)), dtype)
    got = image_from_ros(receive(message(encoding, rows_of(values, big), (9, 7), padding, big)))
    eight_bit = (values // 256 if dtype == np.uint16 else values).astype(np.uint8)
    want = [eight_bit[..., channels.index(c) if c in channels else 0] for c in "rgb"]
    assert got.dtype == np.uint8 and got.flags.c_contiguous
    np.testing.assert_array_equal(got, np.stack(want, axis=-1))


def test_sixteen_bits_become_eight_by_dropping_the_low_byte(receive):
    values = np.array([[0, 255, 256, 511, 0x1234, 0xFFFF]], np.uint16)
    got = image_from_ros(receive(message("mono16", rows_of(values, 0), (6, 1))))
    assert got[0, :, 0].tolist() == [0, 0, 1, 1, 0x12, 255]


def bt601_rgb(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 limited range to RGB, in floating point."""
    luma, cb, cr = (y.astype(float) - 16) / 219, (u.astype(float) - 128) / 224, (v.astype(float) - 128) / 224
    r = luma + 1.402 * cr
    g = luma - (0.299 * 1.402 * cr + 0.114 * 1.772 * cb) / 0.587
    b = luma + 1.772 * cb
    return np.clip(np.rint(255 * np.stack([r, g, b], axis=-1)), 0, 255)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_yuv422(encoding, padding, receive):
    y = RNG.integers(16, 236, (6, 8), np.uint8)
    u, v = RNG.integers(16, 241, (2, 6, 4), np.uint8)
    rows = np.empty((6, 8, 2), np.uint8)
    luma, chroma = (1, 0) if encoding in ("yuv422", "uyvy") else (0, 1)
    rows[..., luma] = y
    rows[:, 0::2, chroma], rows[:, 1::2, chroma] = u, v
    got = image_from_ros(receive(message(encoding, rows.reshape(6, 16), (8, 6), padding)))
    want = bt601_rgb(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    assert np.abs(got - want).max() <= 2


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv420_planes(encoding, padding, receive):
    y = RNG.integers(16, 236, (6, 8), np.uint8)
    u, v = RNG.integers(16, 241, (2, 3, 4), np.uint8)
    chroma = np.stack([u, v] if encoding == "nv12" else [v, u], axis=-1).reshape(3, 8)
    got = image_from_ros(receive(message(encoding, np.vstack([y, chroma]), (8, 6), padding)))
    want = bt601_rgb(y, u.repeat(2, axis=0).repeat(2, axis=1), v.repeat(2, axis=0).repeat(2, axis=1))
    assert np.abs(got - want).max() <= 2


@pytest.mark.parametrize("padding", [0, 6])
def test_nv24(padding, receive):
    y = RNG.integers(16, 236, (5, 7), np.uint8)
    u, v = RNG.integers(16, 241, (2, 5, 7), np.uint8)
    msg = message("nv24", y, (7, 5), padding)
    chroma = np.hstack([np.stack([u, v], axis=-1).reshape(5, 14), np.zeros((5, 2 * padding), np.uint8)])
    msg.data = array("B", bytes(msg.data) + chroma.tobytes())
    assert np.abs(image_from_ros(receive(msg)) - bt601_rgb(y, u, v)).max() <= 2


def test_tight_planes_are_read_whatever_the_step_says(receive):
    rows = np.vstack([np.full((4, 6), 235, np.uint8), np.full((2, 6), 128, np.uint8)])
    msg = message("nv21", rows, (6, 4))
    msg.step = 9  # size / height, as some drivers fill it
    np.testing.assert_array_equal(image_from_ros(receive(msg)), np.full((4, 6, 3), 255))


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_restores_a_linear_image(pattern, bits, big, receive):
    """Bilinear demosaicing is exact on planes, away from the border."""
    x, y = np.meshgrid(np.arange(12), np.arange(10))
    rgb = np.stack([40 + 4 * x + 2 * y, 90 + 2 * x + 4 * y, 200 - 2 * x - 6 * y], axis=-1)
    mosaic = np.empty((10, 12), np.uint8)
    for i, channel in enumerate(pattern):
        row, column = divmod(i, 2)
        mosaic[row::2, column::2] = rgb[row::2, column::2, "rgb".index(channel)]
    values = mosaic if bits == 8 else mosaic.astype(np.uint16) * 256 + 77
    got = image_from_ros(receive(message(f"bayer_{pattern}{bits}", rows_of(values, big), (12, 10), 4, big)))
    assert np.abs(got[2:-2, 2:-2].astype(int) - rgb[2:-2, 2:-2]).max() <= 1


def test_unpadded_rgb8_is_a_view_of_the_message():
    msg = message("rgb8", RNG.integers(0, 256, (4, 15), np.uint8), (5, 4))
    got = image_from_ros(msg)
    msg.data[0] = 255 - msg.data[0]
    assert got[0, 0, 0] == msg.data[0]
    assert np.shares_memory(pixels_from_ros(msg).array, np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoding": "jpeg2000"}, "encoding among"),
        ({"encoding": ""}, "encoding among"),
        ({"width": 0}, "at least 1x1"),
        ({"height": 0}, "at least 1x1"),
        ({"height": 5}, "step * height"),
        ({"step": 11}, "step of at least 12"),
        ({"step": 0}, "step of at least 12"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "at most"),
        ({"width": 40_000, "height": 1}, "sides of at most"),
        ({"data": array("B")}, "step * height"),
        ({"encoding": "yuv422", "width": 5}, "even width"),
        ({"encoding": "nv12", "height": 3}, "even height"),
        ({"encoding": "nv21", "step": 12}, "bytes: luma"),
        ({"encoding": "bayer_rggb8", "width": 2, "height": 2}, "3x3"),
        ({"encoding": "bayer_rggb12"}, "encoding among"),
        ({"encoding": "16"}, "encoding among"),
    ],
)
def test_bad_images_say_what_is_wrong(change, says, receive):
    msg = message("rgb8", np.zeros((4, 12), np.uint8), (4, 4))
    for name, value in change.items():
        setattr(msg, name, value)
    with pytest.raises(FrameError, match=says.replace("*", r"\*")) as caught:
        image_from_ros(receive(msg))
    assert caught.value.received and caught.value.remedy


def test_data_that_is_no_buffer():
    class NotAnImage:
        width, height, step, encoding, is_bigendian, data = 1, 1, 3, "rgb8", 0, [1, 2, 3]

    with pytest.raises(FrameError, match="byte buffer"):
        image_from_ros(NotAnImage())


def test_the_last_row_may_lack_its_padding():
    msg = message("mono8", np.arange(12, dtype=np.uint8).reshape(3, 4), (4, 3), padding=4)
    msg.data = msg.data[:-4]
    np.testing.assert_array_equal(image_from_ros(msg)[..., 0], np.arange(12).reshape(3, 4))


@settings(max_examples=400, deadline=None)
@given(
    width=st.integers(0, 40) | st.integers(0, 2**32 - 1),
    height=st.integers(0, 40) | st.integers(0, 2**32 - 1),
    step=st.integers(0, 300) | st.integers(0, 2**32 - 1),
    encoding=st.sampled_from(ENCODINGS) | st.text(max_size=12),
    big=st.integers(0, 255),
    length=st.integers(0, 8000),
)
def test_any_image_is_decoded_or_refused(width, height, step, encoding, big, length):
    msg = Image(
        width=width,
        height=height,
        step=step,
        encoding=encoding,
        is_bigendian=big,
        data=array("B", bytes(length)),
    )
    try:
        got = image_from_ros(msg)
    except FrameError as error:
        assert error.expected and error.received
    else:
        assert got.shape == (height, width, 3) and got.dtype == np.uint8


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 24).map(lambda n: 2 * n + 2),
    height=st.integers(1, 24).map(lambda n: 2 * n + 2),
    padding=st.integers(0, 9).map(lambda n: 2 * n),
    encoding=st.sampled_from(ENCODINGS),
    big=st.booleans(),
)
def test_padding_never_shows(width, height, padding, encoding, big):
    """The same pixels with and without padding give the same image, in every encoding."""
    planes = {"nv12": 1.5, "nv21": 1.5, "nv24": 3.0}.get(encoding, 1.0)
    per_pixel = 1.0 if planes > 1 else 2.0 if encoding.startswith(("yuv", "uyvy", "yuyv")) else None
    if per_pixel is None:
        channels = len(INTERLEAVED.get(encoding, "m"))
        per_pixel = channels * (2 if "16" in encoding else 1)
    row_bytes = int(width * per_pixel)
    rng = np.random.default_rng(width * 1000 + height)
    plain = rng.integers(0, 256, (int(height * planes), row_bytes), np.uint8)
    if encoding == "nv24":  # chroma rows are two luma rows long
        plain[height:] = plain[height:].reshape(height, 2 * width).reshape(-1, width)
    tight = message(encoding, plain, (width, height), 0, int(big))
    padded = message(encoding, plain, (width, height), padding, int(big))
    if encoding == "nv24":
        luma = np.hstack([plain[:height], np.zeros((height, padding), np.uint8)])
        chroma = np.hstack(
            [plain[height:].reshape(height, 2 * width), np.ones((height, 2 * padding), np.uint8)]
        )
        padded.data = array("B", luma.tobytes() + chroma.tobytes())
    np.testing.assert_array_equal(image_from_ros(tight), image_from_ros(padded))


def test_agrees_with_cv_bridge():
    """The same bytes through ROS's own converter; only where it is installed."""
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not on the package index")
    bridge = cv_bridge.CvBridge()
    for encoding in ("mono8", "rgb8", "bgr8", "rgba8", "bgra8", "bayer_rggb8", "bayer_grbg8", "yuv422"):
        channels = 2 if encoding == "yuv422" else len(INTERLEAVED.get(encoding, "m"))
        msg = message(encoding, RNG.integers(0, 256, (10, 12 * channels), np.uint8), (12, 10))
        want = bridge.imgmsg_to_cv2(msg, "rgb8").astype(int)
        assert np.abs(image_from_ros(msg) - want).max() <= 1, encoding
