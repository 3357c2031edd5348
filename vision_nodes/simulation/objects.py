"""Things that stand in the street: cars, trees, lamps, benches, posters, bins."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.simulation import foliage, materials
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.noise import fractal, to_image
from vision_nodes.simulation.photos import available_posters, poster_texture
from vision_nodes.simulation.scene import SceneBuilder
from vision_nodes.tasks.classes import class_id

VEHICLE, VEGETATION, POLE = class_id("vehicle"), class_id("vegetation"), class_id("pole_sign")
FURNITURE, SEAT, BUILDING = class_id("furniture"), class_id("seat"), class_id("building")
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
VAN = ((0.0, 0.2), (0.05, 0.85), (0.55, 1.15), (1.15, 1.85), (4.55, 1.9), (4.62, 0.2))
HATCH = ((0.0, 0.2), (0.05, 0.72), (0.95, 0.95), (1.6, 1.48), (3.2, 1.5), (3.75, 1.0), (3.8, 0.2))


class Car:
    """One car model: textures are made once, `place` puts copies into the world."""

    WIDTH_M = 1.75

    def __init__(self, rng: np.random.Generator, builder: SceneBuilder, px_m: float = 90) -> None:
        self.builder, self.px_m = builder, px_m
        self.profile = np.array((SALOON, HATCH, VAN)[rng.integers(3)])
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
        belt = 0.98 if self.height < 1.7 else 1.15
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
            return nose - ahead * along + half * side + np.array([0, 0, up])

        hull = [at(p[0], p[1], s) for p in self.profile for s in (-1, 1)]
        hull += [at(x, 0, s) for x in (0.19 * self.length, 0.81 * self.length) for s in (-1, 1)]
        thing = self.builder.instance("car", np.array(hull))
        options = {"instance": thing}
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

    def bush(self, rng: np.random.Generator, centre: np.ndarray, size_m: float, **options: object) -> None:
        """A round of leaf cards, about `size_m` high, centred at `centre` (3,)."""
        for _ in range(7):
            side = size_m * rng.uniform(0.6, 0.85)
            at = centre + rng.normal(0, 1, 3) * size_m * (0.2, 0.2, 0.14)
            yaw, lean = rng.uniform(0, np.pi), rng.normal(0, 0.25)
            right = np.array([np.cos(yaw), np.sin(yaw), 0.0]) * side
            back = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
            down = (np.array([0, 0, -1.0]) * np.cos(lean) + back * np.sin(lean)) * side
            texture = self.leaves[rng.integers(len(self.leaves))]
            look = {"two_sided": True, "emissive": True, "gain": float(rng.uniform(0.85, 1.15))}
            self.builder.quad(at - right / 2 - down / 2, right, down, texture, VEGETATION, **look, **options)


def prism(
    builder: SceneBuilder,
    base: tuple[float, float, float],
    radius: float,
    height: float,
    texture: int,
    label: int,
    **options: object,
) -> None:
    """An upright column of `sides` (default 6) faces, without lids."""
    sides = int(options.pop("sides", 6))  # type: ignore[call-overload]
    angles = np.arange(sides + 1) * 2 * np.pi / sides
    ring = np.asarray(base) + np.stack(
        [np.cos(angles) * radius, np.sin(angles) * radius, 0 * angles + height], 1
    )
    down = np.array([0, 0, -height])
    for k in range(sides):
        window = (k / sides, 0, (k + 1) / sides, 1)
        builder.quad(ring[k], ring[k + 1] - ring[k], down, texture, label, rect=window, **options)


def lamp_post(rng: np.random.Generator, builder: SceneBuilder, x: float, y: float, yaw: float) -> None:
    """A pole with an arm and a lamp."""
    colour = materials.random_colour(rng, ((60, 65, 65), (110, 112, 110), (50, 70, 55)))
    metal = builder.texture(Texture(materials.painted_metal(rng, (256, 64), 100, colour)))
    height = float(rng.uniform(3.6, 4.8))
    prism(builder, (x, y, 0), 0.06, height, metal, POLE)
    prism(builder, (x, y, 0), 0.11, 0.5, metal, POLE)
    arm = (x + 0.4 * np.cos(yaw), y + 0.4 * np.sin(yaw), height)
    builder.box(arm, (1.0, 0.08, 0.08), metal, POLE, yaw=yaw, faces="front back left right top bottom")
    head = (x + 0.9 * np.cos(yaw), y + 0.9 * np.sin(yaw), height - 0.06)
    builder.box(head, (0.5, 0.22, 0.12), metal, POLE, yaw=yaw, faces="front back left right top bottom")


def bench(rng: np.random.Generator, builder: SceneBuilder, x: float, y: float, yaw: float) -> None:
    """A park bench of planks, its back towards `yaw`."""
    planks = builder.texture(Texture(materials.wood(rng, (64, 192), 110, 0.1)))
    ahead = np.array([np.cos(yaw), np.sin(yaw)])
    points = [
        (x + a * ahead[0] - b * ahead[1], y + a * ahead[1] + b * ahead[0], z)
        for a in (-0.25, 0.25) for b in (-0.8, 0.8) for z in (0, 0.85)
    ]  # fmt: skip
    options = {"instance": builder.instance("bench", np.array(points)), "yaw": yaw}
    options["faces"] = "front back left right top bottom"
    builder.box((x, y, 0.4), (0.5, 1.6, 0.06), planks, SEAT, **options)
    back = np.array([x, y]) + 0.22 * ahead
    builder.box((*back, 0.5), (0.05, 1.6, 0.4), planks, SEAT, **options)
    for side in (-0.65, 0.65):
        foot = np.array([x, y]) + side * np.array([-ahead[1], ahead[0]])
        builder.box((*foot, 0), (0.45, 0.07, 0.4), planks, SEAT, **options)


def poster(
    rng: np.random.Generator,
    builder: SceneBuilder,
    centre: np.ndarray,
    right: np.ndarray,
    height_m: float,
    label: int,
    name: str | None = None,
) -> None:
    """A framed photograph centred at `centre`; `right` is the unit vector to the viewer's right."""
    names = available_posters()
    if not names:
        return
    texture = poster_texture(name if name in names else names[rng.integers(len(names))])
    assert texture is not None
    h, w = texture.image.shape[:2]
    across, down = right * height_m * w / h, np.array([0, 0, -height_m])
    inward = np.cross(right, (0, 0, -1.0))
    tone = materials.random_colour(rng, ((40, 40, 42), (120, 85, 50), (225, 225, 222)))
    board = builder.texture(Texture(materials.plaster(rng, (64, 64), 60, tone)))
    border = 0.06
    grow = right * border * 2
    top_left = centre - (across + grow) / 2 - down / 2 + (0, 0, border)
    builder.quad(top_left + inward * 0.01, across + grow, down - (0, 0, 2 * border), board, label)
    builder.quad(centre - across / 2 - down / 2, across, down, builder.texture(texture), label, gain=1.0)


