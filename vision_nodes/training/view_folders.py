"""Rendered indoor views as sequence folders: ``python -m vision_nodes.training.view_folders --out runs/view_folders``.

One folder per world in the layout of 7-Scenes (frames.csv, rgb/, depth/ in mm, groundtruth.txt, camera.yaml): the
development set for local features. Views come in clusters that look at the same things from aside, nearer,
turned and tilted; each picture has its own exposure, blur and noise. Worlds that exist are kept.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from vision_nodes.bags.folder_files import seconds, write_camera_yaml, write_tum
from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.effects import Effects
from vision_nodes.simulation.world import World
from vision_nodes.training.world_clusters import scattered

FIRST_SEED = 29_000  # of worlds that nothing trains on
SIZE_WH = (640, 480)
FOCAL_PX = 525.0
SPREAD = 0.33  # rad and, times 0.7, metres between the views of a cluster (1 sigma)
MIN_MEDIAN_M = 0.8


def write_folder(world: World, folder: Path, clusters: int, views: int) -> int:
    """Render and write one world; returns the number of pictures."""
    rng = np.random.default_rng((world.seed, 21))
    K = np.array([[FOCAL_PX, 0, 319.5], [0, FOCAL_PX, 239.5], [0, 0, 1.0]])
    camera = CameraModel(SIZE_WH, K)
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows: list[str] = []
    stamps, poses = [], []
    for _ in range(clusters):
        centre = _looking_at_something(world, rng, camera)
        for number in range(views):
            pose = centre if number == 0 else scattered(centre, rng, SPREAD)
            effects = Effects.random(rng) if rng.random() < 0.6 else None
            frame = world.render(pose, camera, effects=effects)
            index = len(rows)
            picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
            names = f"rgb/{index:06d}.jpg", f"depth/{index:06d}.png"
            cv2.imwrite(str(folder / names[0]), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
            millimetres = np.clip(np.nan_to_num(frame.depth_m) * 1000, 0, 65535).astype(np.uint16)
            cv2.imwrite(str(folder / names[1]), millimetres)
            stamps.append(index * 1_000_000_000)
            rows.append([index, seconds(stamps[-1]), *names])
            poses.append(pose)
    write_camera_yaml(folder / "camera.yaml", camera)
    write_tum(folder / "groundtruth.txt", stamps, np.stack(poses))
    with (folder / "frames.csv").open("w", newline="") as stream:  # last: a folder with it is complete
        csv.writer(stream).writerows([["index", "timestamp", "rgb", "depth"], *rows])
    return len(rows)


def _looking_at_something(world: World, rng: np.random.Generator, camera: CameraModel) -> np.ndarray:
    """A pose whose view is not full of one near wall."""
    small = CameraModel((80, 60), camera.K * [[1 / 8], [1 / 8], [1]])
    while True:
        pose, _ = world.random_view(rng, SIZE_WH)
        if np.nanmedian(world.depth(pose, small)) > MIN_MEDIAN_M:
            return pose


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/view_folders"))
    parser.add_argument(
        "--seeds", type=int, nargs=2, default=(FIRST_SEED, FIRST_SEED + 8), metavar=("A", "B")
    )
    parser.add_argument("--clusters", type=int, default=3)
    parser.add_argument("--views", type=int, default=8)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    for seed in track(range(*options.seeds), "worlds"):
        folder = options.out / f"{seed:06d}"
        if not (folder / "frames.csv").exists():
            write_folder(World.indoor(seed), folder, options.clusters, options.views)


if __name__ == "__main__":
    main()
