"""A floor of rooms around a core: the camera can walk round through the doorways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from vision_nodes.simulation import interiors, materials, posters
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.furniture import FurnitureKit
from vision_nodes.simulation.ground import Ground
from vision_nodes.simulation.lighting import Lighting
from vision_nodes.simulation.path import RoundedLoop
from vision_nodes.simulation.photos import available_posters
from vision_nodes.simulation.scene import Scene, SceneBuilder
from vision_nodes.tasks.classes import class_id

FLOOR, WALL, CEILING, FURNITURE = (class_id(n) for n in ("floor", "wall", "ceiling", "furniture"))
FLOORS = (materials.floor_tiles, materials.wood, materials.carpet, materials.wood, materials.floor_tiles)
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Plan:
    """Sizes of a floor: the walk's line, and how far core and outer walls are from it, metres."""

    loop: RoundedLoop
    inside: float
    outside: float
    height: float

    @classmethod
    def from_seed(cls, seed: int) -> Plan:
        """Random sizes; the walk is 24 to 31 m long."""
        rng = np.random.default_rng([seed, 3])
        half_x, half_y = rng.uniform(4.0, 4.9), rng.uniform(3.4, 4.2)
        loop = RoundedLoop(float(half_x), float(half_y), 2.5)
        return cls(loop, *(float(v) for v in rng.uniform((0.9, 1.6, 2.4), (1.3, 2.9, 3.1))))


