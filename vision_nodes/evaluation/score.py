"""One results bag -> the figures of every task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vision_nodes.evaluation.latency import score_latency
from vision_nodes.evaluation.provenance import provenance
from vision_nodes.evaluation.recording import Recording, read_recording
from vision_nodes.evaluation.score_motion import score_motion, score_place_run
from vision_nodes.evaluation.score_pictures import score_depth, score_detection, score_segmentation
from vision_nodes.evaluation.scores import Scores

__all__ = ["TASKS", "Scores", "score_bag", "score_recording"]

_SCORERS = {
    "detection": score_detection,
    "segmentation": score_segmentation,
    "depth": score_depth,
    "odometry": score_motion,
    "places": score_place_run,
}
TASKS = tuple(_SCORERS)


def score_bag(
    path: str | Path, *, tasks: Sequence[str] | None = None, ground_truth: str | Path | None = None
) -> dict[str, Any]:
    """All figures of a results bag as a JSON-able dictionary; see `score_recording`."""
    return score_recording(read_recording(path, ground_truth), tasks or TASKS).metrics


def score_recording(recording: Recording, tasks: Sequence[str] = TASKS) -> Scores:
    """Score every task that has results; one without truth says so under ``reason``.

    Values that cannot be computed are None, never NaN.
    """
    scores = Scores(score_latency(recording), recording)
    for task in tasks:
        scores.metrics[task] = _SCORERS[task](scores)
    scores.metrics["provenance"] = provenance(recording)
    return scores
