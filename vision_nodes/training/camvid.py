"""CamVid (Brostow et al. 2009) in its 11 SegNet classes, split into training and development by time."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from vision_nodes.errors import TrainingError
from vision_nodes.training.augmentation import (
    GeometryRange,
    photometric,
    random_geometry,
    warp_image,
    warp_labels,
)
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.images import read_gray, read_rgb
from vision_nodes.training.task import Batch
from vision_nodes.training.weather import weather

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
UNLABELLED = 255
RARE = (2, 6, 7, 9, 10)  # pole, sign, fence, pedestrian, bicyclist
DEV_START, DEV_SHARE = 0.4, 0.125  # of every recording
GAP = 2  # frames beside the development block that nobody sees

Pair = tuple[Path, Path]


def read_pairs(folder: Path, split: str) -> list[Pair]:
    """(picture, labels) of one split, in the order of its list.

    Raises:
        TrainingError: the list is missing or empty.
    """
    path = folder / f"{split}.txt"
    lines = [line.split() for line in path.read_text().splitlines()] if path.is_file() else []
    pairs = [(folder / line[0], folder / line[1]) for line in lines if len(line) >= 2]
    if not pairs:
        raise TrainingError("a list of picture and label files", f"none in {path}", "restore the data folder")
    return pairs


def split_by_time(pairs: list[Pair], development: bool) -> list[Pair]:
    """One block of consecutive frames per recording is the development set, the rest but a gap trains.

    Neighbouring frames look alike: a random split would measure memory.
    """
    chosen: list[Pair] = []
    ordered = sorted(pairs, key=lambda pair: pair[0].name)
    for _, group in groupby(ordered, key=lambda pair: pair[0].name.split("_")[0]):
        frames = list(group)
        first = int(DEV_START * len(frames))
        last = first + max(1, int(DEV_SHARE * len(frames)))
        if development:
            chosen += frames[first:last]
        else:
            chosen += frames[: max(0, first - GAP)] + frames[last + GAP :]
    return chosen


class CamVid(Dataset[Batch]):
    """Pictures and labels; augmented crops of `crop_wh` when `augment`, else whole pictures of the input size.

    Options of the config: `crop_wh`, `zoom` (smallest and largest scale against the whole picture at the
    input's size), `weather` (share of pictures with one), `rare_crops` (share of crops that must show a
    pixel of a rare class, if the picture has one).
    """

    def __init__(self, pairs: list[Pair], config: TrainingConfig, augment: bool) -> None:
        self.pairs, self.config, self.augment, self.epoch = pairs, config, augment, 0
        self.options = {"zoom": [0.6, 2.0], "weather": 0.15, "rare_crops": 0.4, **config.options}

    def set_epoch(self, epoch: int) -> None:
        """Other random numbers from here on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Batch:
        """`image` (H, W, 3) uint8, `labels` (H, W) uint8, 255 = not labelled."""
        picture, mask = self.pairs[index]
        image, labels = read_rgb(picture), read_gray(mask)
        strange = labels[(labels >= len(CAMVID_CLASSES)) & (labels != UNLABELLED)]
        if strange.size:
            expected = f"labels below {len(CAMVID_CLASSES)}, or {UNLABELLED}"
            raise TrainingError(expected, f"{strange[0]} in {mask}", "correct the mask")
        if self.augment:
            rng = np.random.default_rng((self.config.seed, self.epoch, index))
            image, labels = self._augmented(image, labels, rng)
        elif image.shape[1::-1] != self.config.input_wh:
            received = f"{image.shape[1::-1]} in {picture}"
            raise TrainingError(f"pictures of {self.config.input_wh}", received, "correct input_wh")
        arrays = {"image": image, "labels": labels}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _augmented(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        crop = tuple(self.options["crop_wh"])
        ratio = self.config.input_wh[0] / crop[0]  # a crop at ratio 1 shows the picture at the input's scale
        zoom = tuple(ratio * value for value in self.options["zoom"])
        matrix = random_geometry(rng, image.shape[1::-1], crop, GeometryRange(zoom=zoom))
        if rng.random() < self.options["rare_crops"]:
            matrix = towards_rare(matrix, labels, crop, rng)
        image = warp_image(image, matrix, crop)
        if rng.random() < self.options["weather"]:
            image = weather(image, rng)
        return photometric(image, rng), warp_labels(labels, matrix, crop)


def towards_rare(
    matrix: np.ndarray, labels: np.ndarray, crop_wh: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """`matrix` shifted so that a random pixel of a random rare class of the picture lands inside the crop."""
    have = [value for value in RARE if (labels == value).any()]
    if not have:
        return matrix
    rows, columns = np.nonzero(labels == have[rng.integers(len(have))])
    chosen = rng.integers(len(rows))
    target = matrix @ np.array([columns[chosen], rows[chosen], 1.0])
    size = np.array(crop_wh, np.float64)
    wanted = np.clip(target[:2], 0.15 * size, 0.85 * size)
    shifted = matrix.copy()
    shifted[:2, 2] += wanted - target[:2]
    return shifted
