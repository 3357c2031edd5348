"""Indoor walls and ceilings with class ids per texel: doors, windows, skirting, lamps."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.simulation import materials
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.noise import fractal, speckle, tinted, to_image
from vision_nodes.tasks.classes import class_id

WALL, DOOR, WINDOW, CEILING = class_id("wall"), class_id("door"), class_id("window"), class_id("ceiling")
PAINTS: tuple[materials.RGB, ...] = (
    (225, 220, 205), (205, 215, 220), (200, 175, 150), (150, 170, 160), (215, 190, 130), (170, 130, 120),
    (120, 140, 170), (230, 230, 228), (185, 195, 160),
)  # fmt: skip


def wall_covering(rng: np.random.Generator, size_hw: tuple[int, int], px_m: float) -> np.ndarray:
    """Paint, striped or flowered wallpaper, brick, panels or tiles over a whole wall."""
    kind = rng.choice(["paint", "paint", "stripes", "flowers", "brick", "panels", "tiles"])
    if kind == "brick":
        return materials.brick(rng, size_hw, px_m)
    if kind == "panels":
        planks = materials.wood(rng, size_hw[::-1], px_m, 0.12)
        return np.ascontiguousarray(planks.transpose(1, 0, 2))
    if kind == "tiles":
        return materials.floor_tiles(rng, size_hw, px_m)
    colour = materials.random_colour(rng, PAINTS)
    picture = materials.plaster(rng, size_hw, px_m, colour).astype(np.float32)
    other = np.asarray(materials.random_colour(rng, PAINTS), np.float32) / np.asarray(colour, np.float32)
    if kind == "stripes":
        period = float(rng.uniform(0.12, 0.35)) * px_m
        stripe = (np.arange(size_hw[1]) / period) % 1 < rng.uniform(0.2, 0.6)
        picture[:, stripe] = picture[:, stripe] * other
    if kind == "flowers":
        count = int(size_hw[0] * size_hw[1] / px_m**2 * 22)
        blossoms = np.abs(speckle(rng, size_hw, count, 0.035 * px_m)) > 0.3
        picture[blossoms] *= other
    return to_image(picture)


class InteriorWall:
    """Paints one wall of `width_m` x `height_m` at `px_m` texels per metre."""

    def __init__(self, rng: np.random.Generator, width_m: float, height_m: float, px_m: float) -> None:
        self.rng, self.px_m, self.width_m, self.height_m = rng, px_m, width_m, height_m
        size_hw = (max(16, round(height_m * px_m)), max(16, round(width_m * px_m)))
        self.image = wall_covering(rng, size_hw, px_m)
        self.labels = np.full(size_hw, WALL, np.uint8)
        self.used: list[tuple[float, float]] = []
        self.glow = np.ones(size_hw, np.float32)  # more than 1 where daylight comes in

    def paint(self, window: bool, door: bool) -> Texture:
        """Openings where there is room for them, then skirting board, sockets and corner shading."""
        if door:
            self._door()
        if window and self.rng.random() < 0.75:
            self._window()
        self._details()
        h, w = self.labels.shape
        edge = 0.3 * self.px_m
        x = np.minimum(np.arange(w), np.arange(w)[::-1])[None] / edge
        y = np.minimum(np.arange(h), np.arange(h)[::-1])[:, None] / edge
        shade = (1 - 0.22 * np.exp(-x)) * (1 - 0.22 * np.exp(-y)) * self.glow
        return Texture(to_image(self.image * shade[..., None]), labels=self.labels)

    def free_spots(self, width: float, count: int) -> list[float]:
        """Up to `count` centres, m from the left, where something `width` wide hides no door or window."""
        spots = (self._place(width) for _ in range(count))
        return [spot for spot in spots if spot is not None]

    def _place(self, width: float) -> float | None:
        """A free spot (centre, m from the left) for something `width` wide, or None."""
        for _ in range(8):
            if self.width_m < width + 0.4:
                return None
            x = float(self.rng.uniform(width / 2 + 0.15, self.width_m - width / 2 - 0.15))
            if all(abs(x - at) > (width + other) / 2 + 0.1 for at, other in self.used):
                self.used.append((x, width))
                return x
        return None

    def _box(self, x: float, bottom: float, width: float, height: float) -> tuple[int, int, int, int]:
        h = self.image.shape[0]
        left, right = (x - width / 2) * self.px_m, (x + width / 2) * self.px_m
        return (
            int(left),
            int(max(0, h - (bottom + height) * self.px_m)),
            int(right),
            int(h - bottom * self.px_m),
        )

    def _fill(self, box: tuple[int, int, int, int], colour: materials.RGB, label: int | None = None) -> None:
        cv2.rectangle(self.image, box[:2], box[2:], colour, -1)
        if label is not None:
            self.labels[box[1] : box[3] + 1, max(box[0], 0) : box[2] + 1] = label

    def _door(self) -> None:
        x = self._place(1.1)
        if x is None:
            return
        height = min(2.05, self.height_m - 0.15)
        frame = materials.random_colour(self.rng, ((235, 232, 225), (120, 85, 55), (90, 95, 100)))
        self._fill(self._box(x, 0, 1.08, height + 0.08), frame, DOOR)
        box = self._box(x, 0, 0.92, height)
        leaf = materials.wood(self.rng, (box[2] - box[0], box[3] - box[1]), self.px_m, 0.16).transpose(
            1, 0, 2
        )
        if self.rng.random() < 0.5:
            paint = materials.random_colour(self.rng, PAINTS)
            leaf = materials.plaster(self.rng, leaf.shape[:2], self.px_m, paint)
        self.image[box[1] : box[3], box[0] : box[2]] = leaf
        for bottom in (0.15, 1.1):
            for side in (-0.22, 0.22):
                panel = self._box(x + side, bottom, 0.32, 0.75)
                cv2.rectangle(self.image, panel[:2], panel[2:], tuple(0.6 * c for c in frame), 2)
        self._fill(self._box(x + 0.38, 1.0, 0.12, 0.04), (60, 60, 62))

    def _window(self) -> None:
        """A window with a bright view: sky, a tree line, houses; the picture of an overexposed outside."""
        width = min(float(self.rng.uniform(0.9, 1.9)), self.width_m - 0.5)
        x = self._place(width)
        if x is None or width < 0.6:
            return
        height = float(self.rng.uniform(1.0, 1.4))
        frame = materials.random_colour(self.rng, ((240, 240, 238), (130, 90, 60)))
        self._fill(self._box(x, 0.85, width + 0.12, height + 0.12), frame, WINDOW)
        left, top, right, bottom = self._box(x, 0.91, width, height)
        size_hw = (bottom - top, right - left)
        down = np.linspace(0, 1, size_hw[0])[:, None, None]
        view = np.array([205, 222, 245]) * (1 - 0.1 * down) + np.zeros((1, size_hw[1], 1))
        line = 0.55 + 0.12 * fractal(self.rng, (1, size_hw[1]), size_hw[1] / 3)[0]
        trees = tinted((105, 130, 80), fractal(self.rng, size_hw, size_hw[0] / 6), 0.5)
        view = np.where(down > line[None, :, None], trees, view)
        self.image[top:bottom, left:right] = to_image(view)
        self.glow[top:bottom, left:right] = 1.3
        bar = max(2, int(0.04 * self.px_m))
        cv2.line(self.image, ((left + right) // 2, top), ((left + right) // 2, bottom), frame, bar)
        if self.rng.random() < 0.5:
            cv2.line(self.image, (left, (top + bottom) // 2), (right, (top + bottom) // 2), frame, bar)

    def _details(self) -> None:
        skirting = materials.random_colour(self.rng, ((235, 232, 226), (110, 75, 50), (80, 80, 82)))
        h = self.labels.shape[0]
        rows = slice(h - max(2, int(0.09 * self.px_m)), h)
        bare = (self.labels[rows] == WALL)[..., None]
        self.image[rows] = np.where(bare, np.asarray(skirting, np.uint8), self.image[rows])
        for _ in range(int(self.width_m / 2) + 1):
            bottom = float(self.rng.choice([0.25, 1.1]))
            box = self._box(float(self.rng.uniform(0.2, self.width_m - 0.2)), bottom, 0.08, 0.08)
            if (self.labels[box[1] : box[3], box[0] : box[2]] == WALL).all():
                self._fill(box, (238, 238, 235))
                centre = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
                cv2.circle(self.image, centre, max(1, (box[2] - box[0]) // 4), (90, 90, 90), 1)


def ceiling(rng: np.random.Generator, size_hw: tuple[int, int], px_m: float) -> Texture:
    """Plain, boarded or panelled, with lamps."""
    kind = rng.choice(["plain", "panels", "boards"])
    if kind == "boards":
        image = materials.wood(rng, size_hw, px_m, 0.15)
    else:
        colour = materials.random_colour(rng, ((235, 235, 230), (220, 215, 205), (205, 210, 212)), 6)
        image = materials.mirrored(lambda part: materials.plaster(rng, part, px_m, colour), size_hw).copy()
    if kind == "panels":
        step = int(0.6 * px_m)
        image[::step] = 150
        image[:, ::step] = 150
    for _ in range(int(size_hw[0] * size_hw[1] / px_m**2 / 5) + 1):
        x, y = int(rng.uniform(0, size_hw[1])), int(rng.uniform(0, size_hw[0]))
        if rng.random() < 0.5:
            half = (int(0.6 * px_m), int(0.15 * px_m))
            cv2.rectangle(image, (x - half[0], y - half[1]), (x + half[0], y + half[1]), (255, 253, 240), -1)
            cv2.rectangle(image, (x - half[0], y - half[1]), (x + half[0], y + half[1]), (140, 140, 140), 2)
        else:
            cv2.circle(image, (x, y), int(0.2 * px_m), (255, 250, 232), -1, cv2.LINE_AA)
            cv2.circle(image, (x, y), int(0.2 * px_m), (120, 110, 90), 2, cv2.LINE_AA)
    return Texture(image)
