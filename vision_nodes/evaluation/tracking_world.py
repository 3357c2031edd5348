"""Tracking ids on a rendered street: ``python -m vision_nodes.evaluation.tracking_world``.

The camera drives past people, cars and street furniture that hide each other. Two trials: the true boxes,
spoilt as a detector spoils them (what the tracker itself is worth), and the boxes of a shipped detector.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import Detections
from vision_nodes.evaluation.tracks import TrackFrame, score_tracks
from vision_nodes.preprocess.frame import Frame
from vision_nodes.simulation.truth import TruthBoxes
from vision_nodes.simulation.world import World
from vision_nodes.tracking.association import iou_matrix
from vision_nodes.tracking.settings import TrackerSettings
from vision_nodes.tracking.tracker import UNTRACKED, Tracker

RATE_HZ = 15.0
MIN_VISIBLE = 0.3  # share of an object that must be seen before it has to be found
SAME_OBJECT = 0.5  # IoU with a barely seen object: a box there is neither right nor wrong


@dataclass(frozen=True)
class Spoilt:
    """How the true boxes are spoilt."""

    missed: float = 0.15  # chance that a box is missing, once per frame
    lapse: float = 0.02  # chance that an object goes unseen for the next `lapse_frames`
    lapse_frames: int = 8
    jitter: float = 0.04  # standard deviation of each side, in shares of the box's size
    false_per_frame: float = 0.3


@dataclass(frozen=True)
class View:
    """One rendered frame and what is true of it."""

    stamp_ns: int
    image: np.ndarray  # (H, W, 3) uint8 RGB
    truth: TruthBoxes


def street_views(seed: int, frames: int, size_wh: tuple[int, int] = (480, 360)) -> list[View]:
    """The first `frames` views of the drive of street `seed`, 15 a second."""
    world = World.street(seed)
    focal = 0.8 * size_wh[0]
    K = np.array([[focal, 0, (size_wh[0] - 1) / 2], [0, focal, (size_wh[1] - 1) / 2], [0, 0, 1]])
    camera = CameraModel(size_wh, K)
    poses = world.drive(RATE_HZ).T_world_cam[:frames]
    rendered = [world.render(pose, camera) for pose in poses]
    return [View(round(i * 1e9 / RATE_HZ), frame.image, frame.boxes) for i, frame in enumerate(rendered)]


class SpoiltTruth:
    """Calls itself a detector: true boxes with gaps, noise and inventions, the same for the same seed."""

    def __init__(self, names: Sequence[str], spoilt: Spoilt, seed: int) -> None:
        self.names, self.spoilt, self.rng = list(names), spoilt, np.random.default_rng(seed)
        self.unseen: dict[int, int] = {}  # instance -> frames that it stays unseen

    def __call__(self, view: View) -> Detections:
        """The view's objects of known classes that are seen well enough, spoilt."""
        truth, s = view.truth, self.spoilt
        boxes, classes, scores = [], [], []
        for i in np.flatnonzero(truth.visible_fraction >= MIN_VISIBLE).tolist():
            if truth.labels[i] not in self.names or self._is_missed(int(truth.instance_ids[i])):
                continue
            size = np.tile(truth.boxes_xyxy[i, 2:] - truth.boxes_xyxy[i, :2], 2)
            boxes.append(truth.boxes_xyxy[i] + size * self.rng.normal(0, s.jitter, 4))
            classes.append(self.names.index(truth.labels[i]))
            scores.append(self.rng.uniform(0.3, 0.95) * (0.5 + 0.5 * truth.visible_fraction[i]))
        height, width = view.image.shape[:2]
        for _ in range(self.rng.poisson(s.false_per_frame)):
            corner, size = self.rng.uniform((0, 0), (0.8 * width, 0.8 * height)), self.rng.uniform(15, 80, 2)
            boxes.append(np.concatenate((corner, corner + size)))
            classes.append(int(self.rng.integers(len(self.names))))
            scores.append(self.rng.uniform(0.1, 0.6))
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32),
            np.array(classes, np.int64),
        )

    def _is_missed(self, instance: int) -> bool:
        left = self.unseen.get(instance, 0)
        if left:
            self.unseen[instance] = left - 1
            return True
        if self.rng.random() < self.spoilt.lapse:
            self.unseen[instance] = self.spoilt.lapse_frames
        return bool(self.rng.random() < self.spoilt.missed)


