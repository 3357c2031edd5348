"""Rendered views with known overlap: ``python -m vision_nodes.training.world_clusters --out runs/worlds``.

``clusters/<seed>.npz`` for training: `images` (N, H, W, 3) uint8 RGB and `cluster` (N,) int64. Views of one cluster look at
the same thing from a little aside, turned and tilted, as a hand-held camera does; clusters of one world hardly
share anything. ``loops/<seed>.npz`` for choosing: wider scattered views and `overlap` (N, N) float32, the mean
share of each view's pixels that the other sees, occlusion checked by depth.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.world import RenderedFrame, World
from vision_nodes.training.world_views import PLACE_WH

RENDER_WH = (320, 240)
CLUSTERS, VIEWS = 6, 10
APART = 0.1  # overlap below which two views are different places
GRID_PX = 12  # spacing of the pixels whose visibility is checked
DEPTH_TOLERANCE = 0.08


@dataclass(frozen=True)
class Seen:
    """What `overlap` asks of a view."""

    depth_m: np.ndarray  # (H, W) metres along the optical axis
    T_world_cam: np.ndarray  # (4, 4)


def scattered(pose: np.ndarray, rng: np.random.Generator, spread: float) -> np.ndarray:
    """A pose near `pose` (4, 4): turned about the vertical by `spread` rad (1 sigma), tilted and moved."""
    yaw, tilt = rng.normal(0, spread), rng.normal(0, 0.4 * spread)
    c, s, ct, st = np.cos(yaw), np.sin(yaw), np.cos(tilt), np.sin(tilt)
    near = pose.copy()
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    near[:3, :3] = turn @ pose[:3, :3] @ np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    near[:3, 3] += rng.normal(0, 0.7 * spread, 3) * (1, 1, 0.4)
    return near


def overlap(a: RenderedFrame | Seen, b: RenderedFrame | Seen, K: np.ndarray) -> float:
    """Mean of the shares of a's pixels seen in b and b's seen in a."""
    return (_seen(a, b, K) + _seen(b, a, K)) / 2


def _seen(a: RenderedFrame | Seen, b: RenderedFrame | Seen, K: np.ndarray) -> float:
    """Share of a grid of a's pixels whose surface is visible in b."""
    height, width = a.depth_m.shape
    ys, xs = np.mgrid[GRID_PX // 2 : height : GRID_PX, GRID_PX // 2 : width : GRID_PX].reshape(2, -1)
    depth = a.depth_m[ys, xs].astype(np.float64)
    hit = np.isfinite(depth)
    rays = np.linalg.inv(K) @ np.stack([xs, ys, np.ones(len(xs))])
    T_b_a = np.linalg.inv(b.T_world_cam) @ a.T_world_cam
    x, y, z = T_b_a[:3, :3] @ (rays * np.where(hit, depth, 1)) + T_b_a[:3, 3:]
    hit &= z > 0.05
    safe = np.maximum(z, 0.05)
    u = np.rint(K[0, 0] * x / safe + K[0, 2]).astype(np.int64)
    v = np.rint(K[1, 1] * y / safe + K[1, 2]).astype(np.int64)
    hit &= (u >= 0) & (u < width) & (v >= 0) & (v < height)
    there = np.full(len(z), np.inf)
    there[hit] = b.depth_m[v[hit], u[hit]]
    return float(np.mean(hit & (np.abs(there - z) < DEPTH_TOLERANCE * z)))


def camera_of(rng: np.random.Generator) -> CameraModel:
    """A lens of 58 to 71 degrees."""
    f = rng.uniform(0.7, 0.9) * RENDER_WH[0]
    K = np.array([[f, 0, (RENDER_WH[0] - 1) / 2], [0, f, (RENDER_WH[1] - 1) / 2], [0, 0, 1.0]])
    return CameraModel(RENDER_WH, K)


def clusters_of(world: World) -> dict[str, np.ndarray]:
    """Arrays of one training file."""
    rng = np.random.default_rng((world.seed, 14))
    camera = camera_of(rng)
    anchors: list[RenderedFrame] = []
    for _ in range(40):
        frame = world.render(world.random_view(rng, RENDER_WH)[0], camera)
        if np.nanmedian(frame.depth_m) > 0.8 and all(overlap(frame, a, camera.K) < APART for a in anchors):
            anchors.append(frame)
        if len(anchors) == CLUSTERS:
            break
    images, cluster = [], []
    for number, anchor in enumerate(anchors):
        for _ in range(VIEWS):
            near = world.render(scattered(anchor.T_world_cam, rng, 0.2), camera)
            if overlap(near, anchor, camera.K) >= 0.4:
                images.append(shrink(near.image))
                cluster.append(number)
    return {"images": np.stack(images), "cluster": np.array(cluster, np.int64)}


def loops_of(world: World, groups: int = 6, views: int = 8) -> dict[str, np.ndarray]:
    """Arrays of one development file."""
    rng = np.random.default_rng((world.seed, 13))
    camera = camera_of(rng)
    anchors = [world.random_view(rng, RENDER_WH)[0] for _ in range(groups)]
    frames = [world.render(scattered(anchors[i % groups], rng, 0.35), camera) for i in range(groups * views)]
    table = np.eye(len(frames), dtype=np.float32)
    for i, a in enumerate(frames):
        for j, b in enumerate(frames[:i]):
            table[i, j] = table[j, i] = overlap(a, b, camera.K)
    return {"images": np.stack([shrink(frame.image) for frame in frames]), "overlap": table}


def shrink(image: np.ndarray) -> np.ndarray:
    """To the network's input size."""
    return cv2.resize(image, PLACE_WH, interpolation=cv2.INTER_AREA)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/worlds"))
    parser.add_argument("--clusters", type=int, nargs=2, default=(30100, 30140), metavar=("FIRST", "END"))
    parser.add_argument("--loops", type=int, nargs=2, default=(31000, 31012), metavar=("FIRST", "END"))
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    for kind, seeds, make in (
        ("loops", options.loops, loops_of),
        ("clusters", options.clusters, clusters_of),
    ):
        folder = options.out / kind
        folder.mkdir(parents=True, exist_ok=True)
        for seed in track(range(*seeds), kind):
            path = folder / f"{seed:06d}.npz"
            if path.exists():
                continue
            temporary = path.with_suffix(".partial")
            with temporary.open("wb") as file:
                np.savez(file, **make(World.random(seed)))
            os.replace(temporary, path)


if __name__ == "__main__":
    main()
