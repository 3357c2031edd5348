"""CompressedImage: sizes before decoding, cut-off and damaged files refused."""

from __future__ import annotations

import struct
import zlib
from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage

from vision_nodes.errors import FrameError
from vision_nodes.messages.from_ros import compressed_image_from_ros, encoded_image_from_ros
from vision_nodes.messages.from_ros.compressed import compressed_size_wh


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """(H, W, 3) RGB with a distinct, smooth colour everywhere."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, 255 - (x + y) / 2], axis=-1).astype(np.uint8)


def encode(rgb: np.ndarray, extension: str, *options: int) -> bytes:
    bgr = rgb[..., ::-1] if rgb.ndim == 3 else rgb
    return cv2.imencode(extension, np.ascontiguousarray(bgr), list(options))[1].tobytes()


def message(data: bytes, format: str = "jpeg") -> CompressedImage:
    return CompressedImage(format=format, data=array("B", data))


JPEG = encode(picture(), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)
PROGRESSIVE = encode(picture(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = encode(picture(), ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
PNG = encode(picture(), ".png")


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, RESTARTS], ids=["baseline", "progressive", "restarts"])
def test_jpeg(data, receive):
    got = compressed_image_from_ros(receive(message(data)))
    assert got.shape == (48, 64, 3)
    assert np.abs(got.astype(int) - picture()).mean() < 3


def test_png_is_exact(receive):
    np.testing.assert_array_equal(compressed_image_from_ros(receive(message(PNG, "png"))), picture())


def test_grey_and_sixteen_bit_png():
    grey = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    got = compressed_image_from_ros(message(encode(grey, ".png"), "mono16; png compressed "))
    np.testing.assert_array_equal(got[..., 2], grey >> 8)


def test_trailing_zero_padding_is_no_fault():
    """Hardware encoders hand over fixed-size buffers."""
    assert compressed_image_from_ros(message(JPEG + bytes(100))).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("format", "swapped"),
    [
        ("jpeg", False),
        ("jpg", False),
        ("", False),
        ("rgb8; jpeg compressed bgr8", False),
        ("bgr8; jpeg compressed bgr8", False),
        ("bgr8; jpeg compressed rgb8", True),
        ("rgb8; jpeg compressed rgb8", True),
        ("bgra8; png compressed bgra8", False),
        ("bayer_rggb8; jpeg compressed bgr8", False),
        ("mono8; jpeg compressed ", False),
    ],
)
def test_colour_order_follows_the_format_string(format, swapped):
    """compressed_image_transport's rule: what was not swapped to bgr for the encoder is stored as rgb."""
    data = encode(picture(), ".png")
    want = picture()[..., ::-1] if swapped else picture()
    np.testing.assert_array_equal(compressed_image_from_ros(message(data, format)), want)


def test_exif_orientation_is_ignored():
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    rotated = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + JPEG[2:]
    np.testing.assert_array_equal(
        compressed_image_from_ros(message(rotated)), compressed_image_from_ros(message(JPEG))
    )


def test_a_thumbnail_in_the_header_does_not_hide_a_cut():
    """An EXIF thumbnail brings an end-of-image marker of its own."""
    app1 = b"Exif\0\0" + encode(picture(8, 8), ".jpg")
    data = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + JPEG[2:]
    assert compressed_size_wh(np.frombuffer(data, np.uint8)) == (64, 48)
    with pytest.raises(FrameError, match="end-of-image"):
        compressed_image_from_ros(message(data[:-200]))


@pytest.mark.parametrize(
    "data", [JPEG, PROGRESSIVE, RESTARTS, PNG], ids=["jpeg", "progressive", "rst", "png"]
)
def test_every_cut_is_refused(data):
    for length in range(0, len(data) - 1, 7):
        with pytest.raises(FrameError):
            compressed_image_from_ros(message(data[:length]))


