"""Seeded noise images: the raw material of every procedural texture."""

from __future__ import annotations

import cv2
import numpy as np


def fractal(
    rng: np.random.Generator, size_hw: tuple[int, int], coarse: float, octaves: int = 5
) -> np.ndarray:
    """Value noise, octaves halving in size and amplitude (Perlin's fractal sum).

    Args:
        size_hw: height and width, texels.
        coarse: texels per cell of the first octave.

    Returns (h, w) float32 with mean about 0 and values mostly in [-1, 1].
    """
    h, w = size_hw
    total = np.zeros((h, w), np.float32)
    cell, amplitude, power = coarse, 1.0, 0.0
    for _ in range(octaves):
        grid = (max(2, int(np.ceil(h / cell)) + 3), max(2, int(np.ceil(w / cell)) + 3))
        values = rng.standard_normal(grid, dtype=np.float32)
        full = cv2.resize(
            values, (int(grid[1] * cell) + 1, int(grid[0] * cell) + 1), interpolation=cv2.INTER_CUBIC
        )
        total += amplitude * full[:h, :w]
        power += amplitude**2
        cell, amplitude = max(cell / 2, 1.0), amplitude * 0.55
    return np.asarray(total * np.float32(0.5 / np.sqrt(power)))


def grain(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 white noise, standard deviation 1."""
    return rng.standard_normal(size_hw, dtype=np.float32)


def to_image(values: np.ndarray) -> np.ndarray:
    """Float RGB in [0, 255] to uint8, rounded and clipped."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def tinted(base_rgb: tuple[float, float, float], variation: np.ndarray, strength: float) -> np.ndarray:
    """(h, w, 3) float32: a colour whose brightness follows `variation` (h, w)."""
    return np.asarray(base_rgb, np.float32) * (1 + strength * variation[..., None])


def speckle(rng: np.random.Generator, size_hw: tuple[int, int], count: int, radius: float) -> np.ndarray:
    """(h, w) float32 in [-1, 1]: `count` discs of random brightness, about `radius` texels wide."""
    h, w = size_hw
    out = np.zeros((h, w), np.float32)
    centres = rng.integers(0, (w, h), (count, 2))
    sizes = np.maximum(1, rng.normal(radius, radius * 0.4, count)).astype(int)
    values = rng.uniform(-1, 1, count)
    for (x, y), size, value in zip(centres.tolist(), sizes.tolist(), values.tolist()):
        cv2.circle(out, (x, y), size, value, -1, cv2.LINE_AA)
    return out
