"""Depth images (REP 118) -> float32 metres with NaN for invalid."""

from __future__ import annotations

from typing import Any

import numpy as np

from vision_nodes.errors import FrameError
from vision_nodes.messages.from_ros.image import MAX_PIXELS, check_size, native_uint16, rows_view


def depth_image_from_ros(msg: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W) float32 metres along z, NaN invalid, of a depth sensor_msgs/Image.

    32FC1 is metres; 16UC1 (and mono16, which some drivers write) millimetres with 0 = invalid. Zero,
    negative and infinite values become NaN: REP 117's infinities carry no depth.

    Raises:
        FrameError: another encoding, zero or absurd size, step or data too short.
    """
    width, height = check_size((int(msg.width), int(msg.height)), max_pixels)
    encoding = str(msg.encoding)
    if encoding == "32FC1":
        rows = np.ascontiguousarray(rows_view(msg, height, 4 * width))
        depth_m = rows.view(">f4" if msg.is_bigendian else "<f4").astype(np.float32)
    elif encoding in ("16UC1", "mono16"):
        rows = rows_view(msg, height, 2 * width)
        depth_m = native_uint16(rows, bool(msg.is_bigendian)).astype(np.float32)
        depth_m *= np.float32(0.001)
    else:
        raise FrameError(
            "a depth image of encoding 32FC1 (metres) or 16UC1 (millimetres)",
            repr(encoding),
            "subscribe to the depth topic, not to the colour image",
        )
    with np.errstate(invalid="ignore"):
        depth_m[~((depth_m > 0) & np.isfinite(depth_m))] = np.nan
    return depth_m
