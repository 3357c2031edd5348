"""Trees, bushes and hedges."""

from __future__ import annotations

from typing import Any

import numpy as np

from vision_nodes.simulation import foliage
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.scene import SceneBuilder, prism
from vision_nodes.tasks.classes import class_id

VEGETATION = class_id("vegetation")


class Tree:
    """One tree model: bark, and cards of leaves."""

    def __init__(self, rng: np.random.Generator, builder: SceneBuilder) -> None:
        self.builder = builder
        self.bark = builder.texture(foliage.bark(rng, (256, 64)))
        self.leaves = [builder.texture(foliage.leaf_card(rng)) for _ in range(2)]

    def place(self, rng: np.random.Generator, x: float, y: float, height: float) -> None:
        """Plant at (x, y): a six-sided trunk and a crown of crossed cards."""
        trunk, radius = height * rng.uniform(0.4, 0.5), 0.05 + 0.022 * height
        prism(self.builder, (x, y, 0), radius, trunk * 1.15, self.bark, VEGETATION)
        crown = height - trunk
        self.bush(rng, np.array([x, y, trunk + crown * 0.45]), crown)

    def bush(self, rng: np.random.Generator, centre: np.ndarray, size_m: float, **options: Any) -> None:
        """A round of leaf cards, about `size_m` high, centred at `centre` (3,)."""
        for _ in range(7):
            side = size_m * rng.uniform(0.6, 0.85)
            at = centre + rng.normal(0, 1, 3) * size_m * (0.2, 0.2, 0.14)
            yaw, lean = rng.uniform(0, np.pi), rng.normal(0, 0.25)
            right = np.array([np.cos(yaw), np.sin(yaw), 0.0]) * side
            back = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
            down = (np.array([0, 0, -1.0]) * np.cos(lean) + back * np.sin(lean)) * side
            texture = self.leaves[rng.integers(len(self.leaves))]
            look: dict[str, Any] = {
                "two_sided": True,
                "emissive": True,
                "gain": float(rng.uniform(0.85, 1.15)),
            }
            self.builder.quad(at - right / 2 - down / 2, right, down, texture, VEGETATION, **look, **options)


def hedge(rng: np.random.Generator) -> Texture:
    """A closed surface of leaves, for clipped hedges."""
    card = foliage.leaf_card(rng, 256, 1500, spread=0.75)
    return Texture(card.image)
