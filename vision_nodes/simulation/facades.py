"""House fronts with class ids per texel: wall, windows, doors, shop fronts."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vision_nodes.simulation import materials
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.noise import fractal, to_image
from vision_nodes.tasks.classes import class_id

BUILDING, WINDOW, DOOR = class_id("building"), class_id("window"), class_id("door")
WALLS = (materials.brick, materials.plaster, materials.plaster, materials.concrete, materials.brick)


class Facade:
    """Paints one front of `width_m` x `height_m` at `px_m` texels per metre."""

    def __init__(self, rng: np.random.Generator, width_m: float, height_m: float, px_m: float) -> None:
        self.rng, self.px_m = rng, px_m
        self.width_m, self.height_m = width_m, height_m
        size_hw = (max(8, round(height_m * px_m)), max(8, round(width_m * px_m)))
        self.image = WALLS[rng.integers(len(WALLS))](rng, size_hw, px_m)
        self.labels = np.full(size_hw, BUILDING, np.uint8)
        self.trim = materials.random_colour(
            rng, ((235, 235, 230), (90, 60, 45), (60, 70, 80), (200, 190, 170))
        )

    def paint(self) -> Texture:
        """Floors of windows, and at street level a door with windows or a shop front."""
        storey = float(self.rng.uniform(2.6, 3.1))
        floors = max(1, int(self.height_m / storey))
        columns = max(1, int(self.width_m / self.rng.uniform(1.5, 2.2)))
        pitch = self.width_m / columns
        wide, tall = pitch * self.rng.uniform(0.42, 0.62), storey * self.rng.uniform(0.45, 0.62)
        for floor in range(1, floors):
            for column in range(columns):
                bottom = floor * storey + 0.85
                self.window((column + 0.5) * pitch, bottom, wide, min(tall, self.height_m - bottom - 0.15))
        if self.rng.random() < 0.4:
            self.shop_front(storey)
        else:
            door = int(self.rng.integers(columns))
            for column in range(columns):
                if column == door:
                    self.door((column + 0.5) * pitch)
                else:
                    self.window((column + 0.5) * pitch, 0.9, wide, min(tall, storey - 1.2))
        self._ledges(storey, floors)
        return Texture(self.image, labels=self.labels)

    def _box(self, x: float, bottom: float, width: float, height: float) -> tuple[int, int, int, int]:
        """Metres (centre x, height of the bottom) to texel rectangle left, top, right, bottom."""
        h = self.image.shape[0]
        left, right = (x - width / 2) * self.px_m, (x + width / 2) * self.px_m
        return int(left), int(h - (bottom + height) * self.px_m), int(right), int(h - bottom * self.px_m)

    def _fill(
        self, box: tuple[int, int, int, int], colour: Sequence[float], label: int | None = None
    ) -> None:
        x0, y0, x1, y1 = box
        cv2.rectangle(self.image, (x0, y0), (x1, y1), colour, -1)
        if label is not None:
            self.labels[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = label

    def window(self, x: float, bottom: float, width: float, height: float) -> None:
        """A framed window with panes, reflections, a sill and sometimes curtains."""
        if height < 0.3:
            return
        x0, y0, x1, y1 = self._box(x, bottom, width, height)
        x0, y0 = max(x0, 0), max(y0, 0)
        frame = max(2, int(0.06 * self.px_m))
        shadow = (x0 - frame // 2, y0 - frame // 2, x1 + frame // 2, y1 + frame // 2)
        self._fill(shadow, tuple(0.55 * c for c in self.trim))
        self._fill((x0, y0, x1, y1), self.trim, WINDOW)
        gx0, gy0, gx1, gy1 = x0 + frame, y0 + frame, x1 - frame, y1 - frame
        if gx1 - gx0 < 4 or gy1 - gy0 < 4:
            return
        self.image[gy0:gy1, gx0:gx1] = self.glass((gy1 - gy0, gx1 - gx0))
        bars = int(self.rng.integers(1, 3))
        for i in range(1, bars + 1):
            at = gx0 + (gx1 - gx0) * i // (bars + 1)
            cv2.line(self.image, (at, gy0), (at, gy1), self.trim, max(1, frame // 2))
        at = gy0 + (gy1 - gy0) * int(self.rng.integers(30, 60)) // 100
        cv2.line(self.image, (gx0, at), (gx1, at), self.trim, max(1, frame // 2))
        sill = (x0 - frame, y1, x1 + frame, y1 + frame)
        self._fill(sill, tuple(0.9 * c for c in self.trim))

    def glass(self, size_hw: tuple[int, int]) -> np.ndarray:
        """Dark room behind, sky gradient in front, sometimes curtains or a lit lamp."""
        h, w = size_hw
        down = np.linspace(1, 0, h)[:, None, None]
        dark = np.array([35, 40, 48]) + self.rng.normal(0, 8, 3)
        sky = np.array([120, 150, 185]) * self.rng.uniform(0.4, 1.0)
        picture = dark + (sky - dark) * down * self.rng.uniform(0.2, 0.9)
        picture = picture * (1 + 0.35 * fractal(self.rng, size_hw, max(h, w) / 2)[..., None])
        if self.rng.random() < 0.45:
            curtain = np.array(
                materials.random_colour(self.rng, ((225, 220, 205), (200, 160, 140), (150, 165, 190)))
            )
            share = int(w * self.rng.uniform(0.15, 0.4))
            folds = 1 + 0.18 * np.sin(np.arange(w) * self.rng.uniform(0.5, 1.2))[None, :, None]
            sides = np.zeros((1, w, 1), bool)
            sides[:, :share] = sides[:, w - share :] = True
            picture = np.where(sides, curtain * folds * 0.8, picture)
        return to_image(picture)

    def door(self, x: float) -> None:
        """A panelled door with frame, knob and step."""
        width, height = float(self.rng.uniform(0.9, 1.2)), float(self.rng.uniform(2.0, 2.3))
        colour = materials.random_colour(
            self.rng, ((110, 60, 40), (40, 70, 55), (50, 60, 95), (130, 35, 35), (70, 70, 72), (160, 120, 80))
        )
        self._fill(self._box(x, 0, width + 0.2, height + 0.12), self.trim)
        box = self._box(x, 0, width, height)
        self._fill(box, colour, DOOR)
        for row, tall in ((0.15, 0.7), (1.05, 0.75)):
            for side in (-0.24, 0.24):
                panel = self._box(x + side * width, row, width * 0.34, tall)
                self._fill(panel, tuple(0.78 * c for c in colour))
                cv2.rectangle(self.image, panel[:2], panel[2:], tuple(1.15 * c for c in colour), 1)
        knob = self._box(x + 0.38 * width, 0.95, 0.06, 0.1)
        self._fill(knob, (205, 190, 120))

    def shop_front(self, storey: float) -> None:
        """Large panes, a door between them, and a sign board with lettering above."""
        span, top = self.width_m - 0.5, storey - 0.75
        middle = self.width_m / 2
        frame = materials.random_colour(self.rng, ((50, 50, 55), (90, 40, 35), (35, 65, 50), (60, 75, 110)))
        self._fill(self._box(middle, 0, span, top + 0.1), frame)
        door_at = float(self.rng.uniform(0.3, 0.7)) * self.width_m
        edges = (middle - span / 2, door_at - 0.55, door_at + 0.55, middle + span / 2)
        for left, right in ((edges[0], edges[1]), (edges[2], edges[3])):
            if right - left > 0.5:
                self.window((left + right) / 2, 0.45, right - left - 0.15, top - 0.5)
        self.door(door_at)
        board = self._box(middle, top + 0.15, span, 0.5)
        ink = (245, 240, 225) if np.mean(frame) < 140 else (30, 30, 35)
        self._fill(board, tuple(0.8 * c for c in frame))
        words = (
            "CAFE",
            "BOOKS",
            "BAKERY",
            "ROBOTS",
            "MARKET",
            "FLOWERS",
            "HOTEL",
            "CINEMA",
            "TOOLS",
            "MUSEUM",
        )
        text = f"{words[self.rng.integers(len(words))]} {self.rng.integers(2, 99)}"
        size = 0.4 * self.px_m / 22
        start = (board[0] + int(0.1 * self.px_m), board[3] - int(0.12 * self.px_m))
        cv2.putText(
            self.image, text, start, cv2.FONT_HERSHEY_DUPLEX, size, ink, max(1, int(size * 1.6)), cv2.LINE_AA
        )

    def _ledges(self, storey: float, floors: int) -> None:
        if self.rng.random() < 0.6:
            for floor in range(1, floors + 1):
                at = min(floor * storey, self.height_m - 0.1)
                self.image_band(at, 0.12, 1.15)
        self.image_band(0.0, 0.45, 0.72)

    def image_band(self, bottom: float, height: float, factor: float) -> None:
        """Lighten or darken a horizontal band of wall; windows and doors stay."""
        _, y0, _, y1 = self._box(self.width_m / 2, bottom, self.width_m, height)
        rows = slice(max(y0, 0), max(y1, 0))
        wall = (self.labels[rows] == BUILDING)[..., None]
        band = self.image[rows]
        self.image[rows] = np.where(wall, to_image(band * np.float32(factor)), band)
