"""Rendered visits of random worlds: the same way walked several times, with exact depth.

On disk, one folder per world seed: ``walk<k>_step<i>.jpg`` (network size or larger, RGB) and
``walk<k>_step<i>.png`` (16-bit millimetres at 1/16 of the network input, 0 = sky). Step i of every walk is the
same place, seen from beside, in other light; neighbouring steps are `render_visits.STEP_M` apart.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from vision_nodes.errors import TrainingError
from vision_nodes.training import place_augment as augment
from vision_nodes.training.place_data import Sample, disturb, read_picture

STEPS_PER_WORLD = 1000  # label space of one world
APART = 3  # steps that make another place


class Visits:
    """Index of one folder of rendered visits: worlds in order of their seed."""

    def __init__(self, folder: Path) -> None:
        self.worlds: list[tuple[Path, int, int]] = []  # folder, walks, steps
        for world in sorted(path for path in folder.iterdir() if path.is_dir()):
            numbers = [re.fullmatch(r"walk(\d+)_step(\d+)\.jpg", file.name) for file in world.iterdir()]
            found = [(int(match[1]), int(match[2])) for match in numbers if match]
            if found:
                walks, steps = (max(column) + 1 for column in zip(*found))
                if len(found) == walks * steps:  # a world still being rendered is left out
                    self.worlds.append((world, walks, steps))
        if not self.worlds:
            raise TrainingError("rendered visits", f"no complete world in {folder}", "render them first")

    def image(self, world: int, walk: int, step: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return read_picture(self.worlds[world][0] / f"walk{walk}_step{step}.jpg")

    def depth(self, world: int, walk: int, step: int) -> np.ndarray:
        """(H / 16, W / 16) float32 metres, 0 = unknown."""
        path = self.worlds[world][0] / f"walk{walk}_step{step}.png"
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if stored is None or stored.dtype != np.uint16:
            raise TrainingError("a 16-bit depth picture", str(path), "render the visits again")
        return stored.astype(np.float32) / 1000


class WorldVisits(Dataset[Sample]):
    """Every sample: a step of one world and another step nearby, each seen on several walks."""

    def __init__(
        self, folder: Path, size_wh: tuple[int, int], views: int, seed: int, held_out: int = 0
    ) -> None:
        self.visits = Visits(folder)
        worlds = range(len(self.visits.worlds) - held_out)
        self.places = [(w, step) for w in worlds for step in range(self.visits.worlds[w][2])]
        self.size_wh, self.views, self.seed, self.epoch = size_wh, views, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """New walks, neighbours and augmentations for each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        """`views` (V, 3, H, W) uint8, `place` (V,) int64, `depth` (V, H / 16, W / 16) metres."""
        rng = np.random.default_rng((self.seed, self.epoch, index))
        world, step = self.places[index]
        _, walks, steps = self.visits.worlds[world]
        away = [other for other in range(steps) if APART <= abs(other - step) <= 3 * APART]
        pair = [step, int(rng.choice(away)) if away else step]
        order = rng.permutation(walks)
        views, labels, depths = [], [], []
        for number in range(self.views):
            place, walk = pair[number % 2], int(order[(number // 2) % walks])
            image = self.visits.image(world, walk, place)
            image = cv2.resize(image, self.size_wh, interpolation=cv2.INTER_AREA)
            image = disturb(image, rng) if rng.random() < 0.7 else augment.change_light(image, rng, 0.5)
            views.append(torch.from_numpy(image).permute(2, 0, 1))
            labels.append(world * STEPS_PER_WORLD + place)
            depths.append(torch.from_numpy(self.visits.depth(world, walk, place)))
        return {"views": torch.stack(views), "place": torch.tensor(labels), "depth": torch.stack(depths)}


class WorldRevisits(Dataset[Sample]):
    """Development set: the last `held_out` worlds, walk 0 as gallery, the last walk disturbed as query."""

    def __init__(self, folder: Path, size_wh: tuple[int, int], seed: int, held_out: int) -> None:
        self.visits = Visits(folder)
        self.size_wh, self.seed = size_wh, seed
        self.first = len(self.visits.worlds) - held_out
        self.steps = min(steps for _, _, steps in self.visits.worlds)

    def __len__(self) -> int:
        return len(self.visits.worlds) - self.first

    def __getitem__(self, index: int) -> Sample:
        """`gallery` and `query` (steps, H, W, 3) uint8; `image` one of them; `source`."""
        world = self.first + index
        rng = np.random.default_rng((self.seed, index))
        walks = self.visits.worlds[world][1]
        sides: dict[str, list[np.ndarray]] = {"gallery": [], "query": []}
        for step in range(self.steps):
            for side, walk in (("gallery", 0), ("query", walks - 1)):
                image = self.visits.image(world, walk, step)
                image = cv2.resize(image, self.size_wh, interpolation=cv2.INTER_AREA)
                sides[side].append(disturb(image, rng) if side == "query" else image)
        tensors = {side: torch.from_numpy(np.stack(images)) for side, images in sides.items()}
        return {**tensors, "image": tensors["query"][0], "source": torch.tensor(1)}


class WorldClusters(Dataset[Sample]):
    """Every sample: two clusters of one world, each seen from several hand-held viewpoints."""

    def __init__(self, folder: Path, size_wh: tuple[int, int], views: int, seed: int) -> None:
        self.worlds = [dict(np.load(path, allow_pickle=False)) for path in sorted(folder.glob("*.npz"))]
        self.worlds = [world for world in self.worlds if world["cluster"].max(initial=0) > 0]
        if not self.worlds:
            raise TrainingError("rendered clusters", f"none in {folder}", "run world_clusters first")
        self.places = [
            (number, int(cluster))
            for number, world in enumerate(self.worlds)
            for cluster in np.unique(world["cluster"])
        ]
        self.size_wh, self.views, self.seed, self.epoch = size_wh, views, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """New views, neighbours and light for each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return 2 * len(self.places)  # each place is worth two looks

    def __getitem__(self, index: int) -> Sample:
        """`views` (V, 3, H, W) uint8, `place` (V,) int64, `depth` (V, H / 16, W / 16) all 0 (unknown)."""
        rng = np.random.default_rng((self.seed, self.epoch, index))
        number, cluster = self.places[index % len(self.places)]
        world = self.worlds[number]
        others = [other for other in np.unique(world["cluster"]) if other != cluster]
        views, labels = [], []
        for place in (cluster, int(rng.choice(others))):
            members = np.flatnonzero(world["cluster"] == place)
            count = self.views // 2
            for member in rng.choice(members, count, replace=len(members) < count):
                image = cv2.resize(world["images"][member], self.size_wh, interpolation=cv2.INTER_AREA)
                image = disturb(image, rng) if rng.random() < 0.5 else augment.change_light(image, rng, 0.4)
                views.append(torch.from_numpy(image).permute(2, 0, 1))
                labels.append(number * STEPS_PER_WORLD + place)
        unknown = torch.zeros(len(views), self.size_wh[1] // 16, self.size_wh[0] // 16)
        return {"views": torch.stack(views), "place": torch.tensor(labels), "depth": unknown}


class WorldLoops(Dataset[Sample]):
    """Development set: scattered views of one world and how much each pair shares."""

    def __init__(self, folder: Path, size_wh: tuple[int, int]) -> None:
        self.paths, self.size_wh = sorted(folder.glob("*.npz")), size_wh
        if not self.paths:
            raise TrainingError("rendered loops", f"none in {folder}", "run world_clusters first")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """`gallery` (N, H, W, 3) uint8, `overlap` (N, N); `image` one of the views; `source`."""
        stored = np.load(self.paths[index], allow_pickle=False)
        views = [cv2.resize(view, self.size_wh, interpolation=cv2.INTER_AREA) for view in stored["images"]]
        gallery = torch.from_numpy(np.stack(views))
        overlap = torch.from_numpy(stored["overlap"])
        return {"gallery": gallery, "overlap": overlap, "image": gallery[0], "source": torch.tensor(2)}
