"""Training and development data of the place network: pictures seen again, and pictures seen nearby."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from vision_nodes.errors import TrainingError
from vision_nodes.training import place_augment as augment

Sample = dict[str, torch.Tensor]
STORED_SIDE = 320  # px, long side kept in memory


def read_picture(path: Path, long_side: int = STORED_SIDE) -> np.ndarray:
    """(H, W, 3) uint8 RGB, shrunk to `long_side` at most.

    Raises:
        TrainingError: missing or not an image.
    """
    data = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise TrainingError("a readable picture", str(path), "check the data folder in the config")
    scale = long_side / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class PictureVisits(Dataset[Sample]):
    """Every sample: `views` augmented visits of one picture, sometimes of two places within it.

    Two crops of one picture that show different parts of it are different places: the negatives that
    differ from the positives by position only, as neighbouring places along a corridor do.
    """

    def __init__(
        self, paths: list[Path], size_wh: tuple[int, int], views: int, seed: int, severity: float = 1.0
    ) -> None:
        if views % 2:
            raise TrainingError("an even number of views", str(views), "correct options.views")
        self.pictures = [read_picture(path) for path in paths]
        self.size_wh, self.views, self.seed, self.epoch = size_wh, views, seed, 0
        self.severity = severity

    def set_epoch(self, epoch: int) -> None:
        """New augmentations for each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        """`views` (V, 3, H, W) uint8, `place` (V,) int64, `depth` (V, H / 16, W / 16) all 0 (unknown)."""
        rng = np.random.default_rng((self.seed, self.epoch, index))
        picture = self.pictures[index]
        places = [picture, picture]
        split = rng.random() < 0.4
        if split:
            places = neighbouring_crops(picture, rng)
        views, labels = [], []
        for number in range(self.views):
            half = number % 2
            view = augment.second_visit(
                places[half], rng, self.size_wh, self.severity * rng.uniform(0.2, 1.0)
            )
            views.append(torch.from_numpy(view).permute(2, 0, 1))
            labels.append(2 * index + (half if split else 0))
        unknown = torch.zeros(self.views, self.size_wh[1] // 16, self.size_wh[0] // 16)
        return {"views": torch.stack(views), "place": torch.tensor(labels), "depth": unknown}


def neighbouring_crops(picture: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Two places within one picture: side by side, or the whole and its far middle."""
    height, width = picture.shape[:2]
    if rng.random() < 0.5:
        w = int(width * rng.uniform(0.5, 0.6))
        return [picture[:, :w], picture[:, width - w :]]
    zoom = rng.uniform(1.8, 2.4)
    w, h = int(width / zoom), int(height / zoom)
    x, y = (int(rng.uniform(0.35, 0.65) * side) for side in (width - w, height - h))
    return [picture, picture[y : y + h, x : x + w]]


class PictureRevisits(Dataset[Sample]):
    """Development set: for each picture a walk of gallery crops and disturbed queries of each.

    Crops grow by 1.14 from one step to the next, as when walking forward; a query is a step seen with
    jitter, other light, blur, noise and low resolution.
    """

    steps = 4

    def __init__(self, paths: list[Path], size_wh: tuple[int, int], seed: int) -> None:
        self.paths, self.size_wh, self.seed = paths, size_wh, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """`gallery` and `query` (steps, H, W, 3) uint8; `image` one of them; `source`."""
        picture = read_picture(self.paths[index], 416)
        rng = np.random.default_rng((self.seed, index))
        start, end = rng.uniform(0.4, 0.6, 2), rng.uniform(0.3, 0.7, 2)
        gallery, query = [], []
        for step in range(self.steps):
            zoom = 1.12 * 1.14**step
            centre = start + (end - start) * step / (self.steps - 1)
            gallery.append(zoomed_crop(picture, zoom, centre, self.size_wh))
            jittered = centre + rng.normal(0, 0.05, 2) / zoom
            view = zoomed_crop(picture, zoom * np.exp(rng.normal(0, 0.03)), jittered, self.size_wh)
            query.append(disturb(view, rng))
        tensors = [torch.from_numpy(np.stack(views)) for views in (gallery, query)]
        return {"gallery": tensors[0], "query": tensors[1], "image": tensors[1][0], "source": torch.tensor(0)}


def zoomed_crop(
    picture: np.ndarray, zoom: float, centre_xy: np.ndarray, size_wh: tuple[int, int]
) -> np.ndarray:
    """The part of `picture` around a centre (fractions of its sides), 1 / zoom of its size."""
    height, width = picture.shape[:2]
    w, h = int(width / zoom), int(height / zoom)
    x = int(np.clip(centre_xy[0] * width - w / 2, 0, width - w))
    y = int(np.clip(centre_xy[1] * height - h / 2, 0, height - h))
    return cv2.resize(picture[y : y + h, x : x + w], size_wh, interpolation=cv2.INTER_AREA)


def disturb(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Strong photometric disturbance without changing the viewpoint."""
    view = augment.change_light(view, rng, 0.9)
    if rng.random() < 0.25:
        view = augment.blur(view, rng)
    if rng.random() < 0.6:
        view = augment.lower_resolution(view, rng)
    if rng.random() < 0.3:
        view = augment.add_noise(view, rng)
    if rng.random() < 0.25:
        view = augment.occlude(view, rng)
    return view
