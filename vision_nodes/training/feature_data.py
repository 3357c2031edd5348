"""Pairs of one picture seen twice, with the exact correspondence: a homography, other light, blur and noise.

DeTone et al. 2018 (SuperPoint): homographic adaptation gives truth without labels.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from vision_nodes.training import place_augment as augment
from vision_nodes.training.place_data import read_picture
from vision_nodes.training.task import Batch

LONG_SIDE = 800  # px; larger pictures are shrunk before the crop


class WarpedPictures(Dataset[Batch]):
    """Every sample: `image`, `warped` (h, w, 3) uint8 and `homography` (3, 3) float32, px of image -> of warped.

    Args:
        size_wh: of both views.
        augmented: new views every epoch; False = the same mild change of viewpoint each time, unchanged light.
        strength: of viewpoint and light, 1 = as in training.
    """

    def __init__(
        self, paths: list[Path], size_wh: tuple[int, int], seed: int, augmented: bool, strength: float = 1.0
    ) -> None:
        self.paths, self.size_wh, self.seed, self.epoch = paths, size_wh, seed, 0
        self.augmented, self.strength = augmented, strength

    def set_epoch(self, epoch: int) -> None:
        """New views for each epoch."""
        self.epoch = epoch if self.augmented else 0

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Batch:
        """See the class."""
        rng = np.random.default_rng((self.seed, self.epoch, index))
        picture = read_picture(self.paths[index], LONG_SIDE)
        crop = random_crop((picture.shape[1], picture.shape[0]), self.size_wh, rng)
        homography = random_homography(self.size_wh, rng, self.strength)
        image = _warp(picture, crop, self.size_wh)
        warped = _warp(picture, homography @ crop, self.size_wh)
        if self.augmented or self.strength > 0.5:
            image, warped = (disturb(view, rng, self.strength) for view in (image, warped))
        return {
            "image": torch.from_numpy(image),
            "warped": torch.from_numpy(warped),
            "homography": torch.from_numpy(homography.astype(np.float32)),
        }


def random_crop(
    picture_wh: tuple[int, int], size_wh: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """(3, 3) px of the picture -> px of a view that lies wholly within it, 0.6 to 1.4 times as large as seen."""
    fit = max(size_wh[0] / picture_wh[0], size_wh[1] / picture_wh[1])
    scale = max(float(np.exp(rng.uniform(np.log(0.6), np.log(1.4)))), fit)
    free = np.array(picture_wh) * scale - size_wh
    x, y = rng.uniform(0, 1, 2) * np.maximum(free, 0)
    return np.array([[scale, 0, -x], [0, scale, -y], [0, 0, 1.0]])


def random_homography(size_wh: tuple[int, int], rng: np.random.Generator, strength: float) -> np.ndarray:
    """(3, 3) of turn, zoom, shift and tilt about the middle of the view, px."""
    size = np.array(size_wh, np.float64)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * size
    angle = strength * rng.normal(0, 0.25)
    zoom = np.exp(strength * rng.normal(0, 0.25))
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    tilt = strength * rng.uniform(-0.13, 0.13, (4, 2)) * size
    moved = (corners + tilt) @ turn.T + strength * rng.uniform(-0.2, 0.2, 2) * size
    return cv2.getPerspectiveTransform(
        (corners + size / 2).astype(np.float32), (moved + size / 2).astype(np.float32)
    )


def disturb(view: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Light, blur, noise and compression of a camera on a robot."""
    view = augment.change_light(view, rng, 0.7 * strength)
    if rng.random() < 0.25 * strength:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < 0.4 * strength:
        view = augment.add_noise(view, rng)
    if rng.random() < 0.2 * strength:
        view = augment.compress(view, rng)
    return view


def _warp(picture: np.ndarray, homography: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    shrink = 1 / np.sqrt(abs(np.linalg.det(homography[:2, :2])))
    if shrink > 1.25:  # or it would alias
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 * shrink)
    return cv2.warpPerspective(
        picture, homography, size_wh, flags=cv2.INTER_LINEAR, borderMode=augment.BORDER
    )
