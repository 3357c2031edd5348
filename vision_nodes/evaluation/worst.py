"""The frames with the largest errors, drawn so that the error is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.datatypes import DepthMap, Segmentation
from vision_nodes.evaluation.class_names import translate_labels
from vision_nodes.evaluation.detection import DetectionFrame
from vision_nodes.evaluation.matching import best_pairs
from vision_nodes.evaluation.scores import Scores
from vision_nodes.messages.from_ros import depth_image_from_ros, mask_from_ros
from vision_nodes.overlay import draw_depth, draw_segmentation, palette_for, put_label
from vision_nodes.tasks.classes import GENERAL_CLASSES

APART_NS = 1_000_000_000
HIT, INVENTED, MISSED, IGNORED = (60, 200, 90), (240, 70, 40), (255, 200, 30), (150, 150, 150)


@dataclass(frozen=True)
class WorstFrame:
    """A picture (H, W, 3) uint8 RGB and what it shows."""

    picture: np.ndarray
    caption: str


def worst_frames(scores: Scores, count: int = 2) -> dict[str, list[WorstFrame]]:
    """Task -> its worst frames, worst first; only frames whose image is in the bag."""
    return {
        "detection": _detection(scores, count),
        "segmentation": _segmentation(scores, count),
        "depth": _depth(scores, count),
    }


def apart(errors: Mapping[int, float], count: int) -> list[int]:
    """Stamps of the largest errors at least `APART_NS` from each other: neighbours show the same scene."""
    chosen: list[int] = []
    for stamp in sorted(errors, key=lambda s: (-errors[s], s)):
        if len(chosen) < count and all(abs(stamp - other) >= APART_NS for other in chosen):
            chosen.append(stamp)
    return chosen


def _detection(scores: Scores, count: int) -> list[WorstFrame]:
    errors = {stamp: _errors(frame) for stamp, frame in scores.detection_frames.items()}
    frames = []
    for stamp in apart({stamp: sum(both) for stamp, both in errors.items() if sum(both)}, count):
        image = scores.recording.image(stamp)
        if image is None:
            continue
        invented, missed = errors[stamp]
        picture = draw_matches(image, scores.detection_frames[stamp], scores.detection_names)
        caption = f"{missed} missed (yellow), {invented} invented or of the wrong class (red)"
        frames.append(WorstFrame(picture, f"{_when(scores, stamp)}: {caption}"))
    return frames


def _pairs(frame: DetectionFrame) -> list[tuple[int, int]]:
    found, true = frame.predicted, frame.truth
    return [(i, j) for i, j in best_pairs(found, true) if found.class_ids[i] == true.class_ids[j]]


def _crowd(frame: DetectionFrame) -> np.ndarray:
    return np.zeros(len(frame.truth), bool) if frame.crowd is None else frame.crowd


def _errors(frame: DetectionFrame) -> tuple[int, int]:
    """Boxes invented and objects missed."""
    pairs = _pairs(frame)
    missed = set(np.flatnonzero(~_crowd(frame)).tolist()) - {j for _, j in pairs}
    return len(frame.predicted) - len(pairs), len(missed)


def draw_matches(image: np.ndarray, frame: DetectionFrame, names: list[str]) -> np.ndarray:
    """Predictions green (right) or red (invented), missed objects yellow, objects not asked for grey."""
    drawn, pairs = image.copy(), _pairs(frame)
    hits, taken = {i for i, _ in pairs}, {j for _, j in pairs}
    for j, box in enumerate(frame.truth.boxes_xyxy):
        if j not in taken:
            color = IGNORED if _crowd(frame)[j] else MISSED
            _box(drawn, box, color, names[int(frame.truth.class_ids[j])])
    for i, box in enumerate(frame.predicted.boxes_xyxy):
        text = f"{names[int(frame.predicted.class_ids[i])]} {frame.predicted.scores[i]:.2f}"
        _box(drawn, box, HIT if i in hits else INVENTED, text)
    return np.asarray(drawn)


def _box(image: np.ndarray, box: np.ndarray, color: tuple[int, int, int], text: str) -> None:
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    cv2.rectangle(image, (x0, y0), (x1, y1), color, 2)
    put_label(image, text, (x0, y0), color)


def _segmentation(scores: Scores, count: int) -> list[WorstFrame]:
    recording, frames = scores.recording, []
    names = recording.label_names or list(GENERAL_CLASSES)
    palette = palette_for(names)
    table, _ = translate_labels(recording.truth_label_names or list(GENERAL_CLASSES), names)
    for stamp in apart({stamp: 1 - value for stamp, value in scores.frame_accuracy.items()}, count):
        value = scores.frame_accuracy[stamp]
        image = recording.image(stamp)
        if image is None:
            continue
        masks = [
            mask_from_ros(recording.picture("/segmentation/mask", stamp)),
            table[mask_from_ros(recording.picture("/ground_truth/segmentation", stamp))],
        ]
        pictures = [draw_segmentation(image, Segmentation(np.ascontiguousarray(m)), palette) for m in masks]
        for picture, text in zip(pictures, ("published", "truth")):
            put_label(picture, text, (6, 20), (230, 230, 230))
        caption = f"{_when(scores, stamp)}: pixel accuracy {value:.3f}"
        frames.append(WorstFrame(np.concatenate(pictures, axis=1), caption))
    return frames


def _depth(scores: Scores, count: int) -> list[WorstFrame]:
    recording, frames = scores.recording, []
    errors = {stamp: values["abs_rel"] for stamp, values in scores.frame_depth.items() if values}
    for stamp in apart(errors, count):
        value = errors[stamp]
        image = recording.image(stamp)
        found, truth = (
            np.asarray(depth_image_from_ros(recording.picture(topic, stamp)), np.float32)
            for topic in ("/depth/image", "/ground_truth/depth")
        )
        if image is None:
            continue
        near, far = (float(v) for v in np.nanpercentile(truth, [2, 98]))  # one range, so that colours compare
        parts = [image, *(draw_depth(DepthMap(d, metric=True), near, far) for d in (found, truth))]
        size = (truth.shape[1], truth.shape[0])
        parts = [cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in parts]
        for part, text in zip(parts, ("image", "published", "truth")):
            put_label(part, text, (6, 20), (230, 230, 230))
        caption = f"{_when(scores, stamp)}: AbsRel {value:.3f}, {near:.1f} m (red) to {far:.1f} m (blue)"
        frames.append(WorstFrame(np.concatenate(parts, axis=1), caption))
    return frames


def _when(scores: Scores, stamp: int) -> str:
    first = min(scores.recording.sent, default=stamp)
    return f"at {(stamp - first) * 1e-9:.2f} s"
