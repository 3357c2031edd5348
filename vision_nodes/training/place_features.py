"""What the frozen trunk of the place network sees of many views, computed once; the head trains on it.

A scene is a set of views of which every pair's overlap is known; views of two scenes share nothing. Sources:
views into training pictures, the same pictures strongly disturbed, hand-held loops through rooms and worlds
(`place_loops`), and ways walked several times (`world_views`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from vision_nodes.errors import TrainingError
from vision_nodes.networks.place import PlaceNetwork
from vision_nodes.training import place_augment as augment
from vision_nodes.training.place_data import PictureVisits, disturb
from vision_nodes.training.place_loops import PictureLoops
from vision_nodes.training.place_worlds import Visits

Scene = tuple[np.ndarray, np.ndarray]  # images (V, H, W, 3) uint8, overlap (V, V) float32
AMBIGUOUS = 0.3  # overlap that is neither one place nor two
CHUNK = 32


@dataclass
class Features:
    """Trunk features of all views, and which are the same place.

    Attributes:
        tokens: (N, width, positions) float16, what the mixer reads.
        pooled: (N, C) float32, what is projected.
        scene: (N,) number of the scene.
        row: (N,) place of the view within its scene.
        overlap: one (V, V) float32 table a scene.
    """

    tokens: Tensor
    pooled: Tensor
    scene: Tensor
    row: Tensor
    overlap: list[Tensor]

    def save(self, path: Path) -> None:
        """To one file; `load` reads it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(vars(self), path)

    @classmethod
    def load(cls, path: Path) -> Features:
        """Raises TrainingError when there is no such file."""
        if not path.is_file():
            raise TrainingError("stored features", f"nothing at {path}", "compute them first")
        return cls(**torch.load(path, weights_only=True))

    def shared(self, chosen: Tensor) -> Tensor:
        """(B, B) overlap of the chosen views; 0 between scenes."""
        table = torch.zeros(len(chosen), len(chosen))
        for number in self.scene[chosen].unique().tolist():
            here = torch.nonzero(self.scene[chosen] == number)[:, 0]
            rows = self.row[chosen[here]]
            table[here[:, None], here[None, :]] = self.overlap[number][rows[:, None], rows[None, :]]
        return table


@torch.no_grad()
def read_features(network: PlaceNetwork, scenes: Iterator[Scene]) -> Features:
    """Run the trunk over all scenes."""
    network = network.eval().to(memory_format=torch.channels_last)
    tokens, pooled, scene, row, tables = [], [], [], [], []
    for number, (images, overlap) in enumerate(track(scenes, "scenes")):
        for chunk in torch.from_numpy(images).split(CHUNK):
            some, vector = trunk_features(network, chunk)
            tokens.append(some.half())
            pooled.append(vector)
        scene.append(torch.full((len(images),), number))
        row.append(torch.arange(len(images)))
        tables.append(torch.from_numpy(np.ascontiguousarray(overlap, np.float32)))
    return Features(torch.cat(tokens), torch.cat(pooled), torch.cat(scene), torch.cat(row), tables)


@torch.no_grad()
def trunk_features(network: PlaceNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, W, 3) uint8 -> tokens (B, width, positions) and pooled (B, C), both float32.

    The trunk runs in bfloat16, three times faster on a CPU that has it.
    """
    with torch.autocast("cpu", torch.bfloat16):
        maps = network.trunk(images.permute(0, 3, 1, 2).float() / 127.5 - 1.0)
    maps = [tap.float() for tap in maps]
    return network.tokens(maps), network.pool(maps)


def picture_scenes(
    paths: list[Path], size_wh: tuple[int, int], seed: int, disturbed_from: int
) -> Iterator[Scene]:
    """Five views into each picture; from number `disturbed_from` on four strongly disturbed visits instead."""
    loops = PictureLoops(paths[:disturbed_from], size_wh, 5, seed)
    for index in range(len(loops)):
        sample = loops[index]
        yield sample["views"].permute(0, 2, 3, 1).numpy(), sample["overlap"].numpy()
    visits = PictureVisits(paths[disturbed_from:], size_wh, 4, seed)
    for index in range(len(visits)):
        sample = visits[index]
        same = sample["place"][:, None] == sample["place"][None, :]
        yield sample["views"].permute(0, 2, 3, 1).numpy(), same.numpy().astype(np.float32)


def loop_scenes(folder: Path, size_wh: tuple[int, int], seed: int, views: int = 12) -> Iterator[Scene]:
    """Rendered loops as `place_loops` wrote them, half of the views disturbed."""
    for number, path in enumerate(sorted(folder.glob("*.npz"))):
        rng = np.random.default_rng((seed, 9, number))
        stored = np.load(path, allow_pickle=False)
        kept = np.sort(rng.permutation(len(stored["images"]))[:views])
        images = [_again(stored["images"][i], rng, size_wh) for i in kept]
        yield np.stack(images), stored["overlap"][np.ix_(kept, kept)]


def walk_scenes(
    folder: Path, size_wh: tuple[int, int], seed: int, held_out: int, walks: int = 2
) -> Iterator[Scene]:
    """Each world is walked `walks` times; a step overlaps itself on the other walk, its neighbours somewhat."""
    visits = Visits(folder)
    for world in range(len(visits.worlds) - held_out):
        rng = np.random.default_rng((seed, 10, world))
        _, known, steps = visits.worlds[world]
        chosen = rng.permutation(known)[:walks]
        views = [(walk, step) for walk in chosen for step in range(steps)]
        images = [_again(visits.image(world, walk, step), rng, size_wh) for walk, step in views]
        at = np.array([step for _, step in views])
        apart = np.abs(at[:, None] - at[None, :])
        yield np.stack(images), np.select([apart == 0, apart <= 2], [1.0, AMBIGUOUS], 0.0)


def _again(image: np.ndarray, rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    image = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    return disturb(image, rng) if rng.random() < 0.5 else augment.change_light(image, rng, 0.4)
