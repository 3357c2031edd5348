"""Settings of place recognition: flat dataclasses, so that ROS parameters can be made from them.

Monocular odometry may have no metres. Lengths are therefore fractions of the scene's median depth wherever
something depends on them: 0.1 is 25 cm in a room and 2 m in a street.
"""

from __future__ import annotations

from dataclasses import dataclass

from vision_nodes.config import check_settings, setting


@dataclass(frozen=True)
class KeyframeSettings:
    """When a frame becomes a keyframe: any threshold reached; 0 takes every frame."""

    keyframe_distance_depths: float = setting(
        0.12, "distance since the last keyframe / the scene's median depth", minimum=0.0
    )
    keyframe_distance_m: float = setting(
        0.25, "the same where no depth is known yet, in the odometry's unit", minimum=0.0
    )
    keyframe_rotation_deg: float = setting(10.0, "rotation since the last keyframe, deg", minimum=0.0)
    keyframe_without_pose_s: float = setting(0.5, "time between keyframes without odometry, s", minimum=0.0)
    keyframe_min_interval_s: float = setting(
        0.1, "keyframes are never denser: bounds the descriptor network's load, s", minimum=0.0
    )


@dataclass(frozen=True)
class VerificationSettings:
    """What counts as the same place once geometry has been solved."""

    verified_candidates: int = setting(4, "ranked candidates that are verified", minimum=1)
    match_ratio: float = setting(0.9, "Lowe's ratio of descriptor distances", minimum=0.1, maximum=1.0)
    epipolar_px: float = setting(1.5, "inlier threshold for a 640 px wide image", minimum=0.1)
    min_inliers: int = setting(30, "matches that agree with the pose", minimum=6)
    min_inlier_ratio: float = setting(0.2, "inliers / matches", minimum=0.0, maximum=1.0)
    min_coverage: float = setting(
        0.2, "share of a 6 x 6 image grid that holds inliers", minimum=0.0, maximum=1.0
    )
    max_sigma_deg: float = setting(
        0.5, "1-sigma rotation by which parts of the image may disagree about the pose", minimum=0.01
    )
    min_support: float = setting(0.03, "inliers / landmarks in view of the pose", minimum=0.0, maximum=1.0)


@dataclass(frozen=True)
class GraphSettings:
    """Noise of the pose graph and how the correction reaches the robot."""

    odometry_sigma_depths: float = setting(
        0.004, "1-sigma translation error of one keyframe step / scene depth", minimum=1e-6
    )
    odometry_drift: float = setting(0.02, "1-sigma translation error / distance", minimum=0.0)
    odometry_sigma_deg: float = setting(0.2, "1-sigma rotation error of one keyframe step, deg", minimum=1e-6)
    odometry_drift_deg: float = setting(
        0.2, "1-sigma rotation error after travelling one scene depth, deg", minimum=0.0
    )
    scale_drift: float = setting(
        0.03,
        "1-sigma log drift of a monocular odometry's unit on one scene depth of way or one radian of turn",
        minimum=0.0,
    )
    closure_gate: float = setting(
        4.0, "sigmas by which a closure may contradict the odometry before it is refused", minimum=1.0
    )
    closure_trust_depths: float = setting(
        0.25,
        "a closure predicted less exactly than this, in scene depths, waits for one that agrees",
        minimum=0.0,
    )
    smoothing_s: float = setting(1.0, "time constant of map -> odom, s", minimum=1e-3)
    solve_timeout_s: float = setting(60.0, "the solver process is started anew beyond this, s", minimum=1.0)
    lock_step: bool = setting(False, "wait for the solver: deterministic replay", live=False)


@dataclass(frozen=True)
class PlaceSettings(KeyframeSettings, VerificationSettings, GraphSettings):
    """Everything `PlaceRecogniser` can be told."""

    descriptor_model: str = setting(
        "", "identity of the descriptor network; a map made by another is refused", live=False
    )
    local_features: str = setting(
        "sift", "features for verification", choices=("sift", "orb"), live=False
    )  # fmt: skip
    max_features: int = setting(800, "local features of a keyframe", minimum=50, live=False)
    feature_scale: float = setting(
        0.75, "the image is shrunk by this for local features", minimum=0.25, maximum=1.0, live=False
    )
    candidates: int = setting(10, "ranked matches reported", minimum=1)
    min_similarity: float = setting(-1.0, "candidates below are not reported", minimum=-1.0, maximum=1.0)
    min_gap_s: float = setting(6.0, "what was seen less long ago is no revisit, s", minimum=0.0)
    flat_limit: int = setting(
        10_000, "keyframes searched exhaustively; beyond, an HNSW graph grows", minimum=1, live=False
    )
    forget_view: float = setting(
        0.2,
        "a keyframe is forgotten when an older one of another pass is nearer than this; 1 = hardly any overlap, 0 = never",
        minimum=0.0,
        maximum=1.0,
    )
    forget_similarity: float = setting(
        0.85, "and looks at least this much alike", minimum=-1.0, maximum=1.0
    )  # fmt: skip
    max_keyframes: int = setting(
        20_000, "0.12 MB each; beyond, the most redundant are dropped", minimum=2
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_settings(self)
