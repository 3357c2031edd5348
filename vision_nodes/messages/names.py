"""Names inside messages that writers and readers must agree on."""

from __future__ import annotations

ODOMETRY_STATUS_NAME = "odometry"  # DiagnosticStatus.name on odometry/state
CROWD_ID = "crowd"  # Detection2D.id of a true box that stands for many things: neither counts nor punishes
_KEYFRAME_PREFIX = "keyframe_"


def keyframe_frame(keyframe_id: int) -> str:
    """frame_id of a keyframe's camera."""
    return f"{_KEYFRAME_PREFIX}{keyframe_id}"


def keyframe_id(frame_id: str) -> int:
    """Id of the keyframe that a frame_id names.

    Raises:
        ValueError: the frame_id names no keyframe.
    """
    prefix, separator, digits = frame_id.rpartition(_KEYFRAME_PREFIX)
    if prefix or not separator or not digits.isdecimal():
        raise ValueError(f"expected a frame_id {_KEYFRAME_PREFIX}<number>, received {frame_id!r}")
    return int(digits)
