"""The street's floor: lawn, pavement, road, markings, kerbs, and the roads that lead away."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.simulation import materials
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.ground import Ground
from vision_nodes.simulation.noise import fractal
from vision_nodes.simulation.scene import SceneBuilder
from vision_nodes.simulation.street_plan import StreetPlan
from vision_nodes.tasks.classes import class_id

ROAD, PAVEMENT, TERRAIN = class_id("road"), class_id("pavement"), class_id("terrain")
SIDE_ROAD_HALF_M, SIDE_WALK_HALF_M = 1.9, 2.8
REACH_M = 2.4  # the painted ground goes on behind the house fronts


def paint_street(rng: np.random.Generator, plan: StreetPlan, px_m: float) -> Ground:
    """The canvas with everything flat painted on it."""
    x_reach, y_reach = (half + plan.walk_out + REACH_M for half in (plan.loop.half_x, plan.loop.half_y))
    ground = Ground((-x_reach, -y_reach, x_reach, y_reach), px_m)
    x, y = ground.grid()
    away = plan.loop.distance(x, y)
    road = (away > plan.road_in) & (away < plan.road_out)
    walk = away > plan.walk_in
    for side in plan.sides:
        out = x * side.outward[0] + y * side.outward[1] - float(np.abs(side.middle).sum())
        along = x * side.right[0] + y * side.right[1] - side.gap
        walk = walk & ((out < 0.3) | (np.abs(along) < SIDE_WALK_HALF_M))
        road |= (out > plan.road_out - plan.walk_out - 4.0) & (away > 0) & (np.abs(along) < SIDE_ROAD_HALF_M)
    size = ground.size_hw
    ground.paint(np.ones(size, bool), materials.grass(rng, size, px_m), TERRAIN)
    slabs = materials.mirrored(lambda part: materials.slabs(rng, part, px_m), size, 1024)
    ground.paint(walk & ~road, slabs, PAVEMENT)
    ground.paint(road, materials.asphalt(rng, size, px_m), ROAD)
    _drains(rng, ground, plan)
    _markings(rng, ground, plan, road)
    return ground


def _drains(rng: np.random.Generator, ground: Ground, plan: StreetPlan) -> None:
    """Man-hole covers on the road and gullies at the kerb."""
    for at in rng.uniform(0, plan.loop.length_m, 7):
        spot, _, _ = plan.beside(float(at), float(rng.uniform(plan.road_in + 0.5, plan.road_out - 0.5)))
        centre = tuple(np.rint(ground.texel(spot[None])[0]).astype(int).tolist())
        tone = float(rng.uniform(45, 70))
        cv2.circle(ground.image, centre, round(0.33 * ground.px_m), (tone,) * 3, -1, cv2.LINE_AA)
        for ring in (0.3, 0.2, 0.1):
            cv2.circle(ground.image, centre, round(ring * ground.px_m), (tone * 1.6,) * 3, 1, cv2.LINE_AA)


def _markings(rng: np.random.Generator, ground: Ground, plan: StreetPlan, road: np.ndarray) -> None:
    """Dashes on the middle line, zebra crossings, arrows; all worn."""
    layer = np.zeros(ground.size_hw, np.uint8)
    steps = np.arange(0, plan.loop.length_m, 0.1)
    points, directions = plan.loop.at(steps)
    normal = np.stack([directions[:, 1], -directions[:, 0]], axis=1)
    centre = points + normal * 0.15

    def line(xy: np.ndarray, width_m: float) -> None:
        texels = np.rint(ground.texel(xy) * 8).astype(np.int32)
        cv2.polylines(layer, [texels], False, 255, max(1, round(width_m * ground.px_m)), cv2.LINE_AA, 3)

    for start in range(0, len(steps) - 12, 30):
        line(centre[start : start + 12], 0.11)
    for at in rng.integers(0, len(steps), 3):
        for offset in np.arange(plan.road_in + 0.4, plan.road_out - 0.3, 0.75):
            foot = points[at] + normal[at] * offset
            line(np.stack([foot, foot + directions[at] * 2.0]), 0.38)
    for at in rng.integers(0, len(steps), 3):
        tip = points[at] + directions[at] * 1.2 + normal[at] * 0.9
        line(np.stack([points[at] + normal[at] * 0.9, tip]), 0.14)
        for side in (-0.3, 0.3):
            line(np.stack([tip, tip - directions[at] * 0.45 + normal[at] * side]), 0.14)
    worn = np.clip(0.85 + 0.35 * fractal(rng, ground.size_hw, 0.5 * ground.px_m, 4), 0, 1)
    paint = (layer / np.float32(255) * worn * road)[..., None].astype(np.float32)
    ground.image[:] = np.rint(ground.image * (1 - paint) + np.array([225, 224, 215], np.float32) * paint)


def add_kerbs(rng: np.random.Generator, builder: SceneBuilder, plan: StreetPlan) -> None:
    """Kerb stones 10 cm high along both edges of the road, none where a side street leaves."""
    stone = builder.texture(Texture(materials.concrete(rng, (64, 192), 90)))
    count = round(plan.loop.length_m / 2.2)
    for offset in (plan.road_in - 0.08, plan.road_out + 0.08):
        for at in np.arange(count) * plan.loop.length_m / count:
            spot, heading, _ = plan.beside(float(at), offset)
            if plan.is_open(spot, SIDE_ROAD_HALF_M + 1.0):
                step = plan.loop.length_m / count * (1 + offset / plan.loop.radius * _is_curved(plan, at))
                builder.box((*spot, 0.0), (step, 0.16, 0.1), stone, PAVEMENT, yaw=heading)


def _is_curved(plan: StreetPlan, at: float) -> bool:
    _, ends = plan.loop.at(np.array([at - 0.5, at + 0.5]))
    return bool(ends[0] @ ends[1] < 0.999)


def add_side_roads(rng: np.random.Generator, builder: SceneBuilder, plan: StreetPlan) -> None:
    """The side streets go on to the horizon, with pavements, a little below the painted ground."""
    asphalt = builder.texture(Texture(materials.asphalt(rng, (512, 256), 30)))
    slabs = builder.texture(Texture(materials.slabs(rng, (512, 64), 40)))
    for side in plan.sides:
        for piece in range(4):
            start = side.middle + side.outward * (REACH_M - 0.3 + 16.0 * piece) + side.right * side.gap
            for half, texture, label, z in (
                (SIDE_ROAD_HALF_M, asphalt, ROAD, -0.01),
                (SIDE_WALK_HALF_M, slabs, PAVEMENT, -0.02),
            ):
                corner = start + side.outward * 16.0 - side.right * half
                across, back = side.right * 2 * half, -side.outward * 16.0
                builder.quad((*corner, z), (*across, 0), (*back, 0), texture, label)