def track(
    views: Sequence[View],
    detect: Callable[[View], Detections],
    names: Sequence[str],
    settings: TrackerSettings | None = None,
) -> dict[str, float | int | None]:
    """HOTA, IDF1 and the like of the real tracker over `views`; see `score_tracks`.

    Objects of classes that the detector does not know, and those barely seen, need not be found.
    """
    tracker = Tracker(settings)
    frames = []
    for view in views:
        gray = cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY)
        found = tracker.update(detect(view), view.stamp_ns, gray)
        frames.append(_compare(view.truth, found, list(names)))
    return score_tracks(frames)


def _compare(truth: TruthBoxes, found: Detections, names: list[str]) -> TrackFrame:
    assert found.track_ids is not None
    found = found.select(found.track_ids != UNTRACKED)
    rows = [i for i, label in enumerate(truth.labels) if label in names]
    classes = np.array([names.index(truth.labels[i]) for i in rows], np.int64)
    overlap = iou_matrix(truth.boxes_xyxy[rows].astype(np.float64), found.boxes_xyxy.astype(np.float64))
    overlap[classes[:, None] != found.class_ids[None]] = 0
    shown = truth.visible_fraction[rows] >= MIN_VISIBLE
    beside = overlap[~shown].max(0, initial=0) >= SAME_OBJECT
    counted = ~(beside & (overlap[shown].max(0, initial=0) < SAME_OBJECT))
    ids = truth.instance_ids[rows][shown]
    assert found.track_ids is not None
    return TrackFrame(ids, found.track_ids[counted], overlap[np.ix_(shown, counted)])


def shipped_detector(model: str) -> tuple[Callable[[View], Detections], list[str]]:
    """A model of the repository as a detector of views, with its class names."""
    from vision_nodes.engine.loader import open_cpu
    from vision_nodes.engine.models import find_model
    from vision_nodes.tasks.runners import Detector

    manifest, precision = find_model(model)
    engine = open_cpu(manifest, precision or "fp32")
    # weak boxes keep an id alive, so they are wanted here
    detector = Detector(engine, TrackerSettings().low_score, manifest.postprocess.get("nms_iou", 0.6))

    def detect(view: View) -> Detections:
        height, width = view.image.shape[:2]
        return detector.detect(Frame(view.stamp_ns, "camera", view.image, (width, height)))

    return detect, list(manifest.class_names)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=3, help="the street (default 3)")
    parser.add_argument("--frames", type=int, default=90, help="views, 15 a second (default 90)")
    parser.add_argument("--model", default="detection", help="the shipped detector (default detection)")
    options = parser.parse_args(arguments)
    views = street_views(options.seed, options.frames)
    detect, names = shipped_detector(options.model)
    trials: dict[str, Callable[[View], Detections]] = {
        "true boxes": SpoiltTruth(names, Spoilt(0, 0, 0, 0, 0), options.seed),
        "true boxes, spoilt": SpoiltTruth(names, Spoilt(), options.seed),
        options.model: detect,
    }
    shown = ("hota", "deta", "assa", "idf1", "mota", "id_switches", "true_boxes", "found_boxes")
    table = Table("boxes", *shown, title=f"street {options.seed}, {len(views)} frames")
    for name, source in trials.items():
        figures = track(views, source, names)
        table.add_row(name, *(_text(figures[key]) for key in shown))
    Console().print(table)
    return 0


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
