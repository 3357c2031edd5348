"""Textured planes drawn exactly through homographies: images of known cameras moving in a known way."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.odometry.geometry import exp_so3, invert, make_pose
from vision_nodes.preprocess.frame import Frame

SIZE_WH = (320, 240)
K = np.array([[260.0, 0, 159.5], [0, 260.0, 119.5], [0, 0, 1]])
CAMERA = CameraModel(SIZE_WH, K)
STEP_NS = 66_000_000
TEXTURE_PX = 900


@dataclass(frozen=True)
class Panel:
    """A rectangle facing the world's z axis: centre and size in metres."""

    centre: tuple[float, float, float]
    size: tuple[float, float]
    texture: np.ndarray


def texture(seed: int) -> np.ndarray:
    """(TEXTURE_PX, TEXTURE_PX) uint8 blobs of several sizes."""
    rng = np.random.default_rng(seed)
    image = np.zeros((TEXTURE_PX, TEXTURE_PX), np.float32)
    for cells, weight in ((14, 0.6), (45, 1.0), (110, 0.7)):
        noise = rng.uniform(0, 1, (cells, cells)).astype(np.float32)
        image += weight * cv2.resize(noise, (TEXTURE_PX, TEXTURE_PX), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(image, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8)


def room() -> list[Panel]:
    """Far to near, so that drawing in order hides what is behind."""
    return [
        Panel((0, 0, 9), (30, 30), texture(1)),
        Panel((-3, 0.5, 6), (3, 4), texture(2)),
        Panel((2.5, -0.5, 5), (2.5, 3), texture(3)),
        Panel((-0.5, 1.6, 3.5), (2.5, 1.2), texture(4)),
    ]


def draw(panels: list[Panel], T_world_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) uint8 image and (H, W) float32 depth along z, of a pinhole `CAMERA`."""
    T = invert(T_world_cam)
    image = np.zeros(SIZE_WH[::-1], np.uint8)
    depth = np.full(SIZE_WH[::-1], np.nan, np.float32)
    rays = np.linalg.inv(K) @ np.stack(
        [*np.meshgrid(*map(np.arange, SIZE_WH)), np.ones(SIZE_WH[::-1])]
    ).reshape(3, -1)
    for panel in panels:
        scale = np.array(panel.size) / TEXTURE_PX
        corner = np.array(panel.centre) - [*(np.array(panel.size) / 2), 0]
        plane = np.stack(
            [T[:3, 0] * scale[0], T[:3, 1] * scale[1], T[:3, :3] @ corner + T[:3, 3]], axis=1
        )  # texture px -> camera
        H = K @ plane
        drawn = cv2.warpPerspective(panel.texture, H, SIZE_WH, flags=cv2.INTER_AREA)
        mask = cv2.warpPerspective(np.full_like(panel.texture, 255), H, SIZE_WH, flags=cv2.INTER_NEAREST) > 0
        image[mask] = drawn[mask]
        normal = np.cross(plane[:, 0], plane[:, 1])
        z = (normal @ plane[:, 2]) / (normal @ rays)
        depth[mask] = z.reshape(depth.shape)[mask]
    return image, depth


def sideways(count: int, step_m: float = 0.06) -> np.ndarray:
    """(count, 4, 4) T_world_cam: sideways and forwards with a slow turn, starting at the origin."""
    i = np.arange(count)
    return np.array(
        [
            make_pose(
                exp_so3([0.002 * n, -0.004 * n, 0.001 * n]), [step_m * n, 0.1 * np.sin(n / 9), 0.02 * n]
            )
            for n in i
        ]
    )


def frame(gray: np.ndarray, index: int, camera: CameraModel | None = CAMERA) -> Frame:
    """Frame number `index` of a stream."""
    image = np.repeat(gray[:, :, None], 3, axis=2)
    return Frame(1_000_000_000 + index * STEP_NS, "cam", image, (gray.shape[1], gray.shape[0]), camera)


def aligned_error(estimated: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """RMS error (m) of (N, 3) positions after the best similarity (Umeyama 1991), and its scale."""
    mean_e, mean_t = estimated.mean(0), true.mean(0)
    e, t = estimated - mean_e, true - mean_t
    U, S, Vt = np.linalg.svd(t.T @ e / len(e))
    D = np.diag([1, 1, np.linalg.det(U @ Vt)])
    R, scale = U @ D @ Vt, np.trace(np.diag(S) @ D) * len(e) / (e**2).sum()
    return float(np.sqrt((((scale * e @ R.T) - t) ** 2).sum(1).mean())), float(scale)
