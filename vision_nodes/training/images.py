"""Reading training pictures and masks, with an error that names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vision_nodes.errors import TrainingError


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises TrainingError when the file is missing or damaged."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_gray(path: Path) -> np.ndarray:
    """(H, W) uint8. Raises TrainingError when the file is missing or damaged."""
    return _read(path, cv2.IMREAD_GRAYSCALE)


def _read(path: Path, mode: int) -> np.ndarray:
    image = cv2.imread(str(path), mode)
    if image is None:
        raise TrainingError("a readable image", str(path), "restore the data folder")
    return image
