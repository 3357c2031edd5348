"""Sizes of a street world, and where things beside its road stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.simulation.path import LOOP, RoundedLoop


@dataclass(frozen=True)
class Side:
    """One of the four outer house rows, seen from the street.

    `middle` is the middle of its front line and `outward` the unit vector out of the street, (2,) each;
    `half` is half its length, m; `gap` where a side street leaves, m to the viewer's right of `middle`.
    """

    middle: np.ndarray
    outward: np.ndarray
    half: float
    gap: float
    is_park: bool = False

    @property
    def right(self) -> np.ndarray:
        """(2,) unit vector to the right of a viewer who looks outwards."""
        return np.array([self.outward[1], -self.outward[0]])


@dataclass(frozen=True)
class StreetPlan:
    """The loop that is driven, and distances from its line (outside positive), m."""

    loop: RoundedLoop
    road_in: float
    road_out: float
    walk_in: float
    walk_out: float
    sides: tuple[Side, ...]

    @classmethod
    def from_seed(cls, seed: int) -> StreetPlan:
        """Seed 0 is the demo street with the standard loop; others vary shape, widths and parks."""
        rng = np.random.default_rng([seed, 6])
        half_x = LOOP.half_x if seed == 0 else float(rng.uniform(6.2, 8.4))
        loop = RoundedLoop(half_x, LOOP.half_x + LOOP.half_y - half_x, LOOP.radius)
        road_out, walk = float(rng.uniform(3.1, 3.5)), float(rng.uniform(1.8, 2.4))
        walk_out = road_out + walk
        x, y = loop.half_x + walk_out, loop.half_y + walk_out
        park = int(rng.integers(8))  # half of the streets have one open side
        sides = []
        for number, half in enumerate((y, x + 6.5, y, x + 6.5)):
            outward = np.array([[1.0, 0], [0, 1.0], [-1.0, 0], [0, -1.0]])[number]
            gap = float(rng.uniform(-0.6, 0.6)) * (loop.half_y if number % 2 == 0 else loop.half_x)
            middle = outward * (x if number % 2 == 0 else y)
            sides.append(Side(middle, outward, half, gap, number == park))
        return cls(loop, -2.4, road_out, -3.4, walk_out, tuple(sides))

    @property
    def kerb_parking(self) -> float:
        """Distance of a parked car's middle from the line."""
        return self.road_out - 0.95

    def beside(self, distance_m: float, offset_m: float) -> tuple[np.ndarray, float, float]:
        """A spot `offset_m` beside the line: (2,) xy, heading of the road, heading towards its middle, rad."""
        points, directions = self.loop.at(np.array([distance_m]))
        normal = np.array([directions[0, 1], -directions[0, 0]])
        heading = float(np.arctan2(directions[0, 1], directions[0, 0]))
        towards = heading + (np.pi / 2 if offset_m > 0 else -np.pi / 2)
        return points[0] + normal * offset_m, heading, towards

    def is_open(self, spot: np.ndarray, margin_m: float = 2.6) -> bool:
        """False where a side street leaves: nothing may stand in its mouth."""
        for side in self.sides:
            from_middle = spot - side.middle
            along, out = float(from_middle @ side.right), float(from_middle @ side.outward)
            if abs(along - side.gap) < margin_m and out > self.road_out - self.walk_out - 0.5:
                return False
        return True
