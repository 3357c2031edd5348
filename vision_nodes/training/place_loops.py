"""Views with exact overlap for training: ``python -m vision_nodes.training.place_loops --out runs/place_loops``.

Which views are the same place is a matter of degree. Here the degree is known: hand-held loops through furnished
rooms and scattered views of worlds (overlap by depth, occlusion checked), and views into photographs (overlap by
area). From `POSITIVE` on a pair is one place, below `IGNORED` it is two, between it teaches nothing: the rule of
``loops.csv``. One ``<kind>_<seed>.npz`` per room or world: `images` (N, H, W, 3) uint8 RGB, `overlap` (N, N) float32.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track
from torch.utils.data import Dataset

from vision_nodes.errors import TrainingError
from vision_nodes.simulation.world import World
from vision_nodes.training import place_augment as augment
from vision_nodes.training.place_data import Sample, disturb, read_picture
from vision_nodes.training.rooms.layout import Room, random_room
from vision_nodes.training.rooms.render import View, pose_of, render
from vision_nodes.training.world_clusters import Seen, loops_of, overlap
from vision_nodes.training.world_views import PLACE_WH

FIRST_ROOM, FIRST_WORLD = (
    60_000,
    33_000,
)  # seeds; rooms below 60 000 and worlds from 31 000 to 32 999 are others'
TEXTURE_PICTURES = 300


def room_loop(room: Room, rng: np.random.Generator, views: int) -> dict[str, np.ndarray]:
    """One hand-held way through `room`: `images` and the `overlap` of all pairs."""
    fx = rng.uniform(0.7, 0.9) * PLACE_WH[0]
    K = np.array([[fx, 0, (PLACE_WH[0] - 1) / 2], [0, fx, (PLACE_WH[1] - 1) / 2], [0, 0, 1.0]])
    images, seen = [], []
    table = np.eye(views, dtype=np.float32)
    for i, pose in enumerate(hand_held_way(room, rng, views)):
        image, depth = render(room, View(pose, PLACE_WH, fx))
        images.append(image)
        seen.append(Seen(depth, pose))
        for j in range(i):
            table[i, j] = table[j, i] = overlap(seen[i], seen[j], K)
    return {"images": np.stack(images), "overlap": table}


def living_room(rng: np.random.Generator, pictures: list[np.ndarray]) -> Room:
    """A room of 3 m or more, not a corridor."""
    while True:
        room = random_room(rng, pictures)
        if min(room.size[:2]) > 3:
            return room


def hand_held_way(room: Room, rng: np.random.Generator, views: int) -> list[np.ndarray]:
    """T_world_cam (4, 4) of each view: position, bearing and tilt are slow random waves."""
    time = np.linspace(0, 1, views)
    centre = np.array(room.size) * (*rng.uniform(0.4, 0.6, 2), 0.55)
    reach = np.minimum(np.array(room.size) * (0.25, 0.25, 0.08), (1.2, 1.2, 0.2))
    position = centre + reach * np.stack([_wave(time, rng, 1.5) for _ in range(3)], axis=1)
    yaw = rng.uniform(0, 2 * np.pi) + rng.uniform(0.8, 1.6) * _wave(time, rng, 2.5)
    pitch = -0.2 + 0.25 * _wave(time, rng, 2.5)
    roll = 0.1 * _wave(time, rng, 3.0)
    return [pose_of(*values) for values in zip(position, yaw, pitch, roll)]


def _wave(time: np.ndarray, rng: np.random.Generator, cycles: float) -> np.ndarray:
    """Sum of two sines, within -1..1."""
    slow, fast = rng.uniform(0.5, 1.0) * cycles, rng.uniform(1.0, 2.0) * cycles
    phases = rng.uniform(0, 2 * np.pi, 2)
    return 0.7 * np.sin(2 * np.pi * slow * time + phases[0]) + 0.3 * np.sin(
        2 * np.pi * fast * time + phases[1]
    )


def view_outline(rng: np.random.Generator, side: tuple[float, float] = (0.4, 0.65)) -> np.ndarray:
    """(4, 2) float32 corners of a tilted view into a picture, fractions of its sides."""
    half = rng.uniform(*side) / 2
    centre = rng.uniform(half + 0.04, 1 - half - 0.04, 2)
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return (centre + half * (unit + rng.uniform(-0.12, 0.12, (4, 2)))).clip(0, 1).astype(np.float32)


def look(picture: np.ndarray, outline: np.ndarray, size_wh: tuple[int, int] = PLACE_WH) -> np.ndarray:
    """The view of `outline` (4, 2), (h, w, 3) uint8."""
    height, width = picture.shape[:2]
    w, h = size_wh
    target = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], np.float32)
    source = (outline * (width - 1, height - 1)).astype(np.float32)
    homography = cv2.getPerspectiveTransform(source, target)
    return cv2.warpPerspective(
        picture, homography, size_wh, flags=cv2.INTER_LINEAR, borderMode=augment.BORDER
    )


def shared_area(outlines: list[np.ndarray]) -> np.ndarray:
    """(N, N) mean of the shares of each outline's area that the other covers."""
    areas = [cv2.contourArea(outline) for outline in outlines]
    table = np.eye(len(outlines), dtype=np.float32)
    for i, a in enumerate(outlines):
        for j, b in enumerate(outlines[:i]):
            common = cv2.intersectConvexConvex(a, b)[0]
            table[i, j] = table[j, i] = common * (1 / areas[i] + 1 / areas[j]) / 2
    return table


