"""Parked cars: a profile extruded across, with painted sides."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from vision_nodes.simulation import materials
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.noise import fractal, to_image
from vision_nodes.simulation.scene import SceneBuilder
from vision_nodes.tasks.classes import class_id

VEHICLE = class_id("vehicle")
CAR_COLOURS: tuple[materials.RGB, ...] = (
    (170, 30, 30), (35, 60, 130), (225, 225, 225), (45, 45, 50), (140, 145, 150), (40, 95, 60), (205, 165, 40),
)  # fmt: skip
# side view of a car from nose to tail, metres (along, up); the extruded hull and its cut-out sides share it
SALOON = (
    (0.0, 0.2),
    (0.05, 0.70),
    (1.15, 0.95),
    (1.85, 1.42),
    (3.05, 1.44),
    (3.75, 1.02),
    (4.25, 0.95),
    (4.3, 0.2),
)
ESTATE = ((0.0, 0.2), (0.04, 0.7), (1.1, 0.92), (1.75, 1.44), (3.75, 1.46), (4.35, 0.95), (4.42, 0.2))
HATCH = ((0.0, 0.2), (0.05, 0.72), (0.95, 0.95), (1.6, 1.48), (3.2, 1.5), (3.75, 1.0), (3.8, 0.2))


class Car:
    """One car model: textures are made once, `place` puts copies into the world."""

    WIDTH_M = 1.75

    def __init__(self, rng: np.random.Generator, builder: SceneBuilder, px_m: float = 90) -> None:
        self.builder, self.px_m = builder, px_m
        self.profile = np.array((SALOON, HATCH, ESTATE)[rng.integers(3)])
        self.length, self.height = float(self.profile[:, 0].max()), float(self.profile[:, 1].max())
        self.colour = materials.random_colour(rng, CAR_COLOURS)
        self.side = builder.texture(self._side(rng))
        self.panels = [
            builder.texture(Texture(self._panel(rng, index))) for index in range(len(self.profile) - 1)
        ]

    def _texel(self, points: np.ndarray) -> np.ndarray:
        return np.rint(np.stack([points[:, 0], self.height - points[:, 1]], 1) * self.px_m).astype(np.int32)

    def _side(self, rng: np.random.Generator) -> Texture:
        size_hw = (round(self.height * self.px_m), round(self.length * self.px_m))
        image = materials.painted_metal(rng, size_hw, self.px_m, self.colour)
        alpha = np.zeros(size_hw, np.uint8)
        outline = np.vstack([self.profile, [(self.length, 0.2), (0.0, 0.2)]])
        cv2.fillPoly(alpha, [self._texel(outline)], 255)
        cabin = self.profile[2:-2] if len(self.profile) > 6 else self.profile[2:-1]
        belt = 0.98 if self.height < 1.55 else 1.1
        glass = np.vstack(
            [cabin * (1, 1) - (0, 0.09), [(cabin[-1, 0] - 0.12, belt), (cabin[0, 0] + 0.15, belt)]]
        )
        glass[:, 1] = np.maximum(glass[:, 1], belt)
        cv2.fillPoly(image, [self._texel(glass)], (38, 46, 54))
        for x in np.linspace(cabin[0, 0] + 0.5, cabin[-1, 0] - 0.45, 2):
            pillar = self._texel(np.array([(x, self.height), (x, belt), (x, 0.38)]))
            cv2.line(image, tuple(pillar[0]), tuple(pillar[1]), self.colour, max(2, int(0.09 * self.px_m)))
            cv2.line(image, tuple(pillar[1]), tuple(pillar[2]), tuple(0.45 * c for c in self.colour), 2)
            handle = self._texel(np.array([(x - 0.25, belt - 0.1), (x - 0.08, belt - 0.15)]))
            cv2.rectangle(image, tuple(handle[0]), tuple(handle[1]), tuple(0.5 * c for c in self.colour), -1)
        sill = self._texel(np.array([(0.0, 0.36), (self.length, 0.0)]))
        cv2.rectangle(image, tuple(sill[0]), tuple(sill[1]), (35, 35, 38), -1)
        for x in (0.19 * self.length, 0.81 * self.length):
            self._wheel(image, alpha, x)
        # the side stands a little inside the hull and reaches a little beyond its profile: no gap shows
        return Texture(image, cv2.dilate(alpha, np.ones((3, 3), np.uint8)))

    def _wheel(self, image: np.ndarray, alpha: np.ndarray, x: float) -> None:
        (cx, cy), px = self._texel(np.array([(x, 0.32)]))[0], self.px_m
        centre = (int(cx), int(cy))
        for radius, colour in (
            (0.37, (25, 25, 27)),
            (0.32, (40, 40, 42)),
            (0.21, (150, 152, 156)),
            (0.06, (70, 70, 72)),
        ):
            cv2.circle(image, centre, int(radius * px), colour, -1, cv2.LINE_AA)
        for spoke in np.arange(5) * 2 * np.pi / 5:
            tip = (int(cx + 0.19 * px * np.cos(spoke)), int(cy + 0.19 * px * np.sin(spoke)))
            cv2.line(image, centre, tip, (60, 60, 64), 3, cv2.LINE_AA)
        cv2.circle(alpha, centre, int(0.32 * px), 255, -1)

    def _panel(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """One strip of the hull across the car; steep ones near the middle are glass."""
        a, b = self.profile[index], self.profile[index + 1]
        span = float(np.hypot(*(b - a)))
        size_hw = (max(32, round(span * self.px_m)), round(self.WIDTH_M * self.px_m))
        image = materials.painted_metal(rng, size_hw, self.px_m, self.colour)
        h, w = size_hw
        last = len(self.profile) - 2
        rise = abs(b[1] - a[1])
        if 0 < index < last and rise > 0.33:
            shade = np.array([50, 60, 70]) * (1 + 0.4 * fractal(rng, size_hw, w / 3)[..., None])
            image[int(0.08 * h) : int(0.94 * h), int(0.05 * w) : int(0.95 * w)] = to_image(shade)[
                int(0.08 * h) : int(0.94 * h), int(0.05 * w) : int(0.95 * w)
            ]
        if index in (0, last):
            lamp = (250, 245, 220) if index == 0 else (190, 25, 25)
            for x in (0.06, 0.78):
                top = (int(x * w), int(0.12 * h))
                cv2.rectangle(image, top, (int((x + 0.16) * w), int(0.42 * h)), lamp, -1)
            plate = ((int(0.34 * w), int(0.55 * h)), (int(0.66 * w), int(0.8 * h)))
            cv2.rectangle(image, *plate, (235, 235, 225), -1)
            text = "".join("ABCDEFGHKLMNPRSTUVWXYZ0123456789"[i] for i in rng.integers(0, 32, 6))
            size = 0.28 * w / cv2.getTextSize(text, 0, 1.0, 1)[0][0]
            at = (plate[0][0] + int(0.02 * w), plate[1][1] - int(0.06 * h))
            cv2.putText(image, text, at, 0, size, (20, 20, 30), 1, cv2.LINE_AA)
            cv2.rectangle(
                image, (int(0.25 * w), int(0.2 * h)), (int(0.75 * w), int(0.45 * h)), (30, 30, 32), -1
            )
        return image

    def place(self, x: float, y: float, yaw: float) -> np.ndarray:
        """Stand with the middle at (x, y), nose towards `yaw`; returns the 4 ground corners (4, 2), m."""
        ahead, left = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([-np.sin(yaw), np.cos(yaw), 0])
        nose = np.array([x, y, 0.0]) + ahead * self.length / 2
        half = left * self.WIDTH_M / 2

        def at(along: float, up: float, side: float) -> np.ndarray:
            return np.asarray(nose - ahead * along + half * side + np.array([0, 0, up]))

        hull = [at(p[0], p[1], s) for p in self.profile for s in (-1, 1)]
        hull += [at(x, 0, s) for x in (0.19 * self.length, 0.81 * self.length) for s in (-1, 1)]
        thing = self.builder.instance("car", np.array(hull))
        options: dict[str, Any] = {"instance": thing}
        for index, texture in enumerate(self.panels):
            a, b = self.profile[index], self.profile[index + 1]
            # seen from outside: nose strips have the car's left on the right, tail strips its right
            upper, lower, side = (b, a, 1) if b[1] >= a[1] else (a, b, -1)
            corner = at(upper[0], upper[1], -side)
            across = at(upper[0], upper[1], side) - corner
            down = at(lower[0], lower[1], -side) - corner
            self.builder.quad(corner, across, down, texture, VEHICLE, **options)
        drop = np.array([0, 0, -self.height])
        left_top, right_top = at(0, self.height, 0.985), at(self.length, self.height, -0.985)
        self.builder.quad(left_top, -ahead * self.length, drop, self.side, VEHICLE, **options)
        self.builder.quad(
            right_top, ahead * self.length, drop, self.side, VEHICLE, rect=(1, 0, 0, 1), **options
        )
        return np.array([at(a, 0, s)[:2] for a, s in ((0, 1), (self.length, 1), (self.length, -1), (0, -1))])
