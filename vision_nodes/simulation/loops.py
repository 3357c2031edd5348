"""True revisits of a drive, from view overlap: the same rule as `loops.csv` of the 7-Scenes sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.path import resized_K

POSITIVE_OVERLAP = 0.5
IGNORE_OVERLAP = 0.1
DEPTH_TOLERANCE = 0.05  # relative: a point further behind the other view's surface is hidden there


@dataclass(frozen=True)
class LoopPairs:
    """M pairs of frames i < j with their symmetric overlap, only those with at least `IGNORE_OVERLAP`.

    Overlap >= 0.5 is a revisit; between 0.1 and 0.5 a pair counts neither for nor against.
    """

    pairs: np.ndarray  # (M, 2) int64 frame indices
    overlap: np.ndarray  # (M,) float32

    def positives(self) -> np.ndarray:
        """(P, 2) int64: the pairs that are revisits."""
        return self.pairs[self.overlap >= POSITIVE_OVERLAP]


def loop_pairs(
    poses: np.ndarray,
    camera: CameraModel,
    depths: Sequence[np.ndarray],
    min_gap: int = 1,
    samples: int = 24,
) -> LoopPairs:
    """All pairs of views at least `min_gap` frames apart that see the same surfaces.

    Args:
        poses: (N, 4, 4) T_world_cam.
        camera: pinhole of the full image; depth maps may be smaller copies of it.
        depths: N (h, w) float32 depth maps, metres, NaN = none.
        samples: grid points per image side that are tested.
    """
    points = [_grid_points(T, camera, depth, samples) for T, depth in zip(poses, depths)]
    pairs, overlaps = [], []
    for i, j in _candidates(poses, camera, max(min_gap, 1)):
        overlap = _seen(points[i], poses[j], camera, depths[j])
        if overlap >= IGNORE_OVERLAP:
            overlap = min(overlap, _seen(points[j], poses[i], camera, depths[i]))
        if overlap >= IGNORE_OVERLAP:
            pairs.append((i, j))
            overlaps.append(overlap)
    return LoopPairs(np.array(pairs, np.int64).reshape(-1, 2), np.array(overlaps, np.float32))


def _candidates(poses: np.ndarray, camera: CameraModel, min_gap: int) -> list[tuple[int, int]]:
    """Pairs i < j far enough apart in time whose viewing directions differ by less than the field of view."""
    if len(poses) == 0:
        return []
    corner = np.linalg.solve(camera.K, (0.0, 0.0, 1.0))
    field_of_view = min(2 * np.arctan(np.hypot(corner[0], corner[1])), np.pi)
    forward = poses[:, :3, 2]
    near = forward @ forward.T > np.cos(field_of_view)
    i, j = np.nonzero(np.triu(near, k=min_gap))
    return list(zip(i.tolist(), j.tolist()))


def _grid_points(T_world_cam: np.ndarray, camera: CameraModel, depth: np.ndarray, samples: int) -> np.ndarray:
    """(P, 3) world points on a regular grid of pixels; NaN rows where there is no depth."""
    rows = np.linspace(0, depth.shape[0] - 1, samples).round().astype(int)
    columns = np.linspace(0, depth.shape[1] - 1, samples).round().astype(int)
    v, u = np.meshgrid(rows, columns, indexing="ij")
    rays = (
        np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3)
        @ np.linalg.inv(resized_K(camera, (depth.shape[1], depth.shape[0]))).T
    )
    cam = rays * depth[v, u].reshape(-1, 1)
    return np.asarray(cam @ T_world_cam[:3, :3].T + T_world_cam[:3, 3])


def _seen(points: np.ndarray, T_world_cam: np.ndarray, camera: CameraModel, depth: np.ndarray) -> float:
    """Share of world points (with depth) that are visible, not hidden, in a view."""
    valid = np.isfinite(points[:, 0])
    if not valid.any():
        return 0.0
    cam = (points[valid] - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
    front = cam[:, 2] > 0.05
    pixels = cam[front] @ resized_K(camera, (depth.shape[1], depth.shape[0])).T
    uv = np.rint(pixels[:, :2] / pixels[:, 2:])
    inside = ((uv >= 0) & (uv < (depth.shape[1], depth.shape[0]))).all(axis=1)
    uv, z = uv[inside].astype(int), pixels[inside, 2]
    surface = depth[uv[:, 1], uv[:, 0]]
    shown = np.abs(surface - z) < DEPTH_TOLERANCE * z + 0.05
    return float(shown.sum() / valid.sum())
