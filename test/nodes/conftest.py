"""A small camera recording, made message by message, for the nodes' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vision_nodes.bags.from_folder import _MessageFactory
from vision_nodes.bags.writer import BagWriter
from vision_nodes.camera.model import CameraModel

WIDTH, HEIGHT = 320, 240
CAMERA = CameraModel((WIDTH, HEIGHT), np.array([[250.0, 0, 159.5], [0, 250, 119.5], [0, 0, 1]]))
FRAME_NS = 100_000_000
START_NS = 10_000_000_000


def moving_picture(i: int) -> np.ndarray:
    """(240, 320, 3) uint8 BGR: a fixed random texture seen by a camera that moves sideways."""
    rng = np.random.default_rng(7)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (400, 640, 3), dtype=np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    return np.ascontiguousarray(texture[60 : 60 + HEIGHT, 40 + 4 * i : 40 + 4 * i + WIDTH])


class Recording:
    """Messages in order; `image` and `info` make good ones, the test spoils them."""

    def __init__(self) -> None:
        self.make = _MessageFactory()
        self.messages: list[tuple[str, Any, int]] = [
            ("/tf_static", self.make.static_transform(START_NS), START_NS)
        ]

    def stamp(self, i: int) -> int:
        return START_NS + i * FRAME_NS

    def image(self, i: int) -> Any:
        return self.make.image(self.stamp(i), "camera_optical_frame", moving_picture(i))

    def info(self, i: int) -> Any:
        return self.make.camera_info(self.stamp(i), CAMERA)

    def add(self, i: int, image: Any = None, info: Any = None) -> None:
        self.messages.append(("/camera_info", self.info(i) if info is None else info, self.stamp(i)))
        self.messages.append(("/image_raw", self.image(i) if image is None else image, self.stamp(i)))

    def write(self, path: Path) -> Path:
        with BagWriter(path) as writer:
            for topic, message, log_time_ns in self.messages:
                writer.write_object(topic, message, log_time_ns)
        return path


@pytest.fixture
def recording() -> Recording:
    """An empty recording with the extrinsics in it."""
    return Recording()


@pytest.fixture
def good_bag(tmp_path: Path) -> Callable[[int], Path]:
    """Writes a bag of n good frames."""

    def write(count: int) -> Path:
        made = Recording()
        for i in range(count):
            made.add(i)
        return made.write(tmp_path / f"good{count}.mcap")

    return write
