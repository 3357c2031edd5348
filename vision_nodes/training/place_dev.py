"""Development sets of the place model, rendered once: ``python -m vision_nodes.training.place_dev --out runs/place_dev``.

Five kinds of revisit, none shared with training (own seeds, own textures, pictures at the end of the training list):

``rooms``      hand-held loops through furnished rooms; overlap of every pair, as in a ``loops.csv``.
``crops``      the same question on photographs: views into one picture whose overlap is known exactly.
``streets``    a street driven twice, on its left and on its right side, in other light.
``corridors``  corridors walked twice behind a strong lens, through low resolution and blur.
``pictures``   parts of photographs seen again tilted, shifted, in other light, among a thousand others.

Each file holds `images` (N, H, W, 3) uint8 RGB and `group` (N,) int64 (room, picture, ...). Loops add `overlap` (N, N)
float32 (NaN between groups and where the moments are too near each other); traverses add `queries` (N, H, W, 3), the
second visit of each view.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.path import optical_pose
from vision_nodes.simulation.world import World
from vision_nodes.training import place_augment as augment
from vision_nodes.training.place_data import disturb, read_picture
from vision_nodes.training.place_loops import living_room, look, room_loop, shared_area, view_outline
from vision_nodes.training.rooms.layout import Room, random_room
from vision_nodes.training.rooms.render import View, pose_of, render
from vision_nodes.training.world_views import PLACE_WH

Arrays = dict[str, np.ndarray]
ROOMS, ROOM_VIEWS, MIN_GAP = 10, 64, 10
STREETS, STREET_STEPS, STREET_STEP_M = 6, 36, 1.2
CORRIDORS, CORRIDOR_STEPS = 8, 32
CROPS, TILES = 6, 6
DEV_PICTURES = 200  # as `dev_pictures` of the place configs


def rooms(pictures: list[np.ndarray], count: int = ROOMS, views: int = ROOM_VIEWS) -> Arrays:
    """Hand-held loops: a way of a few metres, the camera turning back and forth over what it saw before."""
    images, group = [], []
    table = np.full((count * views, count * views), np.nan, np.float32)
    for number in range(count):
        rng = np.random.default_rng((50_000, number))
        loop = room_loop(living_room(rng, pictures), rng, views)
        images += [augment.add_noise(augment.change_light(image, rng, 0.3), rng) for image in loop["images"]]
        group += [number] * views
        apart = np.abs(np.subtract.outer(np.arange(views), np.arange(views))) >= MIN_GAP
        own = slice(number * views, (number + 1) * views)
        table[own, own] = np.where(apart, loop["overlap"], np.nan)
    return {"images": np.stack(images), "group": np.array(group), "overlap": table}


def crops(pictures: list[np.ndarray], views: int = CROPS) -> Arrays:
    """Views into each picture with the area any two share."""
    images, group, tables = [], [], []
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng((51_000, number))
        outlines = [view_outline(rng) for _ in range(views)]
        images += [augment.change_light(look(picture, outline), rng, 0.5) for outline in outlines]
        group += [number] * views
        tables.append(shared_area(outlines))
    table = np.full((len(images), len(images)), np.nan, np.float32)
    for number, own in enumerate(tables):
        table[number * views : (number + 1) * views, number * views : (number + 1) * views] = own
    np.fill_diagonal(table, np.nan)
    return {"images": np.stack(images), "group": np.array(group), "overlap": table}


def streets(_: list[np.ndarray], count: int = STREETS) -> Arrays:
    """References from the left of the street, queries from its right in other light."""
    images: list[np.ndarray] = []
    queries: list[np.ndarray] = []
    group = []
    for number in range(count):
        rng = np.random.default_rng((52_000, number))
        world = World.street(52_000 + number, px_m=45.0)
        f = rng.uniform(0.6, 0.9) * PLACE_WH[0] * 2
        K = np.array([[f, 0, PLACE_WH[0] - 0.5], [0, f, PLACE_WH[1] - 0.5], [0, 0, 1.0]])
        camera = CameraModel((2 * PLACE_WH[0], 2 * PLACE_WH[1]), K)
        for step in range(STREET_STEPS):
            for side, found in ((-1.0, images), (1.0, queries)):
                along = np.array([STREET_STEP_M * step + rng.normal(0, 0.2)])
                point, ahead = (array[0] for array in world.style.loop.at(along))
                aside = side * rng.uniform(0.8, 1.2) * np.array([ahead[1], -ahead[0]])
                yaw = np.arctan2(ahead[1], ahead[0]) + rng.normal(0, 0.08)
                pose = optical_pose(np.array([*(point + aside), 1.5]), yaw, *rng.normal(0, (0.04, 0.02)))
                image = world.render(pose, camera).image
                image = cv2.resize(image, PLACE_WH, interpolation=cv2.INTER_AREA)
                found.append(disturb(image, rng) if side > 0 else image)
            group.append(number)
    return {"images": np.stack(images), "queries": np.stack(queries), "group": np.array(group)}


def corridors(pictures: list[np.ndarray], count: int = CORRIDORS) -> Arrays:
    """Long rooms with few different surfaces, each walked twice along its middle."""
    images: list[np.ndarray] = []
    queries: list[np.ndarray] = []
    group = []
    for number in range(count):
        rng = np.random.default_rng((53_000, number))
        room = _corridor(rng, pictures)
        fx, lens = rng.uniform(0.45, 0.6) * PLACE_WH[0], rng.uniform(0.0, 0.3)
        start, step = 0.06 * room.size[1], 0.8 * room.size[1] / CORRIDOR_STEPS
        for i in range(CORRIDOR_STEPS):
            for found in (images, queries):
                x = room.size[0] / 2 + rng.normal(0, 0.1)
                position = np.array([x, start + step * (i + rng.normal(0, 0.1)), rng.normal(1.3, 0.03)])
                pose = pose_of(position, np.pi / 2 + rng.normal(0, 0.05), *rng.normal(-0.05, (0.04, 0.03)))
                image = through_lens(render(room, View(pose, PLACE_WH, fx))[0], lens)
                image = augment.change_light(image, rng, 0.5)
                found.append(augment.lower_resolution(augment.blur(image, rng), rng))
            group.append(number)
    return {"images": np.stack(images), "queries": np.stack(queries), "group": np.array(group)}


def _corridor(rng: np.random.Generator, pictures: list[np.ndarray]) -> Room:
    """A corridor of 12 m or more whose furniture shares six surfaces."""
    while True:
        room = random_room(rng, pictures)
        if room.size[0] < 2.9 and room.size[1] > 12:
            for place, chosen in zip(range(8, len(room.textures)), np.tile(np.arange(2, 8), 4)):
                room.textures[place] = room.textures[chosen]
            return room


def through_lens(image: np.ndarray, strength: float) -> np.ndarray:
    """Barrel distortion that keeps the corners."""
    h, w = image.shape[:2]
    xs, ys = np.meshgrid(np.linspace(-1, 1, w), np.linspace(-1, 1, h))
    factor = (1 + strength * (xs**2 + ys**2)) / (1 + 2 * strength)
    x, y = (xs * factor + 1) * (w - 1) / 2, (ys * factor + 1) * (h - 1) / 2
    return cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)


def tiles(pictures: list[np.ndarray]) -> Arrays:
    """Every picture is six places side by side; queries see them tilted, shifted and in other light."""
    images: list[np.ndarray] = []
    queries: list[np.ndarray] = []
    group = []
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng((54_000, number))
        for tile in range(TILES):
            low = np.array([(tile % 3) * 0.29 + 0.03, (tile // 3) * 0.44 + 0.03])
            corners = low + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (0.36, 0.5)
            moved = corners + rng.normal(0, 0.03, 2) + rng.normal(0, 0.02, (4, 2))
            images.append(look(picture, corners.clip(0, 1)))
            queries.append(disturb(look(picture, moved.clip(0, 1)), rng))
            group.append(number * TILES + tile)
    return {"images": np.stack(images), "queries": np.stack(queries), "group": np.array(group)}


MAKERS: dict[str, Callable[[list[np.ndarray]], Arrays]] = {
    "rooms": rooms,
    "crops": crops,
    "streets": streets,
    "corridors": corridors,
    "pictures": tiles,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/place_dev"))
    parser.add_argument(
        "--pictures", type=Path, default=Path("../shared/data/labelled/coco_val2017_subset/train.txt")
    )
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    lines = options.pictures.read_text().split()[-DEV_PICTURES:]
    pictures = [read_picture(options.pictures.parent / line, 416) for line in lines]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, make in track(MAKERS.items(), "development sets"):
        path = options.out / f"{name}.npz"
        if not path.exists():
            temporary = path.with_suffix(".partial")
            with temporary.open("wb") as file:
                np.savez(file, **make(pictures))
            os.replace(temporary, path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
