"""Settings of the tracker: flat, so that ROS parameters can be made from them."""

from __future__ import annotations

from dataclasses import dataclass

from vision_nodes.config import check_settings, setting


@dataclass(frozen=True)
class TrackerSettings:
    """Association thresholds and how long an unseen object is remembered."""

    high_score: float = setting(
        0.5, "detections from here on start and continue tracks", minimum=0, maximum=1
    )
    low_score: float = setting(0.1, "weaker ones only continue tracks, never start", minimum=0, maximum=1)
    min_iou: float = setting(0.2, "overlap of a strong detection with the prediction", minimum=0, maximum=1)
    min_iou_low: float = setting(0.4, "overlap of a weak detection with the prediction", minimum=0, maximum=1)
    confirm_hits: int = setting(2, "detections before an object gets its id", minimum=1)
    memory_s: float = setting(1.5, "how long an unseen object keeps its id, s", minimum=0.0)
    class_aware: bool = setting(True, "never join detections of different classes")
    compensate_motion: bool = setting(True, "follow the camera's motion by image flow")

    def __post_init__(self) -> None:
        check_settings(self)
