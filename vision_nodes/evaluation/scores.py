"""What scoring a run leaves: figures, and the per-frame values they come from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vision_nodes.evaluation.calibration import Reliability
from vision_nodes.evaluation.detection import DetectionFrame
from vision_nodes.evaluation.odometry import Trajectories
from vision_nodes.evaluation.places import PrecisionRecall
from vision_nodes.evaluation.recording import Recording
from vision_nodes.evaluation.segmentation import SegmentationScore


@dataclass
class Scores:
    """Figures of a run, and what charts, worst frames and comparisons are made of."""

    metrics: dict[str, Any]
    recording: Recording
    detection_frames: dict[int, DetectionFrame] = field(default_factory=dict)
    detection_names: list[str] = field(default_factory=list)
    detection_confusion: np.ndarray | None = None  # (K + 1, K + 1), see calibration.detection_confusion
    reliability: Reliability | None = None
    segmentation: SegmentationScore | None = None
    frame_confusion: dict[int, np.ndarray] = field(default_factory=dict)  # stamp -> (K, K + 1)
    frame_accuracy: dict[int, float] = field(default_factory=dict)  # stamp -> pixel accuracy
    frame_depth: dict[int, dict[str, float]] = field(default_factory=dict)
    trajectories: Trajectories | None = None
    query_hits: dict[int, bool] = field(default_factory=dict)  # revisiting keyframe -> best match is right
    place_curve: PrecisionRecall | None = None


def missing_truth(topic: str, results: Collection[int], truth: Collection[int]) -> str:
    """Why nothing could be joined: no truth on the topic, or none at the stamps of the results."""
    if not truth:
        return f"no truth on {topic}"
    spans = [f"{min(s) * 1e-9:.3f} to {max(s) * 1e-9:.3f} s" for s in (results, truth) if s]
    return f"no common stamp: results span {spans[0]}, truth on {topic} {spans[-1]}"
