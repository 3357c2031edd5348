"""Masks for pictures that have none: MOSAIC's opinion, corrected by the boxes that people drew.

One pass over a COCO-style folder writes, per picture, `<stem>.png`: a gray image of two planes side by
side, class ids (255 = no opinion) left, confidence 0..255 right.
"""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch

from vision_nodes.export.onnx import export_onnx, onnx_session
from vision_nodes.networks.deploy import TeacherGraph
from vision_nodes.networks.mosaic import ADE_CLASSES, Mosaic
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors
from vision_nodes.tasks.classes import GENERAL_CLASSES, UNLABELLED
from vision_nodes.training.coco import COCO_CLASSES, CocoBoxes
from vision_nodes.training.images import read_gray

logger = logging.getLogger(__name__)
WEIGHTS = "mosaic_ade20k32/mosaic_fused_f16.npz"

# teacher's class -> ours; `other` has no counterpart
ADE_TO_GENERAL = {
    "wall": "wall", "building": "building", "sky": "sky", "floor": "floor", "tree": "vegetation",
    "ceiling": "ceiling", "road": "road", "bed": "furniture", "windowpane": "window", "grass": "terrain",
    "cabinet": "furniture", "sidewalk": "pavement", "person": "person", "earth": "terrain", "door": "door",
    "table": "furniture", "mountain": "terrain", "plant": "vegetation", "curtain": "window",
    "chair": "seat", "car": "vehicle", "water": "water", "painting": "wall", "sofa": "seat",
    "shelf": "furniture", "house": "building", "sea": "water", "mirror": "wall", "rug": "floor",
    "field": "terrain", "armchair": "seat",
}  # fmt: skip

# inside a box of the key, teacher's labels in the set are wrong and become the class named
_SOLID = {"building", "wall", "window", "door", "furniture", "unlabelled"}
_EVERYTHING = {*GENERAL_CLASSES, "unlabelled"}
BOX_RULES: dict[str, tuple[str, set[str]]] = {
    **{name: ("vehicle", _SOLID) for name in ("car", "bus", "truck", "train")},
    **{name: ("vehicle", {"unlabelled"}) for name in ("bicycle", "motorcycle")},
    **{name: ("pole_sign", _EVERYTHING - {"person"}) for name in ("traffic light", "stop sign")},
    **{name: ("pole_sign", {"unlabelled"}) for name in ("parking meter", "fire hydrant")},
    **{name: ("furniture", {"unlabelled"}) for name in ("refrigerator", "oven", "microwave", "tv")},
}
DRAWN_CONFIDENCE = 0.8  # of a pixel whose class comes from a box
DOUBTED_CLASSES = ("person", "vehicle")  # outside every box of theirs they are left unlabelled


def mapping_matrix() -> np.ndarray:
    """(17, 32) float32 of 0 and 1: which teacher classes add up to which of ours."""
    matrix = np.zeros((len(GENERAL_CLASSES), len(ADE_CLASSES)), np.float32)
    for theirs, ours in ADE_TO_GENERAL.items():
        matrix[GENERAL_CLASSES.index(ours), ADE_CLASSES.index(theirs)] = 1
    return matrix


class Teacher:
    """MOSAIC as an ONNX session per input size (five times as fast as eager torch on a CPU)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        network = Mosaic()
        load_tensors(network, read_tensors(find_weights(WEIGHTS)), WEIGHTS)
        self.graph = TeacherGraph(network, torch.from_numpy(mapping_matrix())).eval()
        self._sessions: dict[tuple[int, int], onnxruntime.InferenceSession] = {}

    def probabilities(self, image: np.ndarray, size_wh: tuple[int, int], flip: bool = False) -> np.ndarray:
        """(18, h / 4, w / 4) float32: our 17 classes and `other`, at one input size."""
        if size_wh not in self._sessions:
            path = self.folder / f"teacher_{size_wh[0]}x{size_wh[1]}.onnx"
            if not path.exists():
                export_onnx(self.graph, self.graph.output_names, size_wh, path)
            self._sessions[size_wh] = onnx_session(path)
        picture = cv2.resize(image[:, ::-1] if flip else image, size_wh, interpolation=cv2.INTER_LINEAR)
        result = self._sessions[size_wh].run(None, {"image": picture[None]})[0][0]
        return result[..., ::-1] if flip else result

    def label(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) uint8 class ids, (H, W) float32 confidence, averaged over two sizes and a mirror."""
        height, width = image.shape[:2]
        long = (640, 512) if width >= height else (512, 640)
        views = [((512, 512), True), (long, False)]
        total = np.zeros((height, width, len(GENERAL_CLASSES) + 1), np.float32)
        for size_wh, flip in views:
            planes = self.probabilities(image, size_wh, flip).transpose(1, 2, 0)
            total += cv2.resize(np.ascontiguousarray(planes), (width, height), interpolation=cv2.INTER_LINEAR)
        labels = total.argmax(axis=2).astype(np.uint8)
        confidence = total.max(axis=2) / len(views)
        labels[labels == len(GENERAL_CLASSES)] = UNLABELLED
        return labels, confidence


def correct_by_boxes(labels: np.ndarray, confidence: np.ndarray, boxes: np.ndarray, names: list[str]) -> None:
    """Apply `BOX_RULES` in place, small boxes last; doubt people and vehicles where nobody drew one."""
    seen = {"person": np.zeros(labels.shape, bool), "vehicle": np.zeros(labels.shape, bool)}
    for i in np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1)):
        x0, y0, x1, y1 = boxes[i]
        ours, wrong = BOX_RULES.get(names[i], (names[i], set()))
        if ours in seen:
            seen[ours][int(y0) : int(y1) + 2, int(x0) : int(x1) + 2] = True
        mx, my = 0.08 * (x1 - x0), 0.08 * (y1 - y0)  # corners of a box rarely belong to the thing
        window = (slice(round(y0 + my), round(y1 - my)), slice(round(x0 + mx), round(x1 - mx)))
        ids = [UNLABELLED if name == "unlabelled" else GENERAL_CLASSES.index(name) for name in wrong]
        replaced = np.isin(labels[window], ids)
        if replaced.any():
            labels[window][replaced] = GENERAL_CLASSES.index(ours)
            confidence[window][replaced] = DRAWN_CONFIDENCE
    for name in DOUBTED_CLASSES:
        labels[(labels == GENERAL_CLASSES.index(name)) & ~seen[name]] = UNLABELLED


def write_pseudo_labels(annotation: Path, folder: Path) -> int:
    """Label every picture of a COCO-style set that has no file in `folder` yet; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    data = CocoBoxes(annotation, COCO_CLASSES)
    teacher = Teacher(folder)
    done = 0
    for index in range(len(data)):
        target = folder / f"{Path(data.images[index]['file_name']).stem}.png"
        if target.exists():
            continue
        labels, confidence = teacher.label(data.image(index))
        boxes, classes, _ = data.boxes(index)
        correct_by_boxes(labels, confidence, boxes, [COCO_CLASSES[c] for c in classes])
        planes = np.hstack([labels, np.clip(confidence * 255, 0, 255).astype(np.uint8)])
        temporary = target.with_suffix(".partial.png")
        cv2.imwrite(str(temporary), planes)
        temporary.replace(target)
        done += 1
        if done % 100 == 0:
            logger.info("%d of %d pictures labelled", index + 1, len(data))
    return done


def read_pseudo_labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) uint8 class ids and (H, W) uint8 confidence as written by `write_pseudo_labels`."""
    planes = read_gray(path)
    width = planes.shape[1] // 2
    return planes[:, :width], planes[:, width:]
