"""Fixtures: a small real model on disk, and images for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_models import H, W, segmentation_graph, write_model

from vision_nodes.engine.manifest import Manifest


@pytest.fixture
def toy(tmp_path: Path) -> Manifest:
    """A segmentation model in fp32 and int8."""
    return write_model(tmp_path, {"fp32": segmentation_graph(), "int8": segmentation_graph(quantized=True)})


@pytest.fixture
def images() -> list[np.ndarray]:
    """Five (H, W, 3) uint8 images with structure."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (5, H // 4, W // 4, 3))
    fine = np.kron(coarse, np.ones((1, 4, 4, 1))) + rng.normal(0, 8, (5, H, W, 3))
    return list(np.clip(fine, 0, 255).astype(np.uint8))
