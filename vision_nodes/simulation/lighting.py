"""Sun and sky as one factor per face: the same surface has the same brightness in every view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lighting:
    """Lambert sun plus a sky dome that is brighter above than below.

    `sun` points from the ground to the sun (world frame, unit length is not needed).
    """

    sun: tuple[float, float, float] = (0.4, -0.5, 0.75)
    sun_strength: float = 0.55
    ambient: float = 0.62
    sun_rgb: tuple[float, float, float] = (1.05, 1.0, 0.92)
    sky_rgb: tuple[float, float, float] = (0.96, 1.0, 1.06)

    def gain(self, outward: np.ndarray) -> np.ndarray:
        """(N, 3) RGB factors for (N, 3) unit outward normals."""
        sun = np.asarray(self.sun) / np.linalg.norm(self.sun)
        lambert = np.maximum(outward @ sun, 0.0)[:, None] * self.sun_strength
        dome = self.ambient * (0.85 + 0.15 * outward[:, 2:3])
        return np.asarray(lambert * np.asarray(self.sun_rgb) + dome * np.asarray(self.sky_rgb))
