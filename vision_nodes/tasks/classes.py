"""The segmentation classes of the `general` models, with their overlay colours.

The list is a merger of outdoor (Cityscapes) and indoor (ADE20K) groups into what a ground robot has to
tell apart; the index in `GENERAL_CLASSES` is the class id in every mask.
"""

from __future__ import annotations

import numpy as np

GENERAL_CLASSES: tuple[str, ...] = (
    "road",
    "pavement",
    "floor",
    "terrain",
    "building",
    "wall",
    "ceiling",
    "sky",
    "vegetation",
    "door",
    "window",
    "furniture",
    "seat",
    "vehicle",
    "person",
    "water",
    "pole_sign",
)

UNLABELLED = 255

# (K, 3) uint8 RGB, row = class id; hues of neighbours in a picture (road/pavement/floor, wall/building)
# are kept apart so that an overlay reads.
GENERAL_PALETTE: np.ndarray = np.array(
    [
        (128, 64, 128),
        (244, 35, 232),
        (90, 140, 230),
        (152, 251, 152),
        (110, 90, 80),
        (190, 170, 120),
        (215, 215, 235),
        (70, 130, 180),
        (34, 139, 34),
        (255, 140, 0),
        (0, 220, 220),
        (160, 60, 30),
        (255, 215, 0),
        (0, 0, 200),
        (220, 20, 60),
        (0, 80, 130),
        (250, 250, 60),
    ],
    np.uint8,
)
GENERAL_PALETTE.setflags(write=False)


def class_id(name: str) -> int:
    """Index of a class name in `GENERAL_CLASSES`; ValueError names the known classes."""
    if name not in GENERAL_CLASSES:
        raise ValueError(f"expected one of {GENERAL_CLASSES}, received {name!r}")
    return GENERAL_CLASSES.index(name)