class PictureLoops(Dataset[Sample]):
    """Every sample: views into one picture and the overlap of each pair."""

    def __init__(self, paths: list[Path], size_wh: tuple[int, int], views: int, seed: int) -> None:
        self.paths, self.size_wh, self.views = paths, size_wh, views
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """New views for each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """`views` (V, 3, H, W) uint8, `place` (V,) all `index`, `overlap` (V, V), `depth` all 0 (unknown)."""
        rng = np.random.default_rng((self.seed, 7, self.epoch, index))
        picture = read_picture(self.paths[index], 416)
        side = (0.4, 0.65) if rng.random() < 0.6 else (0.55, 0.9)
        outlines = [view_outline(rng, side) for _ in range(self.views)]
        images = [_seen_again(look(picture, outline, self.size_wh), rng) for outline in outlines]
        return sample_of(images, index, shared_area(outlines), self.size_wh)


class RenderedLoops(Dataset[Sample]):
    """Every sample: a few views of one room or world, half of them near the first, and their overlap."""

    def __init__(self, folder: Path, size_wh: tuple[int, int], views: int, seed: int) -> None:
        self.loops = [dict(np.load(path, allow_pickle=False)) for path in sorted(folder.glob("*.npz"))]
        if not self.loops:
            raise TrainingError("rendered loops", f"none in {folder}", "run training.place_loops first")
        self.anchors = [(n, i) for n, loop in enumerate(self.loops) for i in range(0, len(loop["images"]), 2)]
        self.size_wh, self.views, self.seed, self.epoch = size_wh, views, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """New company for each anchor, new light."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.anchors)

    def __getitem__(self, index: int) -> Sample:
        """As `PictureLoops`; `place` is the room's number."""
        rng = np.random.default_rng((self.seed, 8, self.epoch, index))
        number, anchor = self.anchors[index]
        loop = self.loops[number]
        shared = loop["overlap"][anchor]
        near, others = np.flatnonzero(shared >= 0.3), np.flatnonzero(shared < 0.3)
        chosen = [anchor, *rng.permutation(near[near != anchor])[: self.views // 2]]
        chosen += list(rng.permutation(others)[: self.views - len(chosen)])
        chosen += list(rng.choice(len(shared), self.views - len(chosen)))
        images = [cv2.resize(loop["images"][i], self.size_wh, interpolation=cv2.INTER_AREA) for i in chosen]
        table = loop["overlap"][np.ix_(chosen, chosen)]
        return sample_of([_seen_again(image, rng) for image in images], number, table, self.size_wh)


def _seen_again(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return disturb(image, rng) if rng.random() < 0.4 else augment.change_light(image, rng, 0.4)


def sample_of(images: list[np.ndarray], place: int, table: np.ndarray, size_wh: tuple[int, int]) -> Sample:
    """Views with their overlap as a training sample."""
    return {
        "views": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        "place": torch.full((len(images),), place),
        "overlap": torch.from_numpy(np.ascontiguousarray(table, np.float32)),
        "depth": torch.zeros(len(images), size_wh[1] // 16, size_wh[0] // 16),
    }


def write_loops(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Atomically."""
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/place_loops"))
    parser.add_argument(
        "--pictures", type=Path, default=Path("../shared/data/labelled/coco_val2017_subset/train.txt")
    )
    parser.add_argument("--rooms", type=int, default=70)
    parser.add_argument("--worlds", type=int, default=24)
    parser.add_argument("--views", type=int, default=24)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = options.pictures.read_text().split()[:TEXTURE_PICTURES]
    pictures = [read_picture(options.pictures.parent / line) for line in lines]
    for seed in track(range(FIRST_ROOM, FIRST_ROOM + options.rooms), "rooms"):
        path, rng = options.out / f"room_{seed}.npz", np.random.default_rng((20240601, seed))
        if not path.exists():
            write_loops(path, room_loop(living_room(rng, pictures), rng, options.views))
    for seed in track(range(FIRST_WORLD, FIRST_WORLD + options.worlds), "worlds"):
        path = options.out / f"world_{seed}.npz"
        if not path.exists():
            write_loops(path, loops_of(World.random(seed)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
