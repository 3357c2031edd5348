"""One class under several names: labels of a set brought to the classes of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Finer classes of common sets -> the merged class of this package's models (tasks/classes.py).
COARSER = {
    "tree": "vegetation",
    "car": "vehicle",
    "truck": "vehicle",
    "bus": "vehicle",
    "pedestrian": "person",
    "bicyclist": "person",
    "rider": "person",
    "sidewalk": "pavement",
    "pole": "pole_sign",
    "sign_symbol": "pole_sign",
    "traffic sign": "pole_sign",
    "traffic light": "pole_sign",
}


def translate_labels(source: Sequence[str], target: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(256,) uint8 table from ids of `source` to ids of `target`, 255 where there is no such class.

    Returns:
        The table, and the names of `source` that `target` lacks: their pixels are not scored.
    """
    table = np.full(256, 255, np.uint8)
    index = {name: i for i, name in enumerate(target) if name}
    unknown = []
    for i, name in enumerate(source):
        known = name if name in index else COARSER.get(name, "")
        if known in index:
            table[i] = index[known]
        elif name:
            unknown.append(name)
    return table, unknown
