"""How alike two files of one model answer, 0 to 1: what can be said about a model without labelled pictures."""

from __future__ import annotations

import numpy as np

from vision_nodes.errors import ModelError
from vision_nodes.tasks.detection import iou_matrix

# Loss of agreement that the gate allows: chosen, not measured, as a stand-in where there are no labels.
ALLOWED = {"detection": 0.15, "segmentation": 0.04, "depth": 0.04, "place": 0.02, "features": 0.3}
LEAST_SCORE = 0.35
SAME_PX = 1.5


def agreement(task: str, a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Agreement of `b` with `a` on one picture, outputs by the contract with a batch axis of 1.

    Detection: 2 * matches / boxes of both, at the same class and IoU 0.5, scores above 0.35. Segmentation: share
    of equal labels. Depth: 1 - median relative difference. Place: cosine. Features: share of the stronger half
    of the keypoints found again within 1.5 px.

    Raises:
        ModelError: a task without such a figure.
    """
    if task not in _BY_TASK:
        raise ModelError(
            f"a task among {', '.join(_BY_TASK)}", task, "verify the heads of a fused model one by one"
        )
    return float(_BY_TASK[task](a, b))


def _detection(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    kept = [np.flatnonzero(side["scores"][0] >= LEAST_SCORE) for side in (a, b)]
    if not (len(kept[0]) and len(kept[1])):
        return float(len(kept[0]) == len(kept[1]))
    overlap = iou_matrix(a["boxes"][0][kept[0]], b["boxes"][0][kept[1]])
    same = a["class_ids"][0][kept[0]][:, None] == b["class_ids"][0][kept[1]]
    clear = same & (overlap >= 0.5)
    return float((clear.any(1).sum() + clear.any(0).sum()) / (len(kept[0]) + len(kept[1])))


def _segmentation(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return float(np.mean(a["labels"] == b["labels"]))


def _depth(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    scale = np.maximum(np.abs(a["depth"]), 1e-6)
    return max(0.0, 1 - float(np.median(np.abs(b["depth"] - a["depth"]) / scale)))


def _place(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    x, y = a["descriptor"][0], b["descriptor"][0]
    return float(x @ y / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-12))


def _features(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    strong = a["scores"][0] >= np.median(a["scores"][0])
    found = b["scores"][0] > 0
    if not found.any():
        return 0.0
    apart = np.linalg.norm(a["keypoints"][0][strong][:, None] - b["keypoints"][0][found][None], axis=2)
    return float(np.mean(apart.min(1) <= SAME_PX))


_BY_TASK = {
    "detection": _detection,
    "segmentation": _segmentation,
    "depth": _depth,
    "place": _place,
    "features": _features,
}
