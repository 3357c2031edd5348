"""Detection and segmentation models on the val splits: ``python -m vision_nodes.training.held_out MODEL``.

Run it once, when a model is finished, and never choose by it. Figures go into the manifest, per precision.
CamVid is zero-shot for `general` models: nothing of it is trained on.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision_nodes.engine.base import Engine
from vision_nodes.engine.loader import open_cpu
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import ConfigError
from vision_nodes.evaluation.segmentation import SegmentationScore
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.classes import GENERAL_CLASSES, UNLABELLED
from vision_nodes.tasks.runners import Detector, Segmenter
from vision_nodes.training.camvid import CAMVID_CLASSES as STREET_CLASSES
from vision_nodes.training.camvid import read_pairs
from vision_nodes.training.coco import CocoBoxes
from vision_nodes.training.images import read_gray, read_rgb
from vision_nodes.training.paths import find_data
from vision_nodes.training.pseudo_labels import Teacher

logger = logging.getLogger(__name__)
ON = {
    "detection": "COCO val2017 subset, val.json, 400 pictures",
    "segmentation": "agreement_*: 100 pictures of COCO val.json; camvid_*: CamVid val, zero-shot",
    "street": "val_*: CamVid val, 101 pictures, seconds away from training frames",
}
# classes that CamVid has too; what lies in a facade is building there
CAMVID_CLASSES = ("sky", "building", "road", "pavement", "tree", "car", "pedestrian", "pole_sign")
CAMVID_TRUTH = {0: "sky", 1: "building", 2: "pole_sign", 3: "road", 4: "pavement", 5: "tree",
                6: "pole_sign", 8: "car", 9: "pedestrian"}  # fmt: skip
TO_CAMVID = {
    "sky": "sky", "building": "building", "wall": "building", "window": "building", "door": "building",
    "road": "road", "pavement": "pavement", "vegetation": "tree", "vehicle": "car",
    "person": "pedestrian", "pole_sign": "pole_sign",
}  # fmt: skip
TEACHER_PICTURES = 100


def as_frame(image: np.ndarray) -> Frame:
    """(H, W, 3) uint8 RGB as an uncalibrated frame."""
    return Frame(0, "camera", image, (image.shape[1], image.shape[0]))


def score_detection(engine: Engine) -> dict[str, float]:
    """COCO average precision over the model's classes, with the low threshold the metric wants."""
    names = tuple(engine.manifest.class_names)
    data = CocoBoxes(find_data("labelled/coco_val2017_subset/val.json"), names)
    detector = Detector(engine, score_threshold=0.02, nms_iou=0.6)
    results = [detector.detect(as_frame(data.image(i))) for i in range(len(data))]
    return {f"val_{name}": value for name, value in data.average_precision(results).items()}


def score_segmentation(engine: Engine) -> dict[str, float]:
    """Agreement with the teacher on unseen pictures, and CamVid without having trained on it."""
    segmenter = Segmenter(engine)
    agreement = SegmentationScore(GENERAL_CLASSES)
    for image, truth in _teacher_masks():
        agreement.add(segmenter.segment(as_frame(image)).labels, truth)
    camvid = SegmentationScore(CAMVID_CLASSES)
    lookup = np.full(256, len(CAMVID_CLASSES), np.uint8)
    for ours, theirs in TO_CAMVID.items():
        lookup[GENERAL_CLASSES.index(ours)] = CAMVID_CLASSES.index(theirs)
    for image, truth in _camvid_val():
        camvid.add(lookup[segmenter.segment(as_frame(image)).labels], truth)
    seven = [iou for name, iou in camvid.class_iou().items() if name != "pole_sign"]
    figures: dict[str, Any] = {
        "agreement_pixels": agreement.figures()["pixel_accuracy"],
        "agreement_miou": agreement.figures()["miou"],
        "camvid_miou_8": camvid.figures()["miou"],
        "camvid_miou_7": np.mean(seven),
    }
    figures |= {f"camvid_{name}": value for name, value in camvid.class_iou().items()}
    return {name: float(value) for name, value in figures.items()}


def score_street(engine: Engine) -> dict[str, float]:
    """CamVid val in its own 11 classes; it lies within seconds of training frames, so it flatters."""
    segmenter = Segmenter(engine)
    score = SegmentationScore(tuple(engine.manifest.class_names))
    for picture, mask in read_pairs(find_data("labelled/camvid_seg"), "val"):
        score.add(segmenter.segment(as_frame(read_rgb(picture))).labels, read_gray(mask))
    figures: dict[str, Any] = {name: score.figures()[name] for name in ("miou", "pixel_accuracy")}
    figures |= {f"iou_{name}": value for name, value in score.class_iou().items()}
    return {f"val_{name}": float(value) for name, value in figures.items()}


def _teacher_masks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Val pictures and the bare teacher's opinion (its `other` is not scored)."""
    data = CocoBoxes(find_data("labelled/coco_val2017_subset/val.json"))
    folder = Path("runs/teacher")
    folder.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(folder)
    for index in range(0, len(data), max(1, len(data) // TEACHER_PICTURES)):
        image = data.image(index)
        yield image, teacher.label(image)[0]


def _camvid_val() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures and truth in `CAMVID_CLASSES`; fence, bicyclist and void are not scored."""
    folder = find_data("labelled/camvid_seg")
    lookup = np.full(256, UNLABELLED, np.uint8)
    for theirs, name in CAMVID_TRUTH.items():
        lookup[theirs] = CAMVID_CLASSES.index(name)
    for line in (folder / "val.txt").read_text().split("\n"):
        if line.strip():
            picture, labels = (folder / part for part in line.split()[:2])
            yield read_rgb(picture), lookup[read_gray(labels)]


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="models/<name>.yaml")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    manifest = Manifest.read(options.model)
    scorers = {"detection": score_detection, "segmentation": score_segmentation, "street": score_street}
    kind = "street" if tuple(manifest.class_names) == STREET_CLASSES else manifest.task
    if kind not in scorers:
        raise ConfigError(f"a model of {sorted(scorers)}", manifest.task, "see evaluation.held_out")
    accuracy = dict(manifest.accuracy)
    for precision in manifest.files:
        with open_cpu(manifest, precision) as engine:
            figures = {name: round(value, 4) for name, value in scorers[kind](engine).items()}
        logger.info("%s %s: %s", manifest.name, precision, figures)
        development = {n: v for n, v in accuracy.get(precision, {}).items() if n != "on"}
        on = f"val_*: {ON[kind]}" if kind == "detection" else ON[kind]
        on = f"{on}; others: pictures held out of the training split"
        accuracy[precision] = {**development, **figures, "on": on}
    replace(manifest, accuracy=accuracy).write(options.model)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