def test_bytes_missing_in_the_middle_are_seen():
    """The decoder runs out early and fills the rest with grey, without an error."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    data = encode(noise, ".jpg")
    with pytest.raises(FrameError, match="missing in the middle"):
        compressed_image_from_ros(message(data[: len(data) // 2] + data[len(data) // 2 + 5000 :]))


@pytest.mark.parametrize("halvings", [1, 2, 3, 4])
@pytest.mark.parametrize("size_wh", [(64, 48), (67, 51)])
def test_a_jpeg_is_halved_while_decoding(halvings, size_wh):
    """What the decoder leaves out is what averaging would have removed, at the same place."""
    rgb = picture(size_wh[1] * 4, size_wh[0] * 4)
    image = encoded_image_from_ros(message(encode(rgb, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98)))
    pixels = image.decode(halvings)
    assert image.size_wh == (size_wh[0] * 4, size_wh[1] * 4) and pixels.halved == min(halvings, 3)
    n = 2**pixels.halved
    whole = rgb[: rgb.shape[0] // n * n, : rgb.shape[1] // n * n].astype(float)
    want = whole.reshape(whole.shape[0] // n, n, -1, n, 3).mean(axis=(1, 3))
    got = pixels.to_rgb()[: want.shape[0], : want.shape[1]]
    assert np.abs(got - want).mean() < 1.5
    assert np.abs((got - want).mean(axis=(0, 1))).max() < 0.7  # a shift would show on these ramps


def test_a_png_is_never_halved():
    pixels = encoded_image_from_ros(message(PNG, "png")).decode(2)
    assert pixels.halved == 0 and pixels.size_wh == (64, 48)


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_a_really_grey_picture_is_no_fault(options):
    grey = np.full((40, 56, 3), 128, np.uint8)
    np.testing.assert_array_equal(compressed_image_from_ros(message(encode(grey, ".jpg", *options))), grey)


def png_claiming(width: int, height: int) -> bytes:
    """A tiny PNG whose header announces a huge image, checksum and all."""
    header = b"IHDR" + struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


def jpeg_claiming(width: int, height: int) -> bytes:
    start = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:start] + struct.pack(">HH", height, width) + JPEG[start + 4 :]


@pytest.mark.parametrize(
    "data", [png_claiming(60000, 60000), jpeg_claiming(60000, 60000)], ids=["png", "jpeg"]
)
def test_a_bomb_is_refused_before_decoding(data, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(FrameError, match="at most 64000000 px"):
        compressed_image_from_ros(message(data))


def test_the_pixel_limit_is_exact():
    assert compressed_image_from_ros(message(JPEG), max_pixels=48 * 64).size
    with pytest.raises(FrameError, match="max_pixels"):
        compressed_image_from_ros(message(JPEG), max_pixels=48 * 64 - 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"GIF89a" + bytes(50),
        bytes(100),
        b"\xff\xd8\xff\xd9",
        PNG[:8],
        jpeg_claiming(0, 0),
    ],
)
def test_no_image_at_all(data, receive):
    with pytest.raises(FrameError) as caught:
        compressed_image_from_ros(receive(message(data)))
    assert caught.value.received and caught.value.remedy


def test_a_flipped_bit_in_a_png_is_seen():
    damaged = bytearray(PNG)
    damaged[len(PNG) // 2] ^= 4
    with pytest.raises(FrameError, match="CRC"):
        compressed_image_from_ros(message(bytes(damaged), "png"))


@settings(max_examples=300, deadline=None)
@given(
    source=st.sampled_from([JPEG, PROGRESSIVE, RESTARTS, PNG]),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=12),
    cut=st.floats(0, 1) | st.just(1.0),
)
def test_damaged_files_give_an_image_or_a_frame_error(source, edits, cut):
    data = bytearray(source)
    for where, value in edits:
        data[int(where * len(data))] = value
    try:
        got = compressed_image_from_ros(message(bytes(data[: int(cut * len(data))])), max_pixels=1_000_000)
    except FrameError:
        return
    assert got.ndim == 3 and got.shape[2] == 3 and got.dtype == np.uint8


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), prefix=st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"]))
def test_rubbish_is_refused(data, prefix):
    with pytest.raises(FrameError):
        compressed_image_from_ros(message(prefix + data))
