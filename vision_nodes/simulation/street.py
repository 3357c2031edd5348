"""A street that closes on itself: road, pavements, houses on both sides, cars, trees, posters."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.simulation import foliage, materials, objects
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.buildings import HouseKit
from vision_nodes.simulation.ground import Ground
from vision_nodes.simulation.lighting import Lighting
from vision_nodes.simulation.noise import fractal
from vision_nodes.simulation.path import LOOP
from vision_nodes.simulation.photos import available_posters
from vision_nodes.simulation.scene import Scene, SceneBuilder
from vision_nodes.tasks.classes import class_id

ROAD, PAVEMENT, TERRAIN = class_id("road"), class_id("pavement"), class_id("terrain")
BUILDING, SKY = class_id("building"), class_id("sky")
ROAD_IN, ROAD_OUT = -2.4, 3.2  # road edges, m from the loop's line
WALK_IN, WALK_OUT = -3.5, 5.2  # house fronts
PX_M = 70.0  # texels per metre of ground
SKY_M = 5e3


class StreetMaker:
    """Builds one street world from a seed."""

    def __init__(self, seed: int, px_m: float = PX_M) -> None:
        self.rng = np.random.default_rng([seed, 1])
        sun = (self.rng.uniform(-1, 1), self.rng.uniform(-1, 1), self.rng.uniform(0.5, 1.3))
        strength = self.rng.uniform(0.35, 0.7)
        self.lighting = Lighting(sun, float(strength), float(1.2 - strength))
        self.builder = SceneBuilder(self.lighting)
        reach = 7.5
        extent = (-LOOP.half_x - reach, -LOOP.half_y - reach, LOOP.half_x + reach, LOOP.half_y + reach)
        self.ground = Ground(extent, px_m)
        self.kit = HouseKit(self.rng, self.builder)
        self.gaps: list[tuple[int, float]] = []

    def make(self) -> Scene:
        """Everything, in an order that lets shadows fall on the ground picture."""
        self._paint_ground()
        self._outer_rows()
        self._island()
        self._cars()
        self._furniture()
        self._posters()
        self._distance()
        self.ground.add_to(self.builder)
        add_sky(self.rng, self.builder)
        return self.builder.build()

    # the four outer sides: middle of the front line, unit vector out of the street, half length
    def _sides(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        x, y = LOOP.half_x + WALK_OUT, LOOP.half_y + WALK_OUT
        return [
            (np.array([x, 0.0]), np.array([1.0, 0.0]), y),
            (np.array([0.0, y]), np.array([0.0, 1.0]), x + 6.5),
            (np.array([-x, 0.0]), np.array([-1.0, 0.0]), y),
            (np.array([0.0, -y]), np.array([0.0, -1.0]), x + 6.5),
        ]

    def _paint_ground(self) -> None:
        ground, rng = self.ground, self.rng
        x, y = ground.grid()
        away = LOOP.distance(x, y)
        everywhere = np.ones(ground.size_hw, bool)
        ground.paint(everywhere, materials.grass(rng, ground.size_hw, ground.px_m), TERRAIN)
        road = (away > ROAD_IN) & (away < ROAD_OUT)
        walk = (away > WALK_IN) & ~road
        walk &= (np.abs(x) < LOOP.half_x + WALK_OUT + 0.3) & (np.abs(y) < LOOP.half_y + WALK_OUT + 0.3)
        for side, (middle, outward, half) in enumerate(self._sides()):
            at = float(rng.uniform(-0.55, 0.55)) * min(half, LOOP.half_x)
            self.gaps.append((side, at))
            along = (x * abs(outward[1]) + y * abs(outward[0])) - at
            beyond = (x * outward[0] + y * outward[1]) > (np.abs(middle).sum() - WALK_OUT)
            road |= beyond & (np.abs(along) < 1.9) & (away > 0)
            walk |= beyond & (np.abs(along) < 2.9) & (away > 0)
        walk &= ~road
        ground.paint(
            walk,
            materials.mirrored(lambda part: materials.slabs(rng, part, ground.px_m), ground.size_hw, 1024),
            PAVEMENT,
        )
        ground.paint(road, materials.asphalt(rng, ground.size_hw, ground.px_m), ROAD)
        kerb = walk & ((np.abs(away - ROAD_IN) < 0.14) | (np.abs(away - ROAD_OUT) < 0.14))
        stone = materials.mirrored(lambda part: materials.concrete(rng, part, ground.px_m), ground.size_hw)
        ground.paint(kerb, stone, PAVEMENT)
        self._markings(road, away)

    def _markings(self, road: np.ndarray, away: np.ndarray) -> None:
        """Dashes on the middle line, worn edge lines, two zebra crossings, an arrow or two."""
        ground, rng = self.ground, self.rng
        layer = np.zeros(ground.size_hw, np.uint8)
        steps = np.arange(0, LOOP.length_m, 0.1)
        points, directions = LOOP.at(steps)
        normal = np.stack([directions[:, 1], -directions[:, 0]], axis=1)
        centre = points + normal * (ROAD_IN + ROAD_OUT) / 2 * 0.4

        def line(xy: np.ndarray, width_m: float) -> None:
            texels = np.rint(ground.texel(xy) * 8).astype(np.int32)
            cv2.polylines(layer, [texels], False, 255, max(1, round(width_m * ground.px_m)), cv2.LINE_AA, 3)

        for start in range(0, len(steps) - 12, 30):
            line(centre[start : start + 12], 0.11)
        for at in rng.integers(0, len(steps), 3):
            for offset in np.arange(ROAD_IN + 0.4, ROAD_OUT - 0.3, 0.75):
                foot = points[at] + normal[at] * offset
                line(np.stack([foot, foot + directions[at] * 2.0]), 0.38)
        for at in rng.integers(0, len(steps), 3):
            tip = points[at] + directions[at] * 1.2 + normal[at] * 0.9
            line(np.stack([points[at] + normal[at] * 0.9, tip]), 0.14)
            for side in (-0.3, 0.3):
                line(np.stack([tip, tip - directions[at] * 0.45 + normal[at] * side]), 0.14)
        worn = np.clip(0.85 + 0.35 * fractal(rng, ground.size_hw, 0.5 * ground.px_m, 6), 0, 1)
        paint = (layer / 255.0 * worn * road)[..., None].astype(np.float32)
        ground.image[:] = np.rint(ground.image * (1 - paint) + np.float32([225, 224, 215]) * paint)

    def _shade(self, corners: np.ndarray) -> None:
        self.ground.shadow(corners, self.lighting.sun)
        self.ground.contact(corners[:, :2][_hull_order(corners[:, :2])])

    def _outer_rows(self) -> None:
        for side, (middle, outward, half) in enumerate(self._sides()):
            right = np.array([outward[1], -outward[0]])
            axis = np.array([abs(outward[1]), abs(outward[0])])
            gap = self.gaps[side][1] * float(right @ axis)
            at = -half
            while at < half - 1.0:
                width = float(self.rng.uniform(4.0, 7.5))
                if at < gap + 2.8 and at + width > gap - 2.8:
                    if gap - 2.8 - at > 2.5:
                        width = gap - 2.8 - at
                    else:
                        at = gap + 2.8
                        continue
                width = min(width, half - at)
                size = (width, 6.5, float(self.rng.uniform(4.5, 9.5)))
                step = outward * float(self.rng.choice([0.0, 0.0, 0.25, 0.5]))
                self._shade(self.kit.house(middle + right * at + step, outward, size))
                at += width + float(self.rng.choice([0.0, 0.0, 0.0, 0.8]))

    def _island(self) -> None:
        """The block inside the loop: two houses back to back with a yard between, trees, a hedge."""
        x, y = LOOP.half_x + WALK_IN, LOOP.half_y + WALK_IN
        for sign in (-1.0, 1.0):
            outward = np.array([-sign, 0.0])
            right = np.array([outward[1], -outward[0]])
            width = float(self.rng.uniform(1.3, 1.8)) * y
            size = (width, float(self.rng.uniform(2.4, 3.0)), float(self.rng.uniform(3.0, 5.5)))
            front = np.array([sign * (x - 0.1), 0.0]) - right * width / 2
            self._shade(self.kit.house(front, outward, size))
        self.trees = [objects.Tree(self.rng, self.builder) for _ in range(2)]
        for _ in range(3):
            spot = self.rng.uniform((-1.2, -y + 0.4), (1.2, y - 0.4))
            self._plant(spot, float(self.rng.uniform(3.0, 4.5)))

    def _plant(self, spot: np.ndarray, height: float) -> None:
        self.trees[self.rng.integers(len(self.trees))].place(self.rng, spot[0], spot[1], height)
        ring = np.arange(8) * np.pi / 4
        crown = np.stack([np.cos(ring), np.sin(ring), 0 * ring], 1) * height * 0.25
        self.ground.shadow(crown + (spot[0], spot[1], height * 0.7), self.lighting.sun, 0.33)

    def _along(self, distance: float, offset: float) -> tuple[np.ndarray, float, float]:
        """A spot beside the loop: (x, y), heading of the road there, heading towards the road's middle."""
        points, directions = LOOP.at(np.array([distance]))
        normal = np.array([directions[0, 1], -directions[0, 0]])
        heading = float(np.arctan2(directions[0, 1], directions[0, 0]))
        towards = heading + (np.pi / 2 if offset > 0 else -np.pi / 2)
        return points[0] + normal * offset, heading, towards

    def _cars(self) -> None:
        models = [objects.Car(self.rng, self.builder) for _ in range(4)]
        self.taken: list[float] = []
        for slot in np.arange(1.0, LOOP.length_m - 4.0, 6.2):
            if self.rng.random() < 0.62:
                at = float(slot + self.rng.uniform(-0.3, 0.3))
                spot, heading, _ = self._along(at, 2.25)
                turn = 0.0 if self.rng.random() < 0.8 else np.pi
                car = models[self.rng.integers(len(models))]
                corners = car.place(spot[0], spot[1], heading + turn + float(self.rng.normal(0, 0.02)))
                roof = np.hstack([np.vstack([corners, corners]), np.repeat([[0.0], [1.2]], 4, axis=0)])
                self.ground.shadow(roof, self.lighting.sun)
                self.ground.contact(corners)
                self.taken.append(at)

    def _furniture(self) -> None:
        rng = self.rng
        for at in np.arange(2.0, LOOP.length_m, 7.5):
            spot, _, _ = self._along(float(at + rng.uniform(-1, 1)), 3.75)
            if rng.random() < 0.75:
                self._plant(spot, float(rng.uniform(3.6, 5.5)))
        for at in np.arange(0.0, LOOP.length_m, 13.0):
            spot, _, towards = self._along(float(at + rng.uniform(-1, 1)), 3.6)
            objects.lamp_post(rng, self.builder, spot[0], spot[1], towards)
        for at in rng.uniform(0, LOOP.length_m, 5):
            spot, _, towards = self._along(float(at), 4.75)
            objects.bench(rng, self.builder, spot[0], spot[1], towards + np.pi)
        for at in rng.uniform(0, LOOP.length_m, 8):
            spot, _, towards = self._along(float(at), float(rng.choice([4.6, -3.1])))
            objects.bin_or_box(rng, self.builder, spot[0], spot[1], towards)

    def _posters(self) -> None:
        """Photographs where the camera looks: boards on the pavement facing the traffic, and on walls."""
        known, all_names = available_posters(True), available_posters()
        if not all_names:
            return
        start = int(self.rng.integers(100))
        for index, at in enumerate(np.arange(2.0, LOOP.length_m, 4.4)):
            # three of four show something a COCO detector knows
            pool = all_names if index % 4 == 3 or not known else known
            inner = index % 3 == 2
            spot, heading, _ = self._along(float(at), -2.95 if inner else 4.4)
            facing = heading + np.pi + (0.5 if inner else -0.4)
            name = pool[(start + index) % len(pool)]
            objects.billboard(self.rng, self.builder, spot[0], spot[1], facing, name)
        for side, (middle, outward, half) in enumerate(self._sides()):
            right = np.array([outward[1], -outward[0], 0.0])
            gap = self.gaps[side][1] * float(right[0] + right[1])
            for along in self.rng.uniform(-0.9, 0.9, 3) * min(half, LOOP.half_x):
                if abs(along - gap) > 4.0:
                    centre = np.array([*(middle - outward * 0.06), 2.2]) + right * along
                    pool = known if known and self.rng.random() < 0.6 else all_names
                    name, height = pool[self.rng.integers(len(pool))], float(self.rng.uniform(1.3, 2.0))
                    objects.poster(self.rng, self.builder, centre, right, height, BUILDING, name)

    def _distance(self) -> None:
        """What stands beyond the first row: a wide plain, houses and trees up to 80 m away."""
        rng = self.rng
        wide = self.builder.texture(Texture(materials.grass(rng, (1024, 1024), 8.0)))
        for i in range(4):
            for j in range(4):
                origin = (-160.0 + 80 * i, -80.0 + 80 * j, -0.05)
                self.builder.quad(origin, (80, 0, 0), (0, -80, 0), wide, TERRAIN)
        for index in range(22):
            angle = 2 * np.pi * (index + rng.uniform(-0.3, 0.3)) / 22
            outward = np.array([np.cos(angle), np.sin(angle)])
            spot = outward * float(rng.uniform(30, 75))
            size = (float(rng.uniform(7, 12)), 8.0, float(rng.uniform(5, 15)))
            self.kit.house(spot, outward, size, detailed=False)
        for _ in range(24):
            angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(27, 60)
            tree = self.trees[rng.integers(len(self.trees))]
            tree.place(
                rng, float(reach * np.cos(angle)), float(reach * np.sin(angle)), float(rng.uniform(4, 8))
            )


def _hull_order(xy: np.ndarray) -> np.ndarray:
    """Indices of the convex hull of (N, 2) points in order."""
    return cv2.convexHull(xy.astype(np.float32), returnPoints=False)[:, 0]


def add_sky(rng: np.random.Generator, builder: SceneBuilder) -> None:
    """Five faces of a box that moves with the camera."""
    for axes, image in foliage.sky_faces(rng):
        texture = builder.texture(Texture(image))
        origin, edge_u, edge_v = axes * SKY_M
        builder.quad(origin, edge_u, edge_v, texture, SKY, sky=True)
