"""One picture and its mask at the network's input size."""

from __future__ import annotations

import numpy as np
import torch

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.errors import TrainingError
from vision_nodes.preprocess.frame import resize
from vision_nodes.tasks.classes import GENERAL_CLASSES, UNLABELLED
from vision_nodes.training.augmentation import (
    GeometryRange,
    photometric,
    random_geometry,
    warp_image,
    warp_labels,
)
from vision_nodes.training.task import Batch

GEOMETRY = GeometryRange(zoom=(0.8, 2.0))


def to_sample(
    image: np.ndarray,
    labels: np.ndarray,
    confidence: np.ndarray,
    input_wh: tuple[int, int],
    rng: np.random.Generator | None,
) -> Batch:
    """Scale picture and mask; augment them together when `rng` is given.

    Returns:
        `image` (H, W, 3) uint8, `labels` (H, W) uint8 (255 = unknown), `confidence` (H, W) uint8.

    Raises:
        TrainingError: a label is no class.
    """
    strange = labels[(labels >= len(GENERAL_CLASSES)) & (labels != UNLABELLED)]
    if strange.size:
        expected = f"labels below {len(GENERAL_CLASSES)}, or {UNLABELLED}"
        raise TrainingError(expected, str(int(strange[0])), "correct the masks or the class list")
    source_map = ResizeMap((image.shape[1], image.shape[0]), input_wh)
    if rng is None:
        matrix, image = source_map.matrix(), resize(image, source_map)
    else:
        matrix = random_geometry(rng, source_map.source_wh, input_wh, GEOMETRY)
        image = photometric(warp_image(image, matrix, input_wh), rng)
    arrays = {
        "image": image,
        "labels": warp_labels(labels, matrix, input_wh),
        "confidence": warp_labels(confidence, matrix, input_wh),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
