"""Photographs in frames: on walls and on boards of their own."""

from __future__ import annotations

import numpy as np

from vision_nodes.simulation import materials
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.photos import available_posters, poster_texture
from vision_nodes.simulation.scene import SceneBuilder
from vision_nodes.tasks.classes import class_id

POLE = class_id("pole_sign")


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
