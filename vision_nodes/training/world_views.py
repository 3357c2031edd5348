"""Render random worlds once for training: ``python -m vision_nodes.training.world_views --out runs/worlds``.

Two things per world seed. ``views/world_<seed>.npz``: views from anywhere with `images` (V, H, W, 3) uint8 RGB,
`depth` (V, H / 2, W / 2) float16 metres (NaN = sky) and `fx` (V,) float32 px, for the depth network; ``--ahead``
of them look where a robot goes. And ``visits/<seed>/walk<k>_step<i>.jpg`` with 16-bit depth beside it: the loop
of the world walked several times, a little aside each time, for the place network (`place_worlds`); ``--no-visits``
leaves these out. Worlds that exist are kept.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.path import optical_pose
from vision_nodes.simulation.world import RenderedFrame, World

FIRST_SEED = 30_000  # worlds below belong to others: tests, demos, evaluation, segmentation
DEPTH_WH = (256, 192)  # network input of the depth model
PLACE_WH = (224, 160)  # of the place model
WALKS, STEPS, STEP_M = 3, 16, 1.0


def views_of(world: World, count: int, ahead: float = 0.0) -> dict[str, np.ndarray]:
    """Arrays of one depth file; rendered at twice the size and averaged, so edges are not jagged.

    Args:
        ahead: share of the views that look along the walk, as from a robot; the others look anywhere.
    """
    rng = np.random.default_rng((world.seed, 11))
    size = (2 * DEPTH_WH[0], 2 * DEPTH_WH[1])
    images, depths, focal = [], [], []
    for number in range(count):
        robot = number < round(ahead * count)
        pose, camera = view_ahead(world, rng, size) if robot else world.random_view(rng, size)
        frame = world.render(pose, camera)
        images.append(cv2.resize(frame.image, DEPTH_WH, interpolation=cv2.INTER_AREA))
        depths.append(frame.depth_m[1::4, 1::4].astype(np.float16))
        focal.append(camera.fx / 2)
    return {"images": np.stack(images), "depth": np.stack(depths), "fx": np.array(focal, np.float32)}


def view_ahead(
    world: World, rng: np.random.Generator, size_wh: tuple[int, int]
) -> tuple[np.ndarray, CameraModel]:
    """A T_world_cam (4, 4) on the walk, looking along or back, and a pinhole: what a robot mostly sees."""
    point, heading = (array[0] for array in world.style.loop.at(rng.uniform(0, world.style.loop.length_m, 1)))
    aside = rng.uniform(-0.5, 0.5) if world.kind == "indoor" else rng.uniform(-1.5, 1.5)
    position = np.array([*(point + aside * np.array([heading[1], -heading[0]])), rng.uniform(0.4, 1.7)])
    yaw = np.arctan2(heading[1], heading[0]) + rng.normal(0, 0.3) + np.pi * (rng.random() < 0.3)
    f = rng.uniform(0.5, 1.1) * size_wh[0]
    K = np.array([[f, 0, (size_wh[0] - 1) / 2], [0, f, (size_wh[1] - 1) / 2], [0, 0, 1.0]])
    return optical_pose(position, yaw, rng.uniform(-0.1, 0.25), rng.normal(0, 0.03)), CameraModel(size_wh, K)


def write_visits(world: World, folder: Path) -> None:
    """The first STEPS metres of the loop, WALKS times."""
    rng = np.random.default_rng((world.seed, 12))
    folder.mkdir(parents=True, exist_ok=True)
    start = rng.uniform(0, world.style.loop.length_m)
    size = (2 * PLACE_WH[0], 2 * PLACE_WH[1])
    focal = rng.uniform(0.5, 1.0) * size[0]
    reach = 0.5 if world.kind == "indoor" else 1.2
    for walk in range(WALKS):
        aside, height = rng.uniform(-reach, reach), rng.uniform(0.9, 1.5)
        f = focal * rng.uniform(0.95, 1.05)
        K = np.array([[f, 0, (size[0] - 1) / 2], [0, f, (size[1] - 1) / 2], [0, 0, 1.0]])
        for step in range(STEPS):
            distance = start + step * STEP_M + rng.normal(0, 0.15)
            point, ahead = (array[0] for array in world.style.loop.at(np.array([distance])))
            position = np.array([*(point + aside * np.array([ahead[1], -ahead[0]])), height])
            yaw = np.arctan2(ahead[1], ahead[0]) + rng.normal(0, 0.08)
            pose = optical_pose(position, yaw, *rng.normal(0, (0.04, 0.02)))
            _write_visit(world.render(pose, CameraModel(size, K)), folder / f"walk{walk}_step{step}")


def _write_visit(frame: RenderedFrame, path: Path) -> None:
    image = cv2.resize(frame.image, PLACE_WH, interpolation=cv2.INTER_AREA)
    metres = np.nan_to_num(frame.depth_m[16::32, 16::32], nan=0.0, posinf=0.0)
    millimetres = np.clip(metres * 1000, 0, 65535).astype(np.uint16)
    cv2.imwrite(str(path) + ".png", millimetres)
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path) + ".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/worlds"))
    parser.add_argument("--seeds", type=int, nargs=2, default=(FIRST_SEED, FIRST_SEED + 160))
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--ahead", type=float, default=0.0, help="share of views that look along the walk")
    parser.add_argument("--no-visits", action="store_true", help="depth views only")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    (options.out / "views").mkdir(parents=True, exist_ok=True)
    for seed in track(range(*options.seeds), "worlds"):
        path = options.out / "views" / f"world_{seed:06d}.npz"
        if path.exists():
            continue
        world = World.random(seed)
        if not options.no_visits:
            write_visits(world, options.out / "visits" / f"{seed:06d}")
        temporary = path.with_suffix(".partial")
        with temporary.open("wb") as file:
            np.savez(file, **views_of(world, options.views, options.ahead))
        os.replace(temporary, path)


if __name__ == "__main__":
    main()
