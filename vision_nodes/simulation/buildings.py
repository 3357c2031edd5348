"""Houses: textured blocks with roofs, ledges and balconies."""

from __future__ import annotations

import numpy as np

from vision_nodes.simulation import materials
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.facades import Facade
from vision_nodes.simulation.scene import SceneBuilder
from vision_nodes.tasks.classes import class_id

BUILDING = class_id("building")
UP = np.array([0.0, 0.0, 1.0])


class HouseKit:
    """Textures that several houses share, and the recipe for a house."""

    def __init__(self, rng: np.random.Generator, builder: SceneBuilder, px_m: float = 80) -> None:
        self.rng, self.builder, self.px_m = rng, builder, px_m
        self.walls = [self._material(materials.plaster), self._material(materials.brick)]
        self.gables = [builder.texture(Facade(rng, 5.0, 6.0, px_m * 0.7).paint()) for _ in range(2)]
        self.roofs = [self._material(materials.roof_tiles) for _ in range(2)]
        self.trims = [self._material(materials.concrete), self._material(materials.wood)]

    def _material(self, recipe: object) -> int:
        picture = recipe(self.rng, (256, 320), self.px_m * 0.7)  # type: ignore[operator]
        return self.builder.texture(Texture(picture))

    def house(
        self,
        left_front: np.ndarray,
        outward: np.ndarray,
        size: tuple[float, float, float],
        detailed: bool = True,
    ) -> np.ndarray:
        """Build on the ground; returns the 8 corners (8, 3), m.

        Args:
            left_front: (2,) world xy of the front's left corner as seen from the street.
            outward: (2,) unit vector from the street into the house.
            size: width along the street, depth, height to the eaves, m.
        """
        width, depth, height = size
        into = np.array([*outward, 0.0])
        right = np.cross(into, UP)
        a = np.array([*left_front, height])
        down = -height * UP
        density = self.px_m if detailed else self.px_m * 0.4
        front = self.builder.texture(Facade(self.rng, width, height, density).paint())
        gable = self.gables[self.rng.integers(len(self.gables))]
        self.builder.quad(a, right * width, down, front, BUILDING)
        self.builder.quad(a + into * depth, -into * depth, down, gable, BUILDING)
        self.builder.quad(a + right * width, into * depth, down, gable, BUILDING)
        self.builder.quad(a + right * width + into * depth, -right * width, down, gable, BUILDING)
        self._roof(a, right * width, into * depth)
        if detailed:
            self._relief(a, right, into, width, height)
        corners = [
            a + i * right * width + j * into * depth + k * down
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        ]
        return np.array(corners)

    def _roof(self, a: np.ndarray, across: np.ndarray, into: np.ndarray) -> None:
        """Flat, or two slopes with gable triangles at the sides."""
        tiles = self.roofs[self.rng.integers(len(self.roofs))]
        if self.rng.random() < 0.4:
            self.builder.quad(a + into, across, -into, self.walls[0], BUILDING)
            return
        rise = UP * float(self.rng.uniform(0.3, 0.6)) * np.linalg.norm(into) * 0.5
        ridge = a + into / 2 + rise
        eaves = 0.08 * (into / 2 - rise)
        self.builder.quad(ridge, across, a - eaves - ridge + 0 * across, tiles, BUILDING)
        back = a + into + across
        self.builder.quad(ridge + across, -across, back - ridge - across, tiles, BUILDING)
        wall = self.walls[self.rng.integers(len(self.walls))]
        triangle = ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0))
        self.builder.quad(a + into + rise, -into, -rise, wall, BUILDING, shape=triangle)
        self.builder.quad(a + across + rise, into, -rise, wall, BUILDING, shape=triangle)

    def _relief(
        self, a: np.ndarray, right: np.ndarray, into: np.ndarray, width: float, height: float
    ) -> None:
        """A cornice, and by chance balconies, awnings or a down pipe: parallax in front of the wall."""
        yaw = float(np.arctan2(-into[1], -into[0]))
        trim = self.trims[self.rng.integers(len(self.trims))]
        middle = a + right * width / 2

        def block(along: float, z: float, size: tuple[float, float, float], texture: int) -> None:
            base = middle + right * along - into * size[0] / 2
            self.builder.box(
                (base[0], base[1], z), size, texture, BUILDING, yaw=yaw, faces="front left right top bottom"
            )

        block(0.0, height - 0.22, (0.22, width + 0.1, 0.22), trim)
        if self.rng.random() < 0.5:
            for along in self.rng.uniform(-0.32, 0.32, int(self.rng.integers(1, 3))):
                level = float(self.rng.choice([2.8, 5.6]))
                if level < height - 1.2:
                    block(along * width, level, (0.8, 1.6, 0.9), self.walls[self.rng.integers(2)])
        if self.rng.random() < 0.5:
            block((self.rng.integers(2) - 0.5) * (width - 0.3), 0.0, (0.09, 0.09, height), self.trims[0])
        if self.rng.random() < 0.45:
            self._awning(middle, right, into, width, height)

    def _awning(
        self, middle: np.ndarray, right: np.ndarray, into: np.ndarray, width: float, height: float
    ) -> None:
        cloth = self.builder.texture(Texture(materials.fabric(self.rng, (64, 192), 60)))
        span = width * float(self.rng.uniform(0.5, 0.8))
        top = middle - right * span / 2 + UP * (2.75 - height)
        self.builder.quad(top, right * span, -into * 0.9 - UP * 0.4, cloth, BUILDING, two_sided=True)
