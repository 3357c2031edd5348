"""Settings of preprocessing; defaults and ranges live here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from vision_nodes.config import setting
from vision_nodes.messages.from_ros import MAX_PIXELS


@dataclass(frozen=True)
class PreprocessSettings:
    """Working size and what is accepted from the camera."""

    max_width: int = setting(
        640,
        "width of the working image, px; smaller sources keep their size",
        minimum=16,
        maximum=8192,
        live=False,
    )
    rectify: bool = setting(
        True, "undistort with camera_info; false when the image is already rectified", live=False
    )
    max_pixels: int = setting(
        MAX_PIXELS, "images with more pixels are refused before decoding", minimum=1, live=False
    )
    restart_jump_s: float = setting(
        1.0, "stamps that jump back by more than this start a new run (bag loop)", minimum=0.0, live=False
    )


@dataclass(frozen=True)
class PairingSettings:
    """How an image finds its camera_info."""

    wait_frames: int = setting(
        2, "images that may wait for the camera_info of their stamp", minimum=0, maximum=30, live=False
    )
    timeout_s: float = setting(
        1.0,
        "without any camera_info for this long the camera counts as uncalibrated",
        minimum=0.0,
        live=False,
    )
    max_age_s: float = setting(
        0.0,
        "oldest camera_info used for a later image, 0 = any (latched calibration)",
        minimum=0.0,
        live=False,
    )
