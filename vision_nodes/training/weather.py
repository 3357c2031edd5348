"""Weather and light that a training set lacks: haze, rain, dusk, hard shadows, low sun."""

from __future__ import annotations

import cv2
import numpy as np


def weather(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One effect, drawn at random, on an (H, W, 3) uint8 RGB picture; the input is not changed."""
    effects = (haze, rain, dusk, shadow, low_sun)
    return effects[rng.integers(len(effects))](image, rng)


def haze(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light scattered towards the camera, thickest at a horizon drawn near the picture's middle."""
    h = image.shape[0]
    rows = np.arange(h, dtype=np.float32)
    horizon = h * rng.uniform(0.3, 0.6)
    veil = rng.uniform(0.2, 0.6) * np.exp(-np.abs(rows - horizon) / (h * rng.uniform(0.15, 0.5)))
    light = rng.uniform(150, 235) + rng.normal(0, 6, 3)
    return _blend(image, veil[:, None, None], light)


def rain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bright slanted streaks over a duller picture."""
    h, w = image.shape[:2]
    layer = np.zeros((h, w), np.uint8)
    slant, length = rng.uniform(-0.3, 0.3), rng.uniform(0.02, 0.07) * h
    starts = rng.uniform((0, 0), (w, h), (int(rng.integers(80, 400)), 2))
    ends = starts + np.array([slant * length, length])
    for start, end in zip(starts.astype(int).tolist(), ends.astype(int).tolist()):
        cv2.line(layer, start, end, 255, 1)
    streaks = cv2.GaussianBlur(layer, (0, 0), 0.7).astype(np.float32)[..., None] / 255
    dull = _blend(image, np.float32(rng.uniform(0.05, 0.25)), np.full(3, 120.0))
    return _blend(dull, streaks * rng.uniform(0.3, 0.7), np.full(3, 215.0))


def dusk(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Little light: darker, bluer, grainy."""
    gain = rng.uniform(0.2, 0.55) * np.array([1.0, 1.0, rng.uniform(1.0, 1.35)])
    grain = rng.normal(0, rng.uniform(2, 9), image.shape)
    return np.clip(image * gain + grain, 0, 255).astype(np.uint8)


def shadow(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A polygon in shade, with a soft edge."""
    h, w = image.shape[:2]
    corners = rng.uniform((-0.2 * w, 0), (1.2 * w, 1.2 * h), (int(rng.integers(3, 6)), 2))
    mask = np.zeros((h, w), np.float32)
    cv2.fillPoly(mask, [cv2.convexHull(corners.astype(np.int32))], 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 4))[..., None]
    return _blend(image, mask * rng.uniform(0.3, 0.65), np.zeros(3))


def low_sun(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A glare that fades away from one point."""
    h, w = image.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    centre = rng.uniform((0, -0.1 * h), (w, 0.5 * h))
    distance = np.hypot(x - centre[0], y - centre[1]) / (w * rng.uniform(0.15, 0.4))
    return _blend(image, (rng.uniform(0.4, 0.9) * np.exp(-distance))[..., None], np.array([255, 245, 220.0]))


def _blend(image: np.ndarray, share: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return np.clip(image * (1 - share) + colour * share, 0, 255).astype(np.uint8)
