"""Detection, segmentation and depth of a recording against its truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vision_nodes.datatypes import Detections
from vision_nodes.evaluation.calibration import class_figures, detection_confusion, detection_reliability
from vision_nodes.evaluation.class_names import translate_labels
from vision_nodes.evaluation.depth import compare_depth, mean_figures
from vision_nodes.evaluation.detection import DetectionFrame, score_detections
from vision_nodes.evaluation.matching import box_overlaps
from vision_nodes.evaluation.recording import Recording
from vision_nodes.evaluation.scores import Scores, missing_truth
from vision_nodes.evaluation.segmentation import SegmentationScore
from vision_nodes.evaluation.tracks import TrackFrame, score_tracks
from vision_nodes.messages.from_ros import depth_image_from_ros, detections_from_ros, mask_from_ros
from vision_nodes.messages.names import CROWD_ID
from vision_nodes.tasks.classes import GENERAL_CLASSES

# Of a true object at least this much must be visible to be asked for; less neither counts nor punishes.
MIN_VISIBLE = 0.25


def score_detection(scores: Scores) -> dict[str, Any]:
    """Average precision, tracks, calibration and confusion; see `score_detections`."""
    recording = scores.recording
    if not recording.detections:
        return {"reason": "no results on /detections"}
    counts = [len(message.detections) for message in recording.detections.values()]
    figures: dict[str, Any] = {"frames": len(counts), "per_frame": float(np.mean(counts))}
    common = sorted(set(recording.detections) & set(recording.truth_detections))
    if not common:
        topic = "/ground_truth/detections"
        return figures | {"reason": missing_truth(topic, recording.detections, recording.truth_detections)}
    predicted_names = _class_names(recording.detections.values())
    true_names = _class_names(recording.truth_detections.values())
    # A class that the model does not know, or that the world does not have, says nothing about either.
    # Of a model that is not installed here only the classes it published are known; none: all count as missed.
    names = sorted(true_names & (set(_model_classes(recording)) or predicted_names or true_names))
    if not names:
        return figures | {
            "reason": f"no common class: truth has {sorted(true_names)}, results {sorted(predicted_names)}"
        }
    for stamp in common:
        scores.detection_frames[stamp] = _frame(recording, stamp, names)
    scores.detection_names = names
    frames = [scores.detection_frames[stamp] for stamp in common]
    figures |= score_detections(frames, names)
    scores.reliability = detection_reliability(frames, range(len(names)))
    scores.detection_confusion = detection_confusion(frames, len(names))
    figures |= class_figures(scores.detection_confusion) | {"ece": scores.reliability.ece}
    if true_names - set(names):
        figures["classes_not_scored"] = sorted(true_names - set(names))
    return figures | _tracks(recording, common, names)


def _frame(recording: Recording, stamp: int, names: list[str]) -> DetectionFrame:
    message = recording.truth_detections[stamp]
    kept = [d for d in message.detections if _class_of(d) in names]
    crowd = [d.id == CROWD_ID or d.results[0].hypothesis.score < MIN_VISIBLE for d in kept]
    truth = detections_from_ros(_Kept(kept), names)
    return DetectionFrame(_named(recording.detections[stamp], names), truth, np.array(crowd, bool))


def _class_of(detection: Any) -> str:
    return str(detection.results[0].hypothesis.class_id) if detection.results else ""


def _named(message: Any, names: list[str]) -> Detections:
    """Detections of a message whose class is among `names`."""
    return detections_from_ros(_Kept([d for d in message.detections if _class_of(d) in names]), names)


@dataclass(frozen=True)
class _Kept:
    detections: list[Any]


def _class_names(messages: Iterable[Any]) -> set[str]:
    return {_class_of(d) for m in messages for d in m.detections if d.results}


def _model_classes(recording: Recording) -> list[str]:
    """Class names of the detector that made the bag, as far as it is installed here."""
    from vision_nodes.engine.models import find_model
    from vision_nodes.errors import ModelError

    name = recording.metadata.get("model.detection", "detection").split(" ")[0]
    try:
        return list(find_model(name)[0].head("detection").class_names)
    except ModelError:
        return []


def _tracks(recording: Recording, stamps: list[int], names: list[str]) -> dict[str, Any]:
    """HOTA, MOTA, IDF1 where truth and results carry ids; objects barely seen are left out on both sides."""
    known: dict[str, int] = {}
    frames = []
    for stamp in stamps:
        true = [d for d in recording.truth_detections[stamp].detections if _class_of(d) in names]
        visible = [d.results[0].hypothesis.score >= MIN_VISIBLE and d.id not in ("", CROWD_ID) for d in true]
        truth = detections_from_ros(_Kept(true), names)
        found = _named(recording.detections[stamp], names)
        if found.track_ids is None:
            found = found.select(np.zeros(len(found), bool))
        else:
            found = found.select(found.track_ids >= 0)
        overlap = box_overlaps(truth.boxes_xyxy, found.boxes_xyxy)
        overlap[truth.class_ids[:, None] != found.class_ids[None]] = 0
        keep = np.array(visible, bool)
        hidden = overlap[~keep].max(0) >= 0.5 if (~keep).any() else np.zeros(len(found), bool)
        shown = ~(hidden & (overlap[keep].max(0, initial=0) < 0.5))
        ids = np.array([known.setdefault(d.id, len(known)) for d, v in zip(true, visible) if v], int)
        track_ids = np.zeros(0, int) if found.track_ids is None else found.track_ids[shown]
        frames.append(TrackFrame(ids, track_ids, overlap[np.ix_(keep, shown)]))
    if not known or not any(len(frame.found_ids) for frame in frames):
        return {}
    return {"tracking": score_tracks(frames)}


def score_segmentation(scores: Scores) -> dict[str, Any]:
    """Mean IoU, pixel accuracy and confusion over all frames with a true mask."""
    recording = scores.recording
    stamps, true_stamps = (
        recording.stamps("/segmentation/mask"),
        recording.stamps("/ground_truth/segmentation"),
    )
    if not stamps:
        return {"reason": "no results on /segmentation/mask"}
    names = recording.label_names or list(GENERAL_CLASSES)
    table, unknown = translate_labels(recording.truth_label_names or list(GENERAL_CLASSES), names)
    common = sorted(set(stamps) & set(true_stamps))
    if not common or (table == 255).all():
        reason = missing_truth("/ground_truth/segmentation", stamps, true_stamps)
        return {
            "frames": len(stamps),
            "reason": f"no common class: truth has {unknown}" if common else reason,
        }
    total = SegmentationScore(names)
    for stamp in common:
        one = SegmentationScore(names)
        truth = table[mask_from_ros(recording.picture("/ground_truth/segmentation", stamp))]
        one.add(mask_from_ros(recording.picture("/segmentation/mask", stamp)), truth)
        total.confusion += one.confusion
        scores.frame_confusion[stamp] = one.confusion
        accuracy = one.figures()["pixel_accuracy"]
        if isinstance(accuracy, float):
            scores.frame_accuracy[stamp] = accuracy
    scores.segmentation = total
    left_out = {"classes_not_scored": unknown} if unknown else {}
    return {"frames": len(common), **total.figures(), **left_out}


def score_depth(scores: Scores) -> dict[str, Any]:
    """Eigen's depth errors, each frame counting once."""
    recording = scores.recording
    stamps, true_stamps = recording.stamps("/depth/image"), recording.stamps("/ground_truth/depth")
    if not stamps:
        return {"reason": "no metric results on /depth/image"}
    common = sorted(set(stamps) & set(true_stamps))
    if not common:
        reason = missing_truth("/ground_truth/depth", stamps, true_stamps)
        return {"frames": len(stamps), "reason": reason}
    for stamp in common:
        found, truth = (
            depth_image_from_ros(recording.picture(topic, stamp))
            for topic in ("/depth/image", "/ground_truth/depth")
        )
        scores.frame_depth[stamp] = compare_depth(found, truth)
    return mean_figures(list(scores.frame_depth.values()))
