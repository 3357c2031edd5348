"""What stands on pavements: lamps, benches, bins, stalls, signs, traffic lights."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from vision_nodes.simulation import materials, photos
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.scene import SceneBuilder, prism
from vision_nodes.tasks.classes import class_id

POLE, SEAT, FURNITURE, PERSON = (class_id(n) for n in ("pole_sign", "seat", "furniture", "person"))
ALL_FACES = "front back left right top bottom"


class StreetFurniture:
    """Makers of pavement furniture; every piece gets its own colours."""

    def __init__(self, rng: np.random.Generator, builder: SceneBuilder) -> None:
        self.rng, self.builder = rng, builder

    def lamp_post(self, x: float, y: float, yaw: float) -> None:
        """A pole with an arm and a lamp."""
        colour = materials.random_colour(self.rng, ((60, 65, 65), (110, 112, 110), (50, 70, 55)))
        metal = self.builder.texture(Texture(materials.painted_metal(self.rng, (256, 64), 100, colour)))
        height = float(self.rng.uniform(3.6, 4.8))
        prism(self.builder, (x, y, 0), 0.06, height, metal, POLE)
        prism(self.builder, (x, y, 0), 0.11, 0.5, metal, POLE)
        arm = (x + 0.4 * np.cos(yaw), y + 0.4 * np.sin(yaw), height)
        self.builder.box(arm, (1.0, 0.08, 0.08), metal, POLE, yaw=yaw, faces=ALL_FACES)
        head = (x + 0.9 * np.cos(yaw), y + 0.9 * np.sin(yaw), height - 0.06)
        self.builder.box(head, (0.5, 0.22, 0.12), metal, POLE, yaw=yaw, faces=ALL_FACES)

    def bench(self, x: float, y: float, yaw: float) -> None:
        """A park bench of planks, its back towards `yaw`."""
        planks = self.builder.texture(Texture(materials.wood(self.rng, (64, 192), 110, 0.1)))
        ahead = np.array([np.cos(yaw), np.sin(yaw)])
        points = [
            (x + a * ahead[0] - b * ahead[1], y + a * ahead[1] + b * ahead[0], z)
            for a in (-0.25, 0.25) for b in (-0.8, 0.8) for z in (0, 0.85)
        ]  # fmt: skip
        options: dict[str, Any] = {"instance": self.builder.instance("bench", np.array(points)), "yaw": yaw}
        options["faces"] = ALL_FACES
        self.builder.box((x, y, 0.4), (0.5, 1.6, 0.06), planks, SEAT, **options)
        back = np.array([x, y]) + 0.22 * ahead
        self.builder.box((*back, 0.5), (0.05, 1.6, 0.4), planks, SEAT, **options)
        for side in (-0.65, 0.65):
            foot = np.array([x, y]) + side * np.array([-ahead[1], ahead[0]])
            self.builder.box((*foot, 0), (0.45, 0.07, 0.4), planks, SEAT, **options)

    def bin_or_box(self, x: float, y: float, yaw: float) -> None:
        """A litter bin, a letter box or a switch cabinet."""
        colour = materials.random_colour(
            self.rng, ((60, 90, 60), (190, 170, 40), (110, 112, 115), (160, 40, 40))
        )
        image = materials.painted_metal(self.rng, (128, 128), 100, colour)
        cv2.rectangle(image, (20, 24), (108, 44), tuple(0.4 * c for c in colour), -1)
        cv2.putText(image, str(self.rng.integers(1, 99)), (38, 100), 0, 1.4, (240, 240, 235), 3, cv2.LINE_AA)
        size = (
            float(self.rng.uniform(0.35, 0.6)),
            float(self.rng.uniform(0.35, 0.9)),
            float(self.rng.uniform(0.8, 1.3)),
        )
        self.builder.box((x, y, 0), size, self.builder.texture(Texture(image)), POLE, yaw=yaw)

    def traffic_light(self, x: float, y: float, yaw: float) -> None:
        """A pole with three lamps that face `yaw`; one of them is on."""
        dark = self._metal((40, 42, 44))
        prism(self.builder, (x, y, 0), 0.05, 2.3, dark, POLE)
        image = np.full((192, 64, 3), 34, np.uint8)
        image += self.rng.integers(0, 8, image.shape, dtype=np.uint8)
        on = int(self.rng.integers(3))
        for number, colour in enumerate(((235, 40, 30), (245, 190, 40), (40, 225, 110))):
            shown = colour if number == on else tuple(c * 0.25 for c in colour)
            cv2.circle(image, (32, 34 + 62 * number), 22, shown, -1, cv2.LINE_AA)
            cv2.circle(image, (32, 34 + 62 * number), 25, (15, 15, 16), 3, cv2.LINE_AA)
        face = self.builder.texture(Texture(image))
        ahead = np.array([np.cos(yaw), np.sin(yaw)])
        points = [(x + a, y + b, z) for a in (-0.15, 0.15) for b in (-0.15, 0.15) for z in (2.3, 3.1)]
        thing = self.builder.instance("traffic light", np.array(points))
        options: dict[str, Any] = {"instance": thing, "yaw": yaw, "faces": ALL_FACES}
        self.builder.box((x, y, 2.3), (0.2, 0.27, 0.8), (dark, dark, dark), POLE, **options)
        right = np.array([-ahead[1], ahead[0]])
        corner = (*(np.array([x, y]) + ahead * 0.11 - right * 0.135), 3.1)
        across = (*(right * 0.27), 0.0)
        self.builder.quad(corner, across, (0, 0, -0.8), face, POLE, instance=thing, emissive=True)

    def sign(self, x: float, y: float, yaw: float) -> None:
        """A traffic sign on a pole, facing `yaw`: stop, a number in a ring, or a triangle."""
        prism(self.builder, (x, y, 0), 0.035, 2.75, self._metal((150, 152, 155)), POLE)
        image, alpha = np.full((128, 128, 3), 240, np.uint8), np.zeros((128, 128), np.uint8)
        kind = str(self.rng.choice(["stop", "ring", "triangle"]))
        red = (190, 25, 30)
        if kind == "stop":
            angle = (np.arange(8) + 0.5) * np.pi / 4
            corners = np.rint(64 + 63 * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.int32)
            cv2.fillPoly(image, [np.rint(64 + (corners - 64) * 0.93).astype(np.int32)], red)
            cv2.putText(
                image, "STOP", (17, 77), cv2.FONT_HERSHEY_DUPLEX, 1.2, (245, 245, 245), 3, cv2.LINE_AA
            )
            cv2.fillPoly(alpha, [corners], 255)
        elif kind == "ring":
            cv2.circle(image, (64, 64), 55, red, 14, cv2.LINE_AA)
            text = str(int(self.rng.choice([20, 30, 50, 60])))
            cv2.putText(image, text, (27, 84), cv2.FONT_HERSHEY_DUPLEX, 1.8, (20, 20, 20), 4, cv2.LINE_AA)
            cv2.circle(alpha, (64, 64), 62, 255, -1)
        else:
            corners = np.array([[64, 4], [126, 116], [2, 116]])
            cv2.polylines(image, [corners], True, red, 22, cv2.LINE_AA)
            cv2.putText(image, "!", (52, 104), cv2.FONT_HERSHEY_DUPLEX, 2.0, (20, 20, 20), 6, cv2.LINE_AA)
            cv2.fillPoly(alpha, [corners], 255)
        texture = self.builder.texture(Texture(image, alpha))
        ahead = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        right = np.array([-ahead[1], ahead[0], 0.0])
        corner = np.array([x, y, 2.75]) + ahead * 0.04 - right * 0.34
        points = corner + np.array([[0, 0, 0], [0, 0, -0.68]])
        options: dict[str, Any] = {}
        if kind == "stop":
            options["instance"] = self.builder.instance(
                "stop sign", np.vstack([points, points + right * 0.68])
            )
        self.builder.quad(corner, right * 0.68, (0, 0, -0.68), texture, POLE, two_sided=True, **options)

    def stall(self, x: float, y: float, yaw: float) -> None:
        """A counter with goods under a striped roof; somebody from a photograph stands behind it.

        `yaw` points to the customers.
        """
        ahead = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        right = np.array([-ahead[1], ahead[0], 0.0])
        base = np.array([x, y, 0.0])
        planks = self.builder.texture(Texture(materials.wood(self.rng, (96, 192), 110, 0.12)))
        cloth = self.builder.texture(Texture(materials.fabric(self.rng, (96, 192), 100)))
        front = base + ahead * 0.25
        self.builder.box(front, (0.5, 1.6, 0.85), (cloth, planks, planks), FURNITURE, yaw=yaw)
        for left in np.arange(-0.6, 0.7, 0.3):
            spot = front - right * left + (0, 0, 0.85)
            size = tuple(self.rng.uniform((0.12, 0.12, 0.08), (0.24, 0.24, 0.22)).tolist())
            tint = materials.random_colour(
                self.rng, ((200, 60, 40), (90, 150, 60), (220, 170, 50), (150, 110, 80))
            )
            goods = self.builder.texture(Texture(materials.plaster(self.rng, (64, 64), 60, tint)))
            self.builder.box(spot, size, goods, FURNITURE, yaw=yaw + float(self.rng.normal(0, 0.3)))
        for side in (-0.75, 0.75):
            prism(self.builder, tuple(front + right * side + ahead * 0.2), 0.03, 2.2, planks, POLE)
        roof = base + (0, 0, 2.45) - right * 0.9 - ahead * 0.1
        self.builder.quad(roof, right * 1.8, ahead * 0.75 - (0, 0, 0.3), cloth, FURNITURE, two_sided=True)
        self._seller(base - ahead * 0.12, right)

    def _seller(self, spot: np.ndarray, right: np.ndarray) -> None:
        """A life-size cut-out of a person from a photograph, from the waist up."""
        names = [name for name in photos.PEOPLE if photos.cut_out(name) is not None]
        if not names:
            return
        texture = photos.cut_out(names[self.rng.integers(len(names))])
        assert texture is not None
        h, w = texture.image.shape[:2]
        height = float(self.rng.uniform(0.85, 1.0))
        across = right * height * w / h
        corner = spot + (0, 0, 0.72 + height) - across / 2
        self.builder.quad(
            corner,
            across,
            (0, 0, -height),
            self.builder.texture(texture),
            PERSON,
            emissive=True,
            two_sided=True,
        )

    def _metal(self, colour: materials.RGB) -> int:
        return self.builder.texture(Texture(materials.painted_metal(self.rng, (128, 64), 100, colour)))
