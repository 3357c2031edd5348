"""Render views of random rooms into a folder, one file per room: ``python -m vision_nodes.training.rooms.generate``.

``room_<seed>.npz`` holds `images` (V, H, W, 3) uint8 RGB, `depth` (V, H / 2, W / 2) float16 metres along the optical
axis and `fx` (V,) float32 px at the width of the images. Rooms that exist are kept, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from vision_nodes.training.place_data import read_picture
from vision_nodes.training.rooms.layout import random_room
from vision_nodes.training.rooms.render import random_view, render

SIZE_WH = (256, 192)


def room_views(seed: int, views: int, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of one file, a function of the arguments alone."""
    rng = np.random.default_rng((20240601, seed))
    room = random_room(rng, pictures)
    images: list[np.ndarray] = []
    depths, focal = [], []
    while len(images) < views:
        view = random_view(room, rng, SIZE_WH)
        image, depth = render(room, view)
        if np.median(depth) < 0.35:  # nose against a wall
            continue
        images.append(image)
        depths.append(depth[1::2, 1::2].astype(np.float16))
        focal.append(view.fx)
    return {"images": np.stack(images), "depth": np.stack(depths), "fx": np.array(focal, np.float32)}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/rooms"))
    parser.add_argument(
        "--pictures", type=Path, default=Path("../shared/data/labelled/coco_val2017_subset/train.txt")
    )
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 400), metavar=("FIRST", "END"))
    parser.add_argument("--views", type=int, default=6)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    lines = options.pictures.read_text().split()[:300]
    pictures = [read_picture(options.pictures.parent / line) for line in lines]
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in track(range(*options.seeds), "rooms"):
        path = options.out / f"room_{seed:06d}.npz"
        if path.exists():
            continue
        temporary = path.with_suffix(".partial")
        with temporary.open("wb") as file:
            np.savez(file, **room_views(seed, options.views, pictures))
        os.replace(temporary, path)


if __name__ == "__main__":
    main()
