"""Every number the odometry can be tuned by, with its unit and the reason for its default."""

from __future__ import annotations

from dataclasses import dataclass

from vision_nodes.errors import ConfigError

SCALE_SOURCES = ("unscaled", "from_depth", "from_odometry", "from_height")


@dataclass(frozen=True)
class OdometrySettings:
    """Settings of `VisualOdometry`; lengths in pixels are for the working image as it comes."""

    # front end
    max_tracks: int = 320  # KLT cost grows with it; accuracy does not beyond about 300
    window_px: int = 21
    pyramid_levels: int = 3  # 2^3 * 10 px of search range around the prediction
    forward_backward_px: float = 0.8
    # initialisation
    min_parallax_px: float = 4.0  # median, rotation removed: below it two views give no depth
    static_motion_px: float = 1.0  # median flow under which the camera counts as still
    min_init_points: int = 60
    # tracking
    pixel_sigma: float = 0.7  # 1-sigma of a KLT position, px
    min_inliers: int = 15  # triangulated landmarks needed for `tracking`
    # mapping
    keyframe_parallax_px: float = 18.0
    keyframe_overlap: float = 0.7  # share of the last keyframe's landmarks still tracked
    min_triangulation_deg: float = 1.0
    max_keyframes: int = 60  # bounds memory; about 0.4 MB each at 640x480
    # bundle adjustment
    bundle_adjustment: bool = True
    window_keyframes: int = 8
    lock_step: bool = False  # wait for every result: replay is then repeatable byte for byte
    # scale
    scale: str = "unscaled"  # one of SCALE_SOURCES
    scale_timeout_s: float = 3.0  # after which an unscaled pose is published all the same
    camera_height_m: float = 0.0  # over the ground plane, for `from_height`
    # loss
    relocalise_s: float = 2.0  # then a new map starts at the last pose

    def __post_init__(self) -> None:
        if self.scale not in SCALE_SOURCES:
            raise ConfigError(f"scale among {SCALE_SOURCES}", repr(self.scale), "change the parameter")
        if self.scale == "from_height" and self.camera_height_m <= 0:
            raise ConfigError("camera_height_m > 0 for from_height", f"{self.camera_height_m}", "measure it")
        for name in ("max_tracks", "window_px", "min_init_points", "min_inliers", "window_keyframes"):
            if getattr(self, name) < 4:
                raise ConfigError(f"{name} >= 4", str(getattr(self, name)), "use the default")
        if self.max_keyframes < self.window_keyframes:
            raise ConfigError("max_keyframes >= window_keyframes", str(self.max_keyframes), "raise it")
