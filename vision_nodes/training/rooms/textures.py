"""Surfaces of a room: plain paint, wood, tiles, stripes, and pieces of photographs."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 128  # texels
LEVELS = 5  # each half the side of the one before
Mipmap = list[np.ndarray]


def random_texture(
    rng: np.random.Generator, pictures: list[np.ndarray], plain: bool = False, photos: float = 0.22
) -> Mipmap:
    """Mip levels, (128, 128, 3) float32 0..1 first. `plain` surfaces (walls) are mostly paint; of the others
    a share of `photos` shows pieces of photographs."""
    made = np.array((0.51, 0.22, 0.17, 0.10)) * (1 - photos)
    kind = rng.choice(5, p=(0.75, 0.06, 0.10, 0.03, 0.06) if plain else (*made, photos))
    base = _colour(rng)
    if kind == 0:
        texture = base * (1 + rng.uniform(0, 0.05) * _noise(rng, 8)[..., None])
    elif kind == 1:
        texture = _wood(rng)
    elif kind == 2:
        texture = _tiles(rng, base)
    elif kind == 3:
        texture = _stripes(rng, base)
    else:
        texture = photo_piece(rng, pictures)
    texture = texture * (1 + rng.uniform(0, 0.04) * rng.standard_normal((SIDE, SIDE, 1)))
    return mipmap(np.clip(texture, 0, 1).astype(np.float32))


def mipmap(texture: np.ndarray) -> Mipmap:
    """Successively halved copies of a square texture."""
    levels = [texture]
    while len(levels) < LEVELS:
        side = levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], (side, side), interpolation=cv2.INTER_AREA))
    return levels


def sample(levels: Mipmap, uv: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Colours (N, 3) at texture coordinates `uv` (N, 2), 1 = one repetition; nearest texel of the level
    whose texel is about one pixel.

    Args:
        footprint: (N,) texels of level 0 under one pixel.
    """
    level = np.clip(np.round(np.log2(np.maximum(footprint, 1e-6))), 0, LEVELS - 1).astype(int)
    colours = np.empty((len(uv), 3), np.float32)
    for number, texture in enumerate(levels):
        chosen = level == number
        if not chosen.any():
            continue
        side = texture.shape[0]
        index = np.floor(uv[chosen] * side).astype(np.int64) % side
        colours[chosen] = texture[index[:, 1], index[:, 0]]
    return colours


def photo_piece(rng: np.random.Generator, pictures: list[np.ndarray]) -> np.ndarray:
    """(128, 128, 3) float 0..1: a random square of a random picture."""
    picture = pictures[rng.integers(len(pictures))]
    side = int(min(picture.shape[:2]) * rng.uniform(0.4, 1.0))
    y, x = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
    piece = cv2.resize(picture[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return piece / 255.0


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Mostly pale and unsaturated, as rooms are."""
    value = rng.uniform(0.08, 0.95) if rng.random() < 0.5 else rng.uniform(0.55, 0.95)
    saturation = abs(rng.normal(0, 0.12)) if rng.random() < 0.75 else rng.uniform(0.2, 0.8)
    tint = rng.random(3)
    return value * (1 - saturation + saturation * tint / tint.max())


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def _wood(rng: np.random.Generator) -> np.ndarray:
    """Planks with grain along them."""
    planks = int(rng.integers(1, 8))
    base = np.array([0.55, 0.38, 0.22]) * rng.uniform(0.4, 1.6)
    grain = cv2.resize(rng.standard_normal((48, 4)).astype(np.float32), (SIDE, SIDE)) * 0.08
    shade = np.repeat(rng.uniform(0.85, 1.15, planks), -(-SIDE // planks))[:SIDE, None] + grain
    rows = np.arange(SIDE) % max(SIDE // planks, 2) == 0
    shade[rows] *= 0.6
    return base * shade[..., None]


def _tiles(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    count = int(rng.integers(2, 9))
    ys, xs = np.mgrid[:SIDE, :SIDE] * count / SIDE
    other = base * rng.uniform(0.5, 1.1) if rng.random() < 0.4 else base
    checker = ((ys.astype(int) + xs.astype(int)) % 2)[..., None]
    texture = np.where(checker, base, other)
    joint = ((ys % 1 < 0.05) | (xs % 1 < 0.05))[..., None]
    return np.where(joint, base * rng.uniform(0.5, 1.2), texture)


def _stripes(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    wave = np.sin(np.linspace(0, 2 * np.pi * rng.integers(2, 16), SIDE))[:, None, None] > 0
    texture = np.where(wave, base, _colour(rng)) * np.ones((SIDE, SIDE, 1))
    return texture if rng.random() < 0.5 else texture.transpose(1, 0, 2)
