from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.world import World


@pytest.fixture(scope="session")
def street() -> World:
    """The default street, built once."""
    return World.street(0, px_m=30.0)


@pytest.fixture
def vga() -> CameraModel:
    """A 640x480 pinhole."""
    return CameraModel((640, 480), np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]]))


@pytest.fixture
def small() -> CameraModel:
    """A 320x240 pinhole with an off-centre principal point."""
    return CameraModel((320, 240), np.array([[250.0, 0, 150.0], [0, 255.0, 130.0], [0, 0, 1]]))