class IndoorMaker:
    """Builds one indoor world from a seed."""

    def __init__(self, seed: int, px_m: float = 80.0) -> None:
        self.rng, self.plan, self.px_m = np.random.default_rng([seed, 4]), Plan.from_seed(seed), px_m
        warm = float(self.rng.uniform(0.9, 1.05))
        sun = (self.rng.uniform(-1, 1), self.rng.uniform(-1, 1), 1.6)
        ambient = float(self.rng.uniform(0.75, 0.95))
        self.builder = SceneBuilder(Lighting(sun, 0.22, ambient, (1.0, 0.97, warm), (1.0, 0.98, warm)))
        self.kit = FurnitureKit(self.rng, self.builder)
        plan = self.plan
        self.outer = np.array([plan.loop.half_x + plan.outside, plan.loop.half_y + plan.outside])
        self.core = np.array([plan.loop.half_x - plan.inside, plan.loop.half_y - plan.inside])
        # where the dividing walls stand on the +x, +y, -x, -y stretches of the walk
        self.dividers = self.rng.uniform(-0.35, 0.35, 4) * self.core[[1, 0, 1, 0]]

    def make(self) -> Scene:
        """Shell first, then what stands in it; the floor last, with its shadows."""
        self.ground = Ground((-self.outer[0], -self.outer[1], self.outer[0], self.outer[1]), self.px_m)
        self._floor_and_ceiling()
        for side in range(4):
            self._outer_wall(side)
            self._core_wall(side)
            self._divider(side)
        self.ground.add_to(self.builder)
        return self.builder.build()

    def _axes(self, side: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Unit vector outwards, unit vector along (viewer's right when facing outwards), along-axis index."""
        outward = np.array([[1.0, 0], [0, 1.0], [-1.0, 0], [0, -1.0]])[side]
        return outward, np.array([outward[1], -outward[0]]), 1 - side % 2

    def _floor_and_ceiling(self) -> None:
        x, y = self.ground.grid()
        d = self.dividers
        # the four dividers cut the ring into four rooms, each round one corner of the core
        east, west = y > np.where(x > 0, d[0], d[2]), x > np.where(y > 0, d[1], d[3])
        room = east * 2 + west
        for number in range(4):
            recipe = FLOORS[self.rng.integers(len(FLOORS))]
            fill = partial(recipe, self.rng, px_m=self.px_m)
            picture = materials.mirrored(fill, self.ground.size_hw)
            self.ground.paint(np.broadcast_to(room == number, self.ground.size_hw), picture, FLOOR)
        self.ground.contact(
            np.array([[a, b] for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]) * self.core, 0.3
        )
        roof = interiors.ceiling(self.rng, self.ground.size_hw, self.px_m * 0.8)
        corner = np.array([-self.outer[0], -self.outer[1], self.plan.height])
        size = 2 * self.outer
        self.builder.quad(
            corner, (size[0], 0, 0), (0, size[1], 0), self.builder.texture(roof), CEILING, gain=1.15
        )

    def _wall(
        self, left: np.ndarray, right_way: np.ndarray, width: float, window: bool, pictures: int
    ) -> None:
        """A wall seen with its left lower corner at `left` (2,), running along the viewer's right."""
        if width < 0.05:
            return
        door = self.rng.random() < 0.5
        painter = interiors.InteriorWall(self.rng, width, self.plan.height, self.px_m)
        texture = self.builder.texture(painter.paint(window, door))
        top = np.array([*left, self.plan.height])
        self.builder.quad(top, np.array([*right_way, 0.0]) * width, -self.plan.height * UP, texture, WALL)
        towards_viewer = np.array([-right_way[1], right_way[0]]) * -0.03
        for at in painter.free_spots(0.9, pictures):
            self._picture(
                left + right_way * at + towards_viewer, right_way, float(self.rng.uniform(1.5, 1.8))
            )

    def _outer_wall(self, side: int) -> None:
        outward, right, axis = self._axes(side)
        line = outward * self.outer[side % 2 if side % 2 == 0 else 1]
        half, cut = self.outer[axis], self.dividers[side] * right[axis]
        for start, end in ((-half, cut), (cut, half)):
            self._wall(line + right * start, right, end - start, True, int(self.rng.integers(0, 3)))
            self._furnish(line, outward, right, (start, end))

    def _furnish(
        self, line: np.ndarray, outward: np.ndarray, right: np.ndarray, stretch: tuple[float, float]
    ) -> None:
        """Pieces side by side along a wall, posters above the low ones."""
        kit, rng = self.kit, self.rng
        yaw = float(np.arctan2(outward[1], outward[0]))
        deep = self.plan.outside > 2.1
        pieces = [(kit.cupboard, 0.25, 1.9), (kit.television, 0.25, 1.7), (kit.plant, 0.4, 0.8)]
        pieces += [(kit.sofa, 0.48, 2.3), (kit.bed, 0.52, 2.2)]
        if deep:
            pieces += [(kit.table, 0.55, 2.0), (kit.table, 0.55, 2.0)]
        at = stretch[0] + 0.35
        while True:
            place, back, wide = pieces[rng.integers(len(pieces))]
            if at + wide > stretch[1] - 0.3:
                return
            if rng.random() < 0.8:
                spot = line + right * (at + wide / 2) - outward * back
                place(float(spot[0]), float(spot[1]), yaw)
                box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (back * 0.9, wide * 0.42)
                self.ground.contact(spot + box[:, :1] * outward + box[:, 1:] * right, 0.25)
            at += wide + float(rng.uniform(0.05, 0.5))

    def _picture(self, spot: np.ndarray, right: np.ndarray, z: float) -> None:
        height = float(self.rng.uniform(0.45, 0.75))
        pool: list[str] = available_posters(bool(self.rng.random() < 0.6))
        name = pool[self.rng.integers(len(pool))] if pool else None
        posters.poster(
            self.rng, self.builder, np.array([*spot, z]), np.array([*right, 0.0]), height, WALL, name
        )

    def _core_wall(self, side: int) -> None:
        outward, right, axis = self._axes(side)
        line = outward * self.core[1 - axis]
        half, cut = self.core[axis], -self.dividers[side] * right[axis]
        viewer_right = -right  # seen from the walk, looking inwards
        for start, end in ((-half, cut), (cut, half)):
            self._wall(line + viewer_right * start, viewer_right, end - start, False, 2)
        if self.plan.inside > 1.1:
            spot = line + outward * 0.16 + viewer_right * float(self.rng.uniform(-0.6, 0.6)) * half
            self.kit.plant(float(spot[0]), float(spot[1]), 0.0)

    def _divider(self, side: int) -> None:
        """A wall across the walk with a doorway where the walk passes."""
        outward, _, axis = self._axes(side)
        plan, wide = self.plan, float(self.rng.uniform(1.5, 1.7))
        tall = min(plan.height - 0.2, float(self.rng.uniform(2.05, 2.4)))
        across = outward
        along = np.zeros(2)
        along[axis] = 1.0
        line = plan.loop.half_x if side % 2 == 0 else plan.loop.half_y
        inner, outer = self.core[side % 2], self.outer[side % 2]
        parts = [
            (inner, line - wide / 2, 0.0),
            (line + wide / 2, outer, 0.0),
            (line - wide / 2, line + wide / 2, tall),
        ]
        yaw = float(np.arctan2(along[1], along[0]))
        painters = [interiors.wall_covering(self.rng, (256, 256), 90) for _ in range(2)]
        ids = [self.builder.texture(Texture(p)) for p in painters]
        frame = self.builder.texture(Texture(materials.wood(self.rng, (64, 64), 90)))
        for start, end, bottom in parts:
            middle = across * (start + end) / 2 + along * self.dividers[side]
            size = (0.12, end - start, plan.height - bottom)
            faces = "front back left right bottom" if bottom else "front back left right"
            textures = (ids[0], frame, frame)
            self.builder.box((*middle, bottom), size, textures, WALL, yaw=yaw, faces=faces)
