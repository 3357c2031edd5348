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

# the 80 classes in the order of the public detectors' heads
COCO_CLASSES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

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
