"""Leaves, bark and clouds."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.noise import fractal, grain, tinted, to_image


def leaf_card(rng: np.random.Generator, side: int = 256, leaves: int = 260, spread: float = 0.44) -> Texture:
    """A cut-out clump of leaves, about round; many such cards crossed make a crown."""
    hue = np.array([rng.uniform(45, 110), rng.uniform(90, 140), rng.uniform(30, 60)])
    image = np.empty((side, side, 3), np.uint8)
    image[:] = np.clip(hue * 0.55, 0, 255)
    image = to_image(image * (1 + 0.35 * fractal(rng, (side, side), side / 6)[..., None]))
    alpha = np.zeros((side, side), np.uint8)
    radius = side * spread * np.sqrt(rng.random(leaves))
    angle = rng.uniform(0, 2 * np.pi, leaves)
    order = np.argsort(rng.random(leaves))
    for i in order:
        centre = (int(side / 2 + radius[i] * np.cos(angle[i])), int(side / 2 + radius[i] * np.sin(angle[i])))
        axes = (int(rng.uniform(0.030, 0.055) * side), int(rng.uniform(0.014, 0.026) * side))
        turn = float(rng.uniform(0, 360))
        lit = rng.uniform(0.55, 1.45) * (1.15 - 0.4 * centre[1] / side)
        colour = tuple(float(c) for c in np.clip(hue * lit + rng.normal(0, 8, 3), 0, 255))
        cv2.ellipse(image, centre, axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
        cv2.ellipse(alpha, centre, axes, turn, 0, 360, 255, -1)
    return Texture(image, alpha)


def bark(rng: np.random.Generator, size_hw: tuple[int, int]) -> Texture:
    """Furrowed bark, fibres upright."""
    h, w = size_hw
    furrows = cv2.resize(fractal(rng, (max(4, h // 8), w), 8, 4), (w, h), interpolation=cv2.INTER_CUBIC)
    shade = 0.35 * furrows + 0.1 * fractal(rng, size_hw, 12) + 0.06 * grain(rng, size_hw)
    base = rng.uniform(60, 110)
    return Texture(to_image(tinted((base, base * 0.85, base * 0.68), shade, 1.0)))


def sky_faces(rng: np.random.Generator, side: int = 512) -> list[tuple[np.ndarray, np.ndarray]]:
    """Five faces of a sky box (up, +x, +y, -x, -y): (axes, image) each.

    `axes` (3, 3) float64 rows: origin, edge_u, edge_v of the face of a cube of half side 1; `image`
    (side, side, 3) uint8. Clouds lie on a plane overhead, so that they shrink towards the horizon and the
    faces join without a seam.
    """
    field = fractal(rng, (1024, 1024), 150, 7)
    cover, zenith = rng.uniform(-0.35, 0.45), np.array([rng.uniform(60, 110), rng.uniform(110, 150), 205.0])
    horizon = np.array([205, 218, 232]) + rng.normal(0, 6, 3)
    if rng.random() < 0.25:  # overcast
        cover, zenith = 0.9, np.array([165.0, 172, 180]) + rng.normal(0, 8, 3)
    faces = [np.array([[-1, -1, 1], [2, 0, 0], [0, 2, 0]], np.float64)]
    for turn in range(4):
        c, s = np.cos(turn * np.pi / 2), np.sin(turn * np.pi / 2)
        ahead, left = np.array([c, s, 0]), np.array([-s, c, 0])
        top = ahead + left + np.array([0, 0, 1.0])
        faces.append(np.stack([top, -2 * left, np.array([0, 0, -2.0])]))
    cells = (np.arange(side) + 0.5) / side
    out = []
    for axes in faces:
        direction = axes[0] + cells[None, :, None] * axes[1] + cells[:, None, None] * axes[2]
        direction /= np.linalg.norm(direction, axis=2, keepdims=True)
        up = np.maximum(direction[..., 2], 0.0)
        reach = 1.0 / np.maximum(up, 0.06)
        spot = direction[..., :2] * reach[..., None] * 28 + 512
        cloud = cv2.remap(
            field, spot[..., 0].astype(np.float32), spot[..., 1].astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        density = np.clip((cloud + cover) * 1.6, 0, 1) * np.clip(up * 7, 0, 1)
        blue = zenith + (horizon - zenith) * np.exp(-3.5 * up)[..., None]
        white = 238 + 14 * np.clip(cloud, -1, 1)[..., None]
        out.append((axes, to_image(blue * (1 - density[..., None]) + white * density[..., None])))
    return out


def pond(rng: np.random.Generator) -> Texture:
    """Still water seen from above, with ripples and the sky in it; round, transparent outside."""
    side = 512
    shade = 0.18 * fractal(rng, (side, side), 60, 5) + 0.05 * fractal(rng, (side, side), 5, 2)
    image = to_image(tinted((95, 125, 140), shade, 1.0))
    alpha = np.zeros((side, side), np.uint8)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    bays = 0.42 + 0.05 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.03 * np.sin(5 * angle + rng.uniform(0, 6))
    shore = side * (0.5 + bays[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    cv2.fillPoly(alpha, [np.rint(shore).astype(np.int32)], 255)
    return Texture(image, alpha)
