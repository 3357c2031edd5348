"""A street that closes on itself: road, pavements, houses on both sides, cars, trees, posters."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vision_nodes.simulation import foliage, materials, posters, street_furniture
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.buildings import HouseKit
from vision_nodes.simulation.cars import Car
from vision_nodes.simulation.lighting import Lighting
from vision_nodes.simulation.photos import available_posters
from vision_nodes.simulation.plants import Tree, hedge
from vision_nodes.simulation.scene import Scene, SceneBuilder
from vision_nodes.simulation.street_ground import add_kerbs, add_side_roads, paint_street
from vision_nodes.simulation.street_plan import Side, StreetPlan
from vision_nodes.tasks.classes import class_id

TERRAIN, BUILDING, SKY, WATER = (class_id(n) for n in ("terrain", "building", "sky", "water"))
Place = Callable[[np.ndarray, float, float], None]  # spot (2,), heading of the road, towards its middle
PX_M = 70.0  # texels per metre of ground
SKY_M = 5e3


class StreetMaker:
    """Builds one street world from a seed."""

    def __init__(self, seed: int, px_m: float = PX_M) -> None:
        self.rng, self.plan, self.px_m = np.random.default_rng([seed, 1]), StreetPlan.from_seed(seed), px_m
        sun = (self.rng.uniform(-1, 1), self.rng.uniform(-1, 1), self.rng.uniform(0.5, 1.3))
        strength = self.rng.uniform(0.35, 0.7)
        self.lighting = Lighting(sun, float(strength), float(1.2 - strength))
        self.builder = SceneBuilder(self.lighting)
        self.kit = HouseKit(self.rng, self.builder)
        self.trees = [Tree(self.rng, self.builder) for _ in range(2)]

    def make(self) -> Scene:
        """Everything, in an order that lets shadows fall on the ground picture."""
        self.ground = paint_street(self.rng, self.plan, self.px_m)
        add_kerbs(self.rng, self.builder, self.plan)
        add_side_roads(self.rng, self.builder, self.plan)
        for side in self.plan.sides:
            if side.is_park:
                self._park(side)
            else:
                self._house_row(side)
        self._island()
        self._cars()
        self._pavement()
        self._boards()
        self._distance()
        self.ground.add_to(self.builder)
        add_sky(self.rng, self.builder)
        return self.builder.build()

    def _shade(self, corners: np.ndarray) -> None:
        """Shadow and contact darkening of something with these corner points (N, 3)."""
        self.ground.shadow(corners, self.lighting.sun)
        outline = cv2.convexHull(corners[:, :2].astype(np.float32))[:, 0]
        self.ground.contact(outline)

    def _house_row(self, side: Side) -> None:
        at = -side.half
        while at < side.half - 1.0:
            width = float(self.rng.uniform(4.0, 7.5))
            if at < side.gap + 2.8 and at + width > side.gap - 2.8:
                width = side.gap - 2.8 - at  # up to the side street, or on from behind it
                if width <= 2.5:
                    at = side.gap + 2.8
                    continue
            width = min(width, side.half - at)
            size = (width, 6.5, float(self.rng.uniform(4.5, 9.5)))
            step = side.outward * float(self.rng.choice([0.0, 0.0, 0.25, 0.5]))
            self._shade(self.kit.house(side.middle + side.right * at + step, side.outward, size))
            at += width + float(self.rng.choice([0.0, 0.0, 0.0, 0.8]))

    def _park(self, side: Side) -> None:
        """An open side: hedges, trees, benches, a pond."""
        rng = self.rng
        leaves = self.builder.texture(hedge(rng))
        for start, end in ((-side.half, side.gap - 2.9), (side.gap + 2.9, side.half)):
            at = start
            while at < end - 0.5:
                length = min(float(rng.uniform(2.0, 4.5)), end - at)
                spot = side.middle + side.right * (at + length / 2) + side.outward * 0.5
                yaw = float(np.arctan2(side.right[1], side.right[0]))
                size = (length, 0.7, float(rng.uniform(0.6, 1.2)))
                self._shade(self.builder.box((*spot, 0.0), size, leaves, class_id("vegetation"), yaw=yaw))
                at += length + float(rng.choice([0.0, 0.0, 1.4]))
        for _ in range(9):
            spot = (
                side.middle
                + side.right * rng.uniform(-1, 1) * side.half
                + side.outward * rng.uniform(1.6, 12)
            )
            if abs((spot - side.middle) @ side.right - side.gap) > 3.4:
                self._plant(spot, float(rng.uniform(4.0, 7.0)))
        middle = side.middle + side.outward * 9.0 + side.right * (side.gap + np.sign(-side.gap) * 7.5)
        pond = self.builder.texture(foliage.pond(rng))
        corner = (middle[0] - 4.0, middle[1] + 4.0, -0.03)
        self.builder.quad(corner, (8.0, 0, 0), (0, -8.0, 0), pond, WATER)

    def _island(self) -> None:
        """The block inside the loop: two houses back to back with a yard between, and trees."""
        x, y = (half + self.plan.walk_in for half in (self.plan.loop.half_x, self.plan.loop.half_y))
        deep = min(3.0, x - 1.1)
        for sign in (-1.0, 1.0):
            outward = np.array([-sign, 0.0])
            right = np.array([outward[1], -outward[0]])
            width = float(self.rng.uniform(1.3, 1.8)) * y
            size = (width, float(self.rng.uniform(0.8, 1.0)) * deep, float(self.rng.uniform(3.0, 5.5)))
            front = np.array([sign * (x - 0.1), 0.0]) - right * width / 2
            self._shade(self.kit.house(front, outward, size))
        for _ in range(3):
            spot = self.rng.uniform((-0.6, -y + 0.4), (0.6, y - 0.4))
            self._plant(spot, float(self.rng.uniform(3.0, 4.5)))

    def _plant(self, spot: np.ndarray, height: float) -> None:
        self.trees[self.rng.integers(len(self.trees))].place(self.rng, spot[0], spot[1], height)
        ring = np.arange(8) * np.pi / 4
        crown = np.stack([np.cos(ring), np.sin(ring), 0 * ring], 1) * height * 0.25
        self.ground.shadow(crown + (spot[0], spot[1], height * 0.7), self.lighting.sun, 0.33)

    def _cars(self) -> None:
        models = [Car(self.rng, self.builder) for _ in range(4)]
        for slot in np.arange(1.0, self.plan.loop.length_m - 4.0, 6.2):
            spot, heading, _ = self.plan.beside(
                float(slot + self.rng.uniform(-0.3, 0.3)), self.plan.kerb_parking
            )
            if self.rng.random() < 0.62 and self.plan.is_open(spot, 4.2):
                turn = 0.0 if self.rng.random() < 0.8 else np.pi
                car = models[self.rng.integers(len(models))]
                corners = car.place(spot[0], spot[1], heading + turn + float(self.rng.normal(0, 0.02)))
                self._shade(np.hstack([np.vstack([corners, corners]), np.repeat([[0.0], [1.2]], 4, axis=0)]))

    def _pavement(self) -> None:
        """Trees, lamps, benches, bins, stalls, traffic lights and signs on the pavements."""
        rng, plan = self.rng, self.plan
        kit = street_furniture.StreetFurniture(rng, self.builder)
        wall, kerb = plan.walk_out - 0.45, plan.road_out + 0.45
        spread: list[tuple[float, float, float, Place]] = [
            (7.5, kerb + 0.15, 0.75, lambda s, h, t: self._plant(s, float(rng.uniform(3.6, 5.5)))),
            (13.0, kerb, 0.9, lambda s, h, t: kit.lamp_post(s[0], s[1], t)),
            (9.0, wall, 0.6, lambda s, h, t: kit.bench(s[0], s[1], t + np.pi)),
            (6.5, wall, 0.6, lambda s, h, t: kit.bin_or_box(s[0], s[1], t)),
            (12.0, wall - 0.15, 0.7, lambda s, h, t: kit.stall(s[0], s[1], t)),
            (11.0, kerb - 0.05, 0.8, lambda s, h, t: kit.traffic_light(s[0], s[1], h + np.pi)),
            (14.0, kerb, 0.8, lambda s, h, t: kit.sign(s[0], s[1], h + np.pi)),
        ]
        for step, offset, chance, place in spread:
            for at in np.arange(float(rng.uniform(0, step)), plan.loop.length_m, step):
                spot, heading, towards = plan.beside(float(at + rng.uniform(-1, 1)), offset)
                if rng.random() < chance and plan.is_open(spot):
                    place(spot, heading, towards)

    def _boards(self) -> None:
        """Photographs where the camera looks: boards on the pavement facing the traffic, and on walls."""
        rng, known, everything = self.rng, available_posters(True), available_posters()
        if not everything:
            return
        start = int(rng.integers(100))
        for index, at in enumerate(np.arange(2.0, self.plan.loop.length_m, 4.4)):
            # three of four show something a COCO detector knows
            pool = everything if index % 4 == 3 or not known else known
            inner = index % 3 == 2
            offset = self.plan.road_in - 0.5 if inner else self.plan.walk_out - 0.75
            spot, heading, _ = self.plan.beside(float(at), offset)
            if self.plan.is_open(spot, 3.0):
                facing = heading + np.pi + (0.5 if inner else -0.4)
                name = pool[(start + index) % len(pool)]
                posters.billboard(rng, self.builder, spot[0], spot[1], facing, name)
        for side in self.plan.sides:
            reach = 0.9 * min(side.half, self.plan.loop.half_x)
            for along in rng.uniform(-reach, reach, 0 if side.is_park else 3):
                if abs(along - side.gap) > 4.2:
                    right = np.array([*side.right, 0.0])
                    centre = np.array([*(side.middle - side.outward * 0.06), 2.2]) + right * along
                    pool = known if known and rng.random() < 0.6 else everything
                    name, height = pool[rng.integers(len(pool))], float(rng.uniform(1.3, 2.0))
                    posters.poster(rng, self.builder, centre, right, height, BUILDING, name)

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
            size = (float(rng.uniform(7, 12)), 8.0, float(rng.uniform(5, 15)))
            self.kit.house(outward * float(rng.uniform(32, 75)), outward, size, detailed=False)
        for _ in range(24):
            angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(28, 60)
            tree = self.trees[rng.integers(len(self.trees))]
            tree.place(
                rng, float(reach * np.cos(angle)), float(reach * np.sin(angle)), float(rng.uniform(4, 8))
            )


def add_sky(rng: np.random.Generator, builder: SceneBuilder) -> None:
    """Five faces of a box that moves with the camera."""
    for axes, image in foliage.sky_faces(rng):
        texture = builder.texture(Texture(image))
        origin, edge_u, edge_v = axes * SKY_M
        builder.quad(origin, edge_u, edge_v, texture, SKY, sky=True)
