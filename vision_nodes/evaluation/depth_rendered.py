"""Depth on drives through rendered worlds that no training has seen, and whether stated confidence can be believed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vision_nodes.datatypes import DepthMap
from vision_nodes.evaluation.depth import MAX_M, MIN_M, compare_depth, sample_at
from vision_nodes.preprocess.frame import Frame
from vision_nodes.simulation.drive import default_camera
from vision_nodes.simulation.world import World
from vision_nodes.tasks.runners import DepthEstimator

UNSEEN_SEEDS = range(50_000, 50_012)  # training draws its worlds from 30000 to 49999
FRAMES = 8  # of each drive, spread over it


def unseen_drives(
    seeds: range = UNSEEN_SEEDS, frames: int = FRAMES
) -> Iterator[tuple[str, Frame, np.ndarray]]:
    """(kind of world, frame of the default camera, (H, W) float32 true depth in metres with NaN = sky)."""
    camera = default_camera()
    for seed in seeds:
        world = World.random(seed)
        poses = world.drive().T_world_cam
        for number in np.linspace(0, len(poses) - 1, frames).astype(int):
            shown = world.render(poses[number], camera)
            yield world.kind, Frame(0, "camera", shown.image, camera.size_wh, camera), shown.depth_m


def score_unseen_worlds(
    estimator: DepthEstimator, seeds: range = UNSEEN_SEEDS, frames: int = FRAMES
) -> dict[str, float]:
    """Means over frames of AbsRel raw and median-scaled, of the most confident half, and by kind of world."""
    rows: list[dict[str, float]] = []
    kinds: list[str] = []
    for kind, frame, truth in unseen_drives(seeds, frames):
        depth = estimator.estimate(frame)
        row = compare_depth(depth.depth_m, truth)
        rows.append({name: row[name] for name in ("abs_rel", "abs_rel_scaled", "delta1", "ratio")})
        rows[-1] |= confident_half(depth, truth)
        kinds.append(kind)
    figures = {f"worlds_{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}
    for kind in sorted(set(kinds)):
        chosen = [row["abs_rel"] for row, own in zip(rows, kinds) if own == kind]
        figures[f"worlds_{kind}_abs_rel"] = float(np.mean(chosen))
    return figures


def confident_half(depth: DepthMap, truth_m: np.ndarray) -> dict[str, float]:
    """AbsRel of the half of the pixels that the model is surer of: lower than that of all, if it can be believed.

    Args:
        depth: with its confidence.
        truth_m: (H, W) float32 metres, NaN or 0 invalid.

    Returns:
        `confident_half_abs_rel`; empty without confidence or without valid pixels.
    """
    if depth.confidence is None:
        return {}
    found, sure = sample_at(depth.depth_m, truth_m.shape), sample_at(depth.confidence, truth_m.shape)
    valid = np.isfinite(truth_m) & (truth_m > MIN_M) & (truth_m < MAX_M) & np.isfinite(found) & (found > 0)
    if not valid.any():
        return {}
    chosen = valid & (sure >= np.median(sure[valid]))
    error = np.abs(found[chosen] - truth_m[chosen]) / truth_m[chosen]
    return {"confident_half_abs_rel": float(error.mean())}
