"""The ground as one large painted picture: what each spot is, how it looks, and whose shadow lies on it."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.noise import to_image
from vision_nodes.simulation.scene import SceneBuilder


class Ground:
    """A canvas over x0..x1, y0..y1 (world metres, z up) at `px_m` texels per metre."""

    def __init__(self, extent: tuple[float, float, float, float], px_m: float) -> None:
        self.x0, self.y0, self.x1, self.y1 = extent
        self.px_m = px_m
        self.size_hw = (round((self.y1 - self.y0) * px_m), round((self.x1 - self.x0) * px_m))
        self.image = np.zeros((*self.size_hw, 3), np.uint8)
        self.labels = np.zeros(self.size_hw, np.uint8)
        self.light = np.ones(self.size_hw, np.float32)

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """World x (1, w) and y (h, 1) of the texel centres; row 0 is at y1."""
        h, w = self.size_hw
        x = self.x0 + (np.arange(w, dtype=np.float32) + 0.5) / self.px_m
        y = self.y1 - (np.arange(h, dtype=np.float32) + 0.5) / self.px_m
        return x[None], y[:, None]

    def texel(self, xy: np.ndarray) -> np.ndarray:
        """World points (N, 2) to texel coordinates (N, 2) float."""
        return np.stack([(xy[:, 0] - self.x0) * self.px_m, (self.y1 - xy[:, 1]) * self.px_m], axis=1)

    def paint(self, mask: np.ndarray, picture: np.ndarray, label: int) -> None:
        """Lay `picture` (same size as the canvas) where `mask` holds."""
        self.image[mask] = picture[mask]
        self.labels[mask] = label

    def shadow(self, points: np.ndarray, sun: tuple[float, float, float], strength: float = 0.42) -> None:
        """Cast the hull of world points (N, 3) along the sun's rays onto z = 0."""
        sun_xyz = np.asarray(sun)
        flat = points[:, :2] - points[:, 2:] * sun_xyz[:2] / max(sun_xyz[2], 0.2)
        hull = cv2.convexHull(self.texel(flat).astype(np.float32))
        window, polygon = self._window(np.rint(hull[:, 0]).astype(np.int32), 0)
        part = self.light[window]
        if part.size == 0:
            return
        mask = np.zeros(part.shape, np.uint8)
        cv2.fillConvexPoly(mask, polygon, 255)
        np.minimum(part, 1 - strength * (mask > 0).astype(np.float32), out=part)

    def contact(self, corners_xy: np.ndarray, reach_m: float = 0.35) -> None:
        """Darken the ground close to something that stands on it (ambient occlusion)."""
        texels = np.rint(self.texel(corners_xy)).astype(np.int32)
        window, polygon = self._window(texels, int(2 * reach_m * self.px_m))
        part = self.light[window]
        if part.size == 0:
            return
        mask = np.zeros(part.shape, np.float32)
        cv2.fillConvexPoly(mask, polygon, 1.0)
        part *= 1 - 0.55 * cv2.GaussianBlur(mask, (0, 0), reach_m * self.px_m / 2)

    def _window(self, texels: np.ndarray, margin: int) -> tuple[tuple[slice, slice], np.ndarray]:
        """The canvas part around a polygon, and the polygon in it."""
        h, w = self.size_hw
        x0, y0 = np.clip(texels.min(axis=0) - margin, 0, (w, h))
        x1, y1 = np.clip(texels.max(axis=0) + margin + 1, 0, (w, h))
        return (slice(int(y0), int(y1)), slice(int(x0), int(x1))), texels - (x0, y0)

    def add_to(self, builder: SceneBuilder, z: float = 0.0) -> None:
        """Put the canvas into the world at height `z`."""
        soft = cv2.GaussianBlur(self.light, (0, 0), max(0.6, 0.03 * self.px_m))
        texture = builder.texture(Texture(to_image(self.image * soft[..., None]), labels=self.labels))
        builder.quad(
            (self.x0, self.y1, z),
            (self.x1 - self.x0, 0, 0),
            (0, self.y0 - self.y1, 0),
            texture,
            0,
        )
