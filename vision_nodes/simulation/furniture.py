"""Indoor furniture from textured boxes. Everything stands with its back towards `yaw`."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from vision_nodes.simulation import materials
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.noise import to_image
from vision_nodes.simulation.photos import available_posters, poster_texture
from vision_nodes.simulation.plants import Tree
from vision_nodes.simulation.scene import SceneBuilder, prism
from vision_nodes.tasks.classes import class_id

FURNITURE, SEAT, VEGETATION = class_id("furniture"), class_id("seat"), class_id("vegetation")
ALL_FACES = "front back left right top bottom"


class FurnitureKit:
    """Textures shared by the pieces of one world, and the pieces."""

    def __init__(self, rng: np.random.Generator, builder: SceneBuilder) -> None:
        self.rng, self.builder = rng, builder
        self.woods = [builder.texture(Texture(materials.wood(rng, (192, 192), 110, 0.2))) for _ in range(3)]
        self.cloths = [builder.texture(Texture(materials.fabric(rng, (192, 192), 130))) for _ in range(4)]
        self.books = [builder.texture(Texture(self._bookshelf())) for _ in range(2)]
        self.fronts = [builder.texture(Texture(self._drawers())) for _ in range(3)]
        self.tree = Tree(rng, builder)

    def _pick(self, ids: list[int]) -> int:
        return ids[self.rng.integers(len(ids))]

    def _bookshelf(self) -> np.ndarray:
        """Rows of book spines between boards."""
        rng, image = self.rng, materials.wood(self.rng, (320, 192), 100, 0.2)
        for top in range(8, 300, 62):
            image[top : top + 54, 8:184] = 28
            x = 10
            while x < 176:
                thick, tall = int(rng.integers(5, 13)), int(rng.integers(34, 52))
                if rng.random() < 0.08:
                    x += thick * 2
                    continue
                colour = rng.uniform(30, 225, 3)
                right = min(x + thick, 182)
                cv2.rectangle(image, (x, top + 54 - tall), (right - 1, top + 53), colour.tolist(), -1)
                band = top + 54 - int(tall * rng.uniform(0.5, 0.85))
                cv2.rectangle(image, (x, band), (right - 1, band + 4), (255 - colour).tolist(), -1)
                x = right + 1
        return image

    def _drawers(self) -> np.ndarray:
        """A cupboard front with drawers or doors and handles."""
        rng, image = self.rng, materials.wood(self.rng, (192, 192), 110, 0.2)
        if rng.random() < 0.4:
            image = materials.plaster(
                rng, (192, 192), 90, materials.random_colour(rng, ((235, 232, 226), (90, 105, 120)))
            )
        rows, columns = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        for i in range(rows):
            for j in range(columns):
                box = (
                    (192 * j // columns + 5, 192 * i // rows + 5),
                    (192 * (j + 1) // columns - 5, 192 * (i + 1) // rows - 5),
                )
                cv2.rectangle(image, *box, (45, 38, 30), 2)
                middle = ((box[0][0] + box[1][0]) // 2, (box[0][1] + box[1][1]) // 2)
                cv2.rectangle(
                    image, (middle[0] - 9, middle[1] - 2), (middle[0] + 9, middle[1] + 2), (200, 195, 180), -1
                )
        return image

    def _at(
        self, x: float, y: float, yaw: float, back: float, left: float, z: float
    ) -> tuple[float, float, float]:
        """A point `back` metres towards the piece's back and `left` to its left, at height z."""
        c, s = np.cos(yaw), np.sin(yaw)
        return float(x + back * c - left * s), float(y + back * s + left * c), z

    def _thing(self, name: str, x: float, y: float, yaw: float, size: tuple[float, float, float]) -> int:
        points = [
            self._at(x, y, yaw, b * size[0] / 2, s * size[1] / 2, z)
            for b in (-1, 1)
            for s in (-1, 1)
            for z in (0, size[2])
        ]
        return self.builder.instance(name, np.array(points))

    def _legs(self, x: float, y: float, yaw: float, size: tuple[float, float, float], **options: Any) -> None:
        wood = self.woods[0]
        for back in (-1, 1):
            for left in (-1, 1):
                foot = self._at(x, y, yaw, back * (size[0] / 2 - 0.04), left * (size[1] / 2 - 0.04), 0.0)
                self.builder.box(foot, (0.05, 0.05, size[2]), wood, yaw=yaw, **options)

    def cupboard(self, x: float, y: float, yaw: float) -> None:
        """A chest or wardrobe, sometimes a bookshelf; boxes and pictures may stand on it."""
        tall = float(self.rng.choice([0.75, 0.9, 1.3, 1.9, 2.0]))
        wide = float(self.rng.uniform(0.7, 1.6))
        wood = self._pick(self.woods)
        front = self._pick(self.books) if self.rng.random() < 0.45 else self._pick(self.fronts)
        # the box's front (+x) and back share a texture, so turn the front towards the room
        self.builder.box((x, y, 0), (0.4, wide, tall), (front, wood, wood), FURNITURE, yaw=yaw + np.pi)
        if tall < 1.4:
            self._on_top(x, y, yaw, wide, tall)

    def _on_top(self, x: float, y: float, yaw: float, wide: float, z: float) -> None:
        for left in np.arange(-wide / 2 + 0.2, wide / 2 - 0.15, 0.35):
            if self.rng.random() < 0.55:
                spot = self._at(x, y, yaw, float(self.rng.uniform(-0.05, 0.08)), float(left), z)
                size = tuple(self.rng.uniform((0.08, 0.08, 0.08), (0.25, 0.28, 0.35)).tolist())
                texture = self._pick(self.cloths + self.woods + self.fronts)
                turn = yaw + float(self.rng.normal(0, 0.3))
                self.builder.box(spot, size, texture, FURNITURE, yaw=turn)

    def chair(self, x: float, y: float, yaw: float) -> None:
        """A chair with four legs and a back."""
        options: dict[str, Any] = {
            "label": SEAT,
            "instance": self._thing("chair", x, y, yaw, (0.44, 0.44, 0.9)),
            "faces": ALL_FACES,
        }
        seat = self._pick(self.cloths + self.woods)
        self._legs(x, y, yaw, (0.44, 0.44, 0.44), **options)
        self.builder.box((x, y, 0.43), (0.44, 0.44, 0.05), seat, yaw=yaw, **options)
        self.builder.box(self._at(x, y, yaw, 0.2, 0, 0.48), (0.04, 0.42, 0.42), seat, yaw=yaw, **options)

    def table(self, x: float, y: float, yaw: float) -> None:
        """A table with things on it and chairs at two sides."""
        size = (float(self.rng.uniform(0.7, 0.95)), float(self.rng.uniform(1.1, 1.7)), 0.74)
        thing = self._thing("dining table", x, y, yaw, size)
        options: dict[str, Any] = {"label": FURNITURE, "instance": thing, "faces": ALL_FACES}
        self._legs(x, y, yaw, size, **options)
        self.builder.box((x, y, 0.70), (*size[:2], 0.04), self._pick(self.woods), yaw=yaw, **options)
        self._on_top(x, y, yaw, size[1], size[2])
        for left in (-0.3, 0.35):
            spot = self._at(x, y, yaw, -size[0] / 2 - 0.2, left, 0.0)
            self.chair(spot[0], spot[1], yaw + np.pi + float(self.rng.normal(0, 0.2)))

    def sofa(self, x: float, y: float, yaw: float) -> None:
        """Seat, back, arm rests and cushions."""
        wide, cloth = float(self.rng.uniform(1.4, 2.1)), self._pick(self.cloths)
        thing = self._thing("couch", x, y, yaw, (0.85, wide, 0.85))
        options: dict[str, Any] = {"instance": thing, "yaw": yaw}
        self.builder.box((x, y, 0.0), (0.85, wide, 0.42), cloth, SEAT, **options)
        self.builder.box(self._at(x, y, yaw, 0.32, 0, 0.4), (0.2, wide, 0.45), cloth, SEAT, **options)
        for side in (-1, 1):
            arm = self._at(x, y, yaw, 0.0, side * (wide / 2 - 0.09), 0.4)
            self.builder.box(arm, (0.85, 0.18, 0.2), cloth, SEAT, **options)
            cushion = self._at(x, y, yaw, 0.12, side * wide * 0.24, 0.42)
            turned = {**options, "yaw": yaw + float(self.rng.normal(0, 0.25))}
            self.builder.box(cushion, (0.14, 0.42, 0.36), self._pick(self.cloths), SEAT, **turned)

    def bed(self, x: float, y: float, yaw: float) -> None:
        """A bed along the wall: frame, mattress, blanket and pillow."""
        wood = self._pick(self.woods)
        thing = self._thing("bed", x, y, yaw, (0.95, 1.95, 0.75))
        options: dict[str, Any] = {"instance": thing, "yaw": yaw}
        self.builder.box((x, y, 0.0), (0.95, 1.95, 0.3), wood, FURNITURE, **options)
        self.builder.box((x, y, 0.3), (0.92, 1.9, 0.2), self._pick(self.cloths), FURNITURE, **options)
        self.builder.box(self._at(x, y, yaw, 0, 0.99, 0.0), (0.95, 0.05, 0.85), wood, FURNITURE, **options)
        pillow = self._at(x, y, yaw, 0, 0.7, 0.5)
        self.builder.box(pillow, (0.6, 0.38, 0.1), self._pick(self.cloths), FURNITURE, **options)

    def television(self, x: float, y: float, yaw: float) -> None:
        """A screen that shows a photograph, on a low board."""
        wood = self._pick(self.woods)
        self.builder.box(
            (x, y, 0), (0.4, 1.4, 0.5), (self._pick(self.fronts), wood, wood), FURNITURE, yaw=yaw + np.pi
        )
        case = self.builder.texture(Texture(materials.painted_metal(self.rng, (64, 64), 60, (28, 28, 30))))
        spot = self._at(x, y, yaw, 0.05, 0, 0.58)
        size = (0.06, 1.05, 0.62)
        options: dict[str, Any] = {
            "instance": self._thing("tv", spot[0], spot[1], yaw, (0.06, 1.05, 1.2)),
            "yaw": yaw + np.pi,
        }
        self.builder.box(spot, size, case, FURNITURE, faces=ALL_FACES, **options)
        names = available_posters()
        if names:
            source = poster_texture(names[self.rng.integers(len(names))])
            assert source is not None
            picture = to_image(source.image * np.float32(0.92))
            screen = self.builder.texture(Texture(picture))
            facing = -np.array([np.cos(yaw), np.sin(yaw), 0.0])
            right = np.array([-facing[1], facing[0], 0.0])
            corner = np.array(spot) + facing * 0.035 - right * 0.48 + (0, 0, 0.58)
            self.builder.quad(
                corner,
                right * 0.96,
                (0, 0, -0.54),
                screen,
                FURNITURE,
                instance=options["instance"],
                emissive=True,
            )

    def plant(self, x: float, y: float, yaw: float) -> None:
        """A pot with a bush."""
        radius, height = float(self.rng.uniform(0.12, 0.2)), float(self.rng.uniform(0.8, 1.5))
        pot = self._pick(self.cloths)
        points = [(x + a, y + b, z) for a in (-0.3, 0.3) for b in (-0.3, 0.3) for z in (0, height)]
        thing = self.builder.instance("potted plant", np.array(points))
        prism(self.builder, (x, y, 0), radius, 0.35, pot, FURNITURE, sides=8, instance=thing)
        self.tree.bush(self.rng, np.array([x, y, 0.3 + (height - 0.3) / 2]), height - 0.3, instance=thing)