def billboard(
    rng: np.random.Generator, builder: SceneBuilder, x: float, y: float, yaw: float, name: str | None = None
) -> None:
    """A free-standing board that faces `yaw`, a poster on it."""
    facing = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.array([-facing[1], facing[0], 0.0])
    height = float(rng.uniform(1.5, 2.0))
    colour = materials.random_colour(rng, ((70, 72, 75), (45, 60, 50)))
    metal = builder.texture(Texture(materials.painted_metal(rng, (64, 64), 60, colour)))
    base = np.array([x, y, 0.0])
    texture = poster_texture(name) if name else None
    wide = height * (texture.image.shape[1] / texture.image.shape[0] if texture else 1.0)
    low = float(rng.uniform(0.6, 1.1))  # parked cars must not hide it
    poster(rng, builder, base + facing * 0.06 + (0, 0, low + height / 2), right, height, POLE, name)
    builder.box((x, y, low - 0.12), (0.06, wide + 0.2, height + 0.24), metal, POLE, yaw=yaw)
    for side in (-0.4, 0.4):
        foot = base + right * wide * side
        builder.box(foot, (0.07, 0.07, low), metal, POLE, yaw=yaw)


def bin_or_box(rng: np.random.Generator, builder: SceneBuilder, x: float, y: float, yaw: float) -> None:
    """A litter bin, a letter box or a switch cabinet."""
    colour = materials.random_colour(rng, ((60, 90, 60), (190, 170, 40), (110, 112, 115), (160, 40, 40)))
    image = materials.painted_metal(rng, (128, 128), 100, colour)
    cv2.rectangle(image, (20, 24), (108, 44), tuple(0.4 * c for c in colour), -1)
    cv2.putText(image, str(rng.integers(1, 99)), (38, 100), 0, 1.4, (240, 240, 235), 3, cv2.LINE_AA)
    size = (float(rng.uniform(0.35, 0.6)), float(rng.uniform(0.35, 0.9)), float(rng.uniform(0.8, 1.3)))
    builder.box((x, y, 0), size, builder.texture(Texture(image)), POLE, yaw=yaw)
