"""One results bag -> the figures of every task."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vision_nodes import __version__
from vision_nodes.datatypes import Detections
from vision_nodes.evaluation.depth import compare_depth, mean_figures
from vision_nodes.evaluation.detection import DetectionFrame, score_detections
from vision_nodes.evaluation.latency import score_latency
from vision_nodes.evaluation.odometry import Trajectories, ate, score_odometry
from vision_nodes.evaluation.places import Closure, Overlaps, PlaceRun, closure_errors, score_places
from vision_nodes.evaluation.recording import Recording, read_recording
from vision_nodes.evaluation.segmentation import SegmentationScore
from vision_nodes.messages.from_ros import depth_image_from_ros, detections_from_ros, mask_from_ros
from vision_nodes.tasks.classes import GENERAL_CLASSES

TASKS = ("detection", "segmentation", "depth", "odometry", "places")
TRACKED = ("tracking", "degraded")


@dataclass
class Scores:
    """Figures of a run, and the per-frame values they come from (for worst frames and comparisons)."""

    metrics: dict[str, Any]
    recording: Recording
    detection_frames: dict[int, DetectionFrame] = field(default_factory=dict)
    detection_names: list[str] = field(default_factory=list)
    segmentation: SegmentationScore | None = None
    frame_accuracy: dict[int, float] = field(default_factory=dict)  # stamp -> pixel accuracy
    frame_depth: dict[int, dict[str, float]] = field(default_factory=dict)
    trajectories: Trajectories | None = None


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


def _score_detection(scores: Scores) -> dict[str, Any]:
    recording = scores.recording
    if not recording.detections:
        return {"reason": "no results on /detections"}
    counts = [len(message.detections) for message in recording.detections.values()]
    figures = {"frames": len(counts), "per_frame": float(np.mean(counts))}
    if not recording.truth_detections:
        return figures | {"reason": "no truth on /ground_truth/detections"}
    predicted_names = _class_names(recording.detections.values())
    true_names = _class_names(recording.truth_detections.values())
    model_names = set(_model_classes(recording)) or predicted_names
    # A class that the model does not know, or that the world does not have, says nothing about either.
    names = sorted(true_names & model_names)
    if not names:
        return figures | {
            "reason": f"no common class: truth has {sorted(true_names)}, results {sorted(predicted_names)}"
        }
    for stamp, message in recording.detections.items():
        if stamp in recording.truth_detections:
            truth = recording.truth_detections[stamp]
            scores.detection_frames[stamp] = DetectionFrame(_named(message, names), _named(truth, names))
    scores.detection_names = names
    return figures | score_detections(list(scores.detection_frames.values()), names)


def _named(message: Any, names: list[str]) -> Detections:
    """Detections of a message whose class is among `names`."""
    kept = [d for d in message.detections if d.results and d.results[0].hypothesis.class_id in names]
    return detections_from_ros(_Kept(kept), names)


@dataclass(frozen=True)
class _Kept:
    detections: list[Any]


def _class_names(messages: Any) -> set[str]:
    return {d.results[0].hypothesis.class_id for m in messages for d in m.detections if d.results}


def _model_classes(recording: Recording) -> list[str]:
    """Class names of the detector that made the bag, as far as it is installed here."""
    from vision_nodes.engine.models import find_model
    from vision_nodes.errors import ModelError

    name = recording.metadata.get("model.detection", "detection").split(" ")[0]
    try:
        return list(find_model(name)[0].class_names)
    except ModelError:
        return []


def _score_segmentation(scores: Scores) -> dict[str, Any]:
    recording = scores.recording
    stamps = recording.stamps("/segmentation/mask")
    if not stamps:
        return {"reason": "no results on /segmentation/mask"}
    names = recording.label_names or list(GENERAL_CLASSES)
    total = SegmentationScore(names)
    for stamp in stamps:
        truth = recording.picture("/ground_truth/segmentation", stamp)
        if truth is None:
            continue
        one = SegmentationScore(names)
        one.add(mask_from_ros(recording.picture("/segmentation/mask", stamp)), mask_from_ros(truth))
        total.confusion += one.confusion
        accuracy = one.figures()["pixel_accuracy"]
        if isinstance(accuracy, float):
            scores.frame_accuracy[stamp] = accuracy
    if not scores.frame_accuracy:
        return {"frames": len(stamps), "reason": "no truth on /ground_truth/segmentation"}
    scores.segmentation = total
    return {"frames": len(scores.frame_accuracy), **total.figures()}


def _score_depth(scores: Scores) -> dict[str, Any]:
    recording = scores.recording
    stamps = recording.stamps("/depth/image")
    if not stamps:
        return {"reason": "no metric results on /depth/image"}
    for stamp in stamps:
        truth = recording.picture("/ground_truth/depth", stamp)
        if truth is not None:
            found = depth_image_from_ros(recording.picture("/depth/image", stamp))
            scores.frame_depth[stamp] = compare_depth(found, depth_image_from_ros(truth))
    if not scores.frame_depth:
        return {"frames": len(stamps), "reason": "no truth on /ground_truth/depth"}
    return mean_figures(list(scores.frame_depth.values()))


def _score_odometry(scores: Scores) -> dict[str, Any]:
    recording = scores.recording
    if not recording.states:
        return {"reason": "no results on /odometry/state"}
    states = [state.state.value for state in recording.states.values()]
    tracked = sum(state in TRACKED for state in states)
    # A live run drops frames on purpose; the share is of the frames odometry has answered.
    figures: dict[str, Any] = {
        "states": {name: states.count(name) for name in sorted(set(states))},
        "scale_states": sorted(
            {s.scale_state.value for s in recording.states.values() if s.state.value in TRACKED}
        ),
    }
    if not recording.truth_poses:
        return (
            figures
            | score_odometry(_no_poses(), len(states), tracked)
            | {"reason": "no truth on /ground_truth/pose"}
        )
    scores.trajectories = trajectories_of(recording, corrected=False)
    figures |= score_odometry(scores.trajectories, len(states), tracked)
    if recording.T_map_odom and len(scores.trajectories.stamps_ns) >= 3:
        figures["ate_sim3_map_m"] = ate(trajectories_of(recording, corrected=True), with_scale=True)[0]
    return figures


def trajectories_of(recording: Recording, *, corrected: bool) -> Trajectories:
    """Published camera poses with the truth at the same stamps.

    Args:
        corrected: compose each pose with the map -> odom that was published with it, as a robot would
            have seen its pose in the map at that moment.
    """
    T_base_cam = np.eye(4) if recording.T_base_cam is None else recording.T_base_cam
    stamps = sorted(set(recording.poses) & set(recording.truth_poses))
    if corrected:
        stamps = [stamp for stamp in stamps if stamp in recording.T_map_odom]
    if not stamps:
        return _no_poses()
    found = np.array([recording.poses[stamp].T_parent_child for stamp in stamps])
    # Without /tf_static the pose is the camera's own (base_frame ''): then both bodies differ by a fixed
    # rotation only, which does not touch positions.
    found = found @ T_base_cam
    if corrected:
        found = np.array([recording.T_map_odom[stamp] for stamp in stamps]) @ found
    truth = np.array([recording.truth_poses[stamp] for stamp in stamps])
    return Trajectories(np.array(stamps, np.int64), found, truth)


def _no_poses() -> Trajectories:
    return Trajectories(np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 4, 4)))


def _score_places(scores: Scores) -> dict[str, Any]:
    recording = scores.recording
    if not recording.places:
        return {"reason": "no results on /place_matches"}
    if not recording.loops:
        return {
            "keyframes": len(recording.keyframes),
            "closures": len(recording.closures),
            "reason": "no truth on /ground_truth/loops",
        }
    run = place_run(recording)
    figures: dict[str, Any] = dict(score_places(run, Overlaps(recording.loops)))
    trajectories = scores.trajectories or trajectories_of(recording, corrected=False)
    if len(trajectories.stamps_ns) >= 3:
        scale = ate(trajectories, with_scale=True)[1].scale
        figures |= closure_errors(run.closures, recording.truth_poses, scale)
    return figures


def place_run(recording: Recording) -> PlaceRun:
    """Place results by stamps; closures as camera poses."""
    T_base_cam = np.eye(4) if recording.T_base_cam is None else recording.T_base_cam
    stamp_of = recording.keyframes
    ranked = {r.stamp_ns: [stamp_of[i] for i in r.candidate_ids if i in stamp_of] for r in recording.places}
    similarity = {r.stamp_ns: list(r.candidate_scores) for r in recording.places}
    closures = [
        Closure(query, stamp_of[matched], np.linalg.inv(T_base_cam) @ T @ T_base_cam)
        for query, matched, T in recording.closures
        if matched in stamp_of
    ]
    return PlaceRun([r.stamp_ns for r in recording.places], ranked, similarity, closures)


def provenance(recording: Recording) -> dict[str, Any]:
    """Where the figures come from: bag, models and what ran them, versions, machine."""
    return {
        "bag": recording.path.name,
        "version": __version__,
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "unreadable_messages": recording.unreadable,
        "problem": recording.problem,
        "run": dict(sorted(recording.metadata.items())),
        "nodes": {
            node: {
                k: v
                for k, v in values.items()
                if k in ("model", "precision", "backend", "dropped", "rejected")
            }
            for node, values in sorted(recording.diagnostics.items())
        },
    }


_SCORERS = {
    "detection": _score_detection,
    "segmentation": _score_segmentation,
    "depth": _score_depth,
    "odometry": _score_odometry,
    "places": _score_places,
}
