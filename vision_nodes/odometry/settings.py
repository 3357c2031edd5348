"""Every number the odometry can be tuned by, with its unit and range."""

from __future__ import annotations

from dataclasses import dataclass

from vision_nodes.config import check_settings, setting
from vision_nodes.errors import ConfigError


@dataclass(frozen=True)
class OdometrySettings:
    """Settings of `VisualOdometry`; pixels are those of the working image."""

    # front end
    front_end: str = setting(
        "klt",
        "how points are found again: Lucas-Kanade alone, or learned features first",
        choices=("klt", "features"),
        live=False,
    )
    features_model: str = setting("features", "model of the front end features", live=False)
    max_tracks: int = setting(320, "points followed at a time", minimum=60, maximum=2000, live=False)
    window_px: int = setting(17, "side of the Lucas-Kanade window", minimum=7, maximum=61, live=False)
    pyramid_levels: int = setting(
        3, "halvings of the image that Lucas-Kanade searches", minimum=1, maximum=6, live=False
    )
    forward_backward_px: float = setting(
        0.8, "largest distance after following there and back", minimum=0.05, maximum=5.0, live=False
    )
    # initialisation
    min_parallax_px: float = setting(
        4.0, "median parallax (rotation removed) of a first map", minimum=1.0, maximum=100.0, live=False
    )
    static_motion_px: float = setting(
        1.0, "median flow under which the camera counts as still", minimum=0.1, maximum=10.0, live=False
    )
    min_init_points: int = setting(60, "points a first map needs", minimum=20, maximum=1000, live=False)
    # tracking
    pixel_sigma: float = setting(
        0.7, "1-sigma of a tracked position, px", minimum=0.1, maximum=5.0, live=False
    )
    min_inliers: int = setting(
        15, "landmarks in view that make the state tracking", minimum=6, maximum=200, live=False
    )
    # mapping
    keyframe_parallax_px: float = setting(
        18.0, "median parallax that makes a keyframe", minimum=2.0, maximum=200.0, live=False
    )
    keyframe_overlap: float = setting(
        0.7, "a keyframe is made when this share of landmarks is left", minimum=0.1, maximum=0.95, live=False
    )
    min_triangulation_deg: float = setting(
        1.0, "parallax angle of a new landmark", minimum=0.1, maximum=10.0, live=False
    )
    max_keyframes: int = setting(
        60, "keyframes kept: 0.4 MB each at 640x480", minimum=12, maximum=1000, live=False
    )
    # bundle adjustment
    bundle_adjustment: bool = setting(
        True, "optimise a window of keyframes in a process of its own", live=False
    )
    window_keyframes: int = setting(8, "free keyframes of the window", minimum=3, maximum=40, live=False)
    lock_step: bool = setting(False, "wait for every optimisation: repeatable byte for byte", live=False)
    # scale
    scale: str = setting(
        "unscaled",
        "where metres come from",
        choices=("unscaled", "from_depth", "from_odometry", "from_height"),
        live=False,
    )
    scale_timeout_s: float = setting(
        3.0, "how long a first pose waits for its scale", minimum=0.0, maximum=60.0, live=False
    )
    camera_height_m: float = setting(
        0.0, "height over the ground plane, for from_height", minimum=0.0, maximum=100.0, live=False
    )
    # loss
    relocalise_s: float = setting(
        2.0, "search in the old map this long, then start a new one", minimum=0.0, maximum=600.0, live=False
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.scale == "from_height" and self.camera_height_m <= 0:
            raise ConfigError("camera_height_m > 0 for from_height", f"{self.camera_height_m}", "measure it")
        if self.max_keyframes < self.window_keyframes:
            raise ConfigError("max_keyframes >= window_keyframes", str(self.max_keyframes), "raise it")
