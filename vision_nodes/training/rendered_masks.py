"""Frames of random worlds with exact masks, rendered once to disk."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset

from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import TrainingError
from vision_nodes.simulation.path import optical_pose
from vision_nodes.simulation.world import World
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.images import read_rgb
from vision_nodes.training.pseudo_labels import read_pseudo_labels
from vision_nodes.training.segmentation_sample import to_sample
from vision_nodes.training.task import Batch

logger = logging.getLogger(__name__)
SIZE_WH = (416, 312)
FIRST_SEED = 1000  # worlds below are for tests, demos and evaluation


class RenderedMasks(Dataset[Batch]):
    """Frames written by `write_rendered_masks`; the truth is exact, so its confidence is 255."""

    def __init__(self, folder: Path, config: TrainingConfig, augment: bool) -> None:
        self.images = sorted(folder.glob("*.jpg"))
        if not self.images:
            raise TrainingError("rendered frames", f"none in {folder}", "run write_rendered_masks first")
        self.input_wh, self.seed, self.augment, self.epoch = config.input_wh, config.seed, augment, 0

    def set_epoch(self, epoch: int) -> None:
        """Other random numbers from here on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        """See `segmentation_sample.to_sample`."""
        path = self.images[index]
        image = read_rgb(path)
        labels, confidence = read_pseudo_labels(path.with_suffix(".png"))
        rng = np.random.default_rng((self.seed, self.epoch, index, 1)) if self.augment else None
        return to_sample(image, labels, confidence, self.input_wh, rng)


def write_rendered_masks(folder: Path, worlds: int, frames: int, seed: int = FIRST_SEED) -> None:
    """Render `frames` views of each of `worlds` worlds that are not there yet.

    The camera stands on the drive, looks anywhere, tilts a little, and its focal length varies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(seed, seed + worlds):
        if (folder / f"{number}_{frames - 1:03d}.jpg").exists():
            continue
        rng = np.random.default_rng(number)
        world = World.street(number)
        poses = world.drive(2.0).T_world_cam
        for i in range(frames):
            position = poses[rng.integers(len(poses))][:3, 3] + [0, 0, rng.uniform(-0.1, 0.8)]
            pose = optical_pose(position, rng.uniform(-np.pi, np.pi), *rng.normal(0, (0.08, 0.03)))
            fx = SIZE_WH[0] * rng.uniform(0.6, 1.1)
            K = np.array([[fx, 0, (SIZE_WH[0] - 1) / 2], [0, fx, (SIZE_WH[1] - 1) / 2], [0, 0, 1]])
            frame = world.render(pose, CameraModel(SIZE_WH, K))
            planes = np.hstack([frame.labels, np.full_like(frame.labels, 255)])
            cv2.imwrite(str(folder / f"{number}_{i:03d}.png"), planes)
            picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"{number}_{i:03d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
        logger.info("world %d rendered", number)
