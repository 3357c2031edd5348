"""Stamps and byte buffers of messages, read by field name only."""

from __future__ import annotations

from typing import Any

import numpy as np

from vision_nodes.errors import FrameError


def stamp_ns(header: Any) -> int:
    """Nanoseconds of a std_msgs/Header."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def bytes_view(data: Any) -> np.ndarray:
    """(N,) uint8 view of a message's `data` field, no copy.

    rclpy hands over `array.array`, rosbags a numpy array, other readers `bytes`.

    Raises:
        FrameError: the field is no byte buffer.
    """
    try:
        return np.frombuffer(data, np.uint8) if len(data) else np.zeros(0, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise FrameError(
            "a contiguous byte buffer in `data`", f"{type(data).__name__} ({error})", "check the publisher"
        ) from error
