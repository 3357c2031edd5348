"""Truth boxes of a view, from its instance buffer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.simulation.scene import Instance
from vision_nodes.simulation.visibility import NEAR_M


@dataclass(frozen=True)
class TruthBoxes:
    """N visible things. A box is the extent of the thing's visible pixels, outer pixel edges included."""

    boxes_xyxy: np.ndarray  # (N, 4) float32 px
    labels: tuple[str, ...]  # COCO names
    instance_ids: np.ndarray  # (N,) int64
    visible_fraction: np.ndarray  # (N,) float32: visible pixels / area of the whole silhouette's hull
    is_photo: np.ndarray  # (N,) bool: a real photograph rather than a modelled shape


def boxes_from_instances(
    buffer: np.ndarray,
    instances: tuple[Instance, ...],
    T_world_cam: np.ndarray,
    K: np.ndarray,
    min_pixels: int = 20,
) -> TruthBoxes:
    """Boxes of all instances with at least `min_pixels` visible pixels in `buffer` (H, W) int32."""
    ys, xs = np.nonzero(buffer)
    ids = buffer[ys, xs]
    order = np.argsort(ids, kind="stable")
    ids, xs, ys = ids[order], xs[order], ys[order]
    unique, start, count = np.unique(ids, return_index=True, return_counts=True)
    if len(unique) == 0:
        return TruthBoxes(
            np.zeros((0, 4), np.float32),
            (),
            np.zeros(0, np.int64),
            np.zeros(0, np.float32),
            np.zeros(0, bool),
        )
    box = np.stack(
        [
            np.minimum.reduceat(xs, start) - 0.5,
            np.minimum.reduceat(ys, start) - 0.5,
            np.maximum.reduceat(xs, start) + 0.5,
            np.maximum.reduceat(ys, start) + 0.5,
        ],
        axis=1,
    ).astype(np.float32)
    keep = count >= min_pixels
    unique, count, box = unique[keep].astype(np.int64), count[keep], box[keep]
    things = [instances[i - 1] for i in unique]
    whole = np.array([silhouette_area(thing.points, T_world_cam, K) for thing in things])
    fraction = np.clip(count / np.maximum(whole, 1.0), 0.0, 1.0).astype(np.float32)
    return TruthBoxes(
        box, tuple(t.name for t in things), unique, fraction, np.array([t.is_photo for t in things], bool)
    )


def silhouette_area(points: np.ndarray, T_world_cam: np.ndarray, K: np.ndarray) -> float:
    """Area in px^2 of the convex hull of world points (P, 3) in front of the near plane, image unbounded."""
    cam = (points - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
    front, behind = cam[cam[:, 2] >= NEAR_M], cam[cam[:, 2] < NEAR_M]
    if len(front) == 0:
        return 0.0
    if len(behind):
        a, b = front[:, None], behind[None]
        ratio = (a[..., 2] - NEAR_M) / (a[..., 2] - b[..., 2])
        front = np.vstack([front, (a + ratio[..., None] * (b - a)).reshape(-1, 3)])
    pixels = front @ K.T
    hull = cv2.convexHull((pixels[:, :2] / pixels[:, 2:]).astype(np.float32))
    return float(cv2.contourArea(hull))
