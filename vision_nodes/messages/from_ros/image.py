"""sensor_msgs/Image -> pixels, for every common encoding.

Encoding names as in sensor_msgs/image_encodings; the meaning of `step` and `is_bigendian` as in
sensor_msgs/Image. 16 bits become 8 by ``value >> 8`` (the high byte), so a 16-bit image must use
the whole range, as mono16 is defined to.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np

from vision_nodes.errors import FrameError
from vision_nodes.messages.from_ros.header import bytes_view
from vision_nodes.messages.from_ros.pixels import ChannelOrder, Pixels

MAX_PIXELS = 64_000_000  # larger than any camera a robot carries; guards memory against a broken header
_MAX_SIDE = 32_766  # OpenCV's remap counts source pixels in 16 bits

# encoding -> (channels, bytes per channel, meaning)
_INTERLEAVED = {
    "mono8": (1, 1, ChannelOrder.MONO),
    "8UC1": (1, 1, ChannelOrder.MONO),
    "mono16": (1, 2, ChannelOrder.MONO),
    "16UC1": (1, 2, ChannelOrder.MONO),
    "rgb8": (3, 1, ChannelOrder.RGB),
    "bgr8": (3, 1, ChannelOrder.BGR),
    "8UC3": (3, 1, ChannelOrder.BGR),  # OpenCV's order, as cv_bridge writes it
    "rgba8": (4, 1, ChannelOrder.RGBA),
    "bgra8": (4, 1, ChannelOrder.BGRA),
    "8UC4": (4, 1, ChannelOrder.BGRA),
    "rgb16": (3, 2, ChannelOrder.RGB),
    "bgr16": (3, 2, ChannelOrder.BGR),
    "16UC3": (3, 2, ChannelOrder.BGR),
    "rgba16": (4, 2, ChannelOrder.RGBA),
    "bgra16": (4, 2, ChannelOrder.BGRA),
}
# OpenCV names a Bayer pattern after the second row's second and third pixels: rggb is its "BG".
_BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}
_YUV422 = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
_YUV420 = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
# ITU-R BT.601, limited range (16..235), the matrix OpenCV uses for the 4:2:2 and 4:2:0 encodings.
_BT601 = np.array([[255 / 219, 0.0, 1.596027], [255 / 219, -0.391762, -0.812968], [255 / 219, 2.017232, 0.0]])
_YUV_TO_RGB = np.hstack([_BT601, _BT601 @ np.array([[-16.0], [-128.0], [-128.0]])])

ENCODINGS = (
    *_INTERLEAVED,
    *(f"{name}{bits}" for name in _BAYER for bits in (8, 16)),
    *_YUV422,
    *_YUV420,
    "nv24",
)


def pixels_from_ros(msg: Any, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Pixels of a sensor_msgs/Image; a view into the message where the encoding allows.

    Raises:
        FrameError: unknown encoding, zero or absurd size, row step or data too short.
    """
    size_wh = check_size((int(msg.width), int(msg.height)), max_pixels)
    encoding = str(msg.encoding)
    if encoding in _INTERLEAVED:
        channels, depth, order = _INTERLEAVED[encoding]
        return Pixels(_interleaved(msg, size_wh, channels, depth), order)
    if (
        encoding[:-1] in _BAYER
        and encoding.endswith("8")
        or encoding[:-2] in _BAYER
        and encoding[-2:] == "16"
    ):
        return _bayer(msg, size_wh, encoding)
    if encoding in _YUV422:
        _check_even(size_wh[0], "width", encoding)
        rows = rows_view(msg, size_wh[1], 2 * size_wh[0])
        return _rgb(cv2.cvtColor(rows.reshape(size_wh[1], size_wh[0], 2), _YUV422[encoding]))
    if encoding in _YUV420:
        _check_even(size_wh[0], "width", encoding)
        _check_even(size_wh[1], "height", encoding)
        luma, chroma = _planes(msg, size_wh, size_wh[1] // 2, size_wh[0])
        chroma = chroma.reshape(size_wh[1] // 2, size_wh[0] // 2, 2)
        return _rgb(cv2.cvtColorTwoPlane(luma, chroma, _YUV420[encoding]))
    if encoding == "nv24":
        luma, chroma = _planes(msg, size_wh, size_wh[1], 2 * size_wh[0])
        yuv = cv2.merge([luma, chroma.reshape(size_wh[1], size_wh[0], 2)])
        return _rgb(cv2.transform(yuv, _YUV_TO_RGB))
    raise FrameError(
        f"an image encoding among {', '.join(ENCODINGS)}",
        repr(encoding),
        "set the camera driver's pixel format or encoding to one of these",
    )


def image_from_ros(msg: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image; an unpadded rgb8 image is a view of the message.

    Raises:
        FrameError: as `pixels_from_ros`.
    """
    return pixels_from_ros(msg, max_pixels).to_rgb()


def check_size(size_wh: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """The same size, or FrameError when empty or beyond the limit."""
    width, height = size_wh
    if width < 1 or height < 1:
        raise FrameError("an image of at least 1x1 px", f"{width}x{height}", "check the camera driver")
    if width * height > max_pixels or max(size_wh) > _MAX_SIDE:
        raise FrameError(
            f"at most {max_pixels} px and sides of at most {_MAX_SIDE} px",
            f"{width}x{height} = {width * height} px",
            "lower the camera's resolution or raise max_pixels",
        )
    return size_wh


def rows_view(msg: Any, height: int, row_bytes: int) -> np.ndarray:
    """(height, row_bytes) uint8 view of an Image's rows without their padding.

    Raises:
        FrameError: `step` smaller than a row, or data shorter than step * height.
    """
    data = bytes_view(msg.data)
    step = _check_step(msg, row_bytes)
    # The last row may lack its padding: drivers that crop do that, and no pixel is missing.
    if len(data) < step * (height - 1) + row_bytes:
        raise FrameError(
            f"step * height = {step} * {height} = {step * height} bytes of data",
            f"{len(data)} bytes",
            "the message is cut off: check the driver's step, height and transport",
        )
    return np.lib.stride_tricks.as_strided(data, (height, row_bytes), (step, 1))


def high_bytes(rows: np.ndarray, is_bigendian: bool) -> np.ndarray:
    """(H, 2 N) bytes of 16-bit values -> (H, N) uint8, ``value >> 8``."""
    pairs = rows.reshape(rows.shape[0], rows.shape[1] // 2, 2)
    return cv2.extractChannel(pairs, 0 if is_bigendian else 1)


def native_uint16(rows: np.ndarray, is_bigendian: bool) -> np.ndarray:
    """(H, 2 N) bytes -> (H, N) uint16 in this machine's byte order."""
    values = np.ascontiguousarray(rows).view(np.uint16)
    return values.byteswap() if bool(is_bigendian) != (sys.byteorder == "big") else values


def _interleaved(msg: Any, size_wh: tuple[int, int], channels: int, depth: int) -> np.ndarray:
    width, height = size_wh
    rows = rows_view(msg, height, width * channels * depth)
    if depth == 2:
        rows = high_bytes(rows, bool(msg.is_bigendian))
    return rows if channels == 1 else rows.reshape(height, width, channels)


def _bayer(msg: Any, size_wh: tuple[int, int], encoding: str) -> Pixels:
    width, height = size_wh
    if min(size_wh) < 3:
        raise FrameError(f"at least 3x3 px for {encoding}", f"{width}x{height}", "check the camera driver")
    if encoding.endswith("16"):
        mosaic = high_bytes(rows_view(msg, height, 2 * width), bool(msg.is_bigendian))
        return _rgb(cv2.cvtColor(mosaic, _BAYER[encoding[:-2]]))
    return _rgb(cv2.cvtColor(rows_view(msg, height, width), _BAYER[encoding[:-1]]))


def _planes(
    msg: Any, size_wh: tuple[int, int], chroma_rows: int, chroma_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Luma (H, W) and interleaved chroma (chroma_rows, chroma_bytes), both C-contiguous.

    Drivers disagree about `step` here (row of luma, or size / height so that step * height is the
    length), so data of exactly the tight length are read as tight whatever the step.
    """
    width, height = size_wh
    data = bytes_view(msg.data)
    step = _check_step(msg, width)
    luma_bytes = width * height
    tight = luma_bytes + chroma_rows * chroma_bytes
    if len(data) == tight or step == width and len(data) >= tight:
        return data[:luma_bytes].reshape(height, width), data[luma_bytes:tight].reshape(chroma_rows, -1)
    chroma_step = step * (chroma_bytes // width)
    needed = step * height + chroma_step * chroma_rows
    if len(data) < needed:
        raise FrameError(
            f"{needed} bytes: luma {step} * {height} and chroma {chroma_step} * {chroma_rows}",
            f"{len(data)} bytes",
            f"set height to the luma rows and step to a luma row's bytes ({msg.encoding})",
        )
    luma = data[: step * height].reshape(height, step)[:, :width]
    chroma = data[step * height : needed].reshape(chroma_rows, chroma_step)[:, :chroma_bytes]
    return np.ascontiguousarray(luma), np.ascontiguousarray(chroma)


def _check_step(msg: Any, row_bytes: int) -> int:
    step = int(msg.step)
    if step < row_bytes:
        raise FrameError(
            f"step of at least {row_bytes} bytes for {int(msg.width)} px of {msg.encoding}",
            f"step {step}",
            "check width, encoding and step in the camera driver",
        )
    return step


def _check_even(length: int, name: str, encoding: str) -> None:
    if length % 2:
        raise FrameError(
            f"an even {name} for {encoding} (chroma is subsampled)", f"{length}", "crop the image"
        )


def _rgb(array: np.ndarray) -> Pixels:
    return Pixels(array, ChannelOrder.RGB)
