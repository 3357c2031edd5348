"""Photometric and geometric views of one picture: what a second visit to a place may look like.

All functions take and return (H, W, 3) uint8 RGB and draw every random number from the generator
given, so a seed fixes a data set. Severity of 1 covers the hardest revisit we ask for (day and night, a
thumbnail of 99x56 px, a fisheye); 0 changes nothing.
"""

from __future__ import annotations

import cv2
import numpy as np

BORDER = cv2.BORDER_REFLECT_101


def second_visit(
    image: np.ndarray, rng: np.random.Generator, size_wh: tuple[int, int], severity: float = 1.0
) -> np.ndarray:
    """One random revisit of the place in `image`, at the network's size.

    Args:
        image: (H, W, 3) uint8 RGB, any size.
        rng: source of every random number.
        size_wh: width and height of the result, px.
        severity: 0..1, scales geometry and probability of every corruption.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    view = change_viewpoint(image, rng, size_wh, severity)
    if rng.random() < 0.35 * severity:
        view = occlude(view, rng)
    view = change_light(view, rng, severity)
    if rng.random() < 0.3 * severity:
        view = blur(view, rng)
    if rng.random() < 0.5 * severity:
        view = lower_resolution(view, rng)
    if rng.random() < 0.4 * severity:
        view = add_noise(view, rng)
    if rng.random() < 0.3 * severity:
        view = compress(view, rng)
    return view


def change_viewpoint(
    image: np.ndarray, rng: np.random.Generator, size_wh: tuple[int, int], severity: float
) -> np.ndarray:
    """Crop, zoom, shift, tilt and lens change in one resampling."""
    height, width = image.shape[:2]
    w, h = size_wh
    zoom = 1.0 + severity * rng.uniform(0.0, 0.45)
    shift = severity * rng.uniform(-0.16, 0.16, 2) * (1.0, 0.6)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64) / zoom
    corners = corners + shift + severity * rng.uniform(-0.08, 0.08, (4, 2))
    angle = severity * rng.normal(0.0, 0.05)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    homography = cv2.getPerspectiveTransform(unit, (corners @ rotation.T).astype(np.float32))
    xs, ys = np.meshgrid(np.linspace(-1, 1, w), np.linspace(-1, 1, h))
    if rng.random() < 0.4 * severity:  # barrel (fisheye seen through) or pincushion
        strength = rng.uniform(-0.15, 0.35)
        factor = (1 + strength * (xs**2 + ys**2)) / (1 + max(strength, 0.0))
        xs, ys = xs * factor, ys * factor
    points = homography @ np.stack([xs.ravel(), ys.ravel(), np.ones(w * h)])
    x = (points[0] / points[2] + 1) * (width - 1) / 2
    y = (points[1] / points[2] + 1) * (height - 1) / 2
    return cv2.remap(
        _antialias(image, w * zoom, h * zoom),
        x.reshape(h, w).astype(np.float32),
        y.reshape(h, w).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=BORDER,
    )


def _antialias(image: np.ndarray, target_w: float, target_h: float) -> np.ndarray:
    """Low-pass before shrinking, so that thumbnails do not sparkle."""
    shrink = min(image.shape[1] / target_w, image.shape[0] / target_h)
    return cv2.GaussianBlur(image, (0, 0), 0.35 * shrink) if shrink > 1.3 else image


def change_light(image: np.ndarray, rng: np.random.Generator, severity: float) -> np.ndarray:
    """Exposure, gamma, contrast, white balance, saturation, shading across the picture, night."""
    night = rng.random() < 0.15 * severity
    gamma = np.exp(severity * rng.normal(0.0, 0.35) + (0.5 if night else 0.0))
    gain = np.exp(severity * (rng.normal(0.0, 0.22) + rng.normal(0.0, 0.10, 3)))
    if night:
        gain = gain * (0.55, 0.6, 0.75)
    response = ((np.arange(256) / 255.0)[:, None] ** gamma * gain).astype(np.float32)
    x = np.stack([cv2.LUT(image[..., c], response[:, c]) for c in range(3)], axis=-1)
    gray = x @ np.array([0.299, 0.587, 0.114], np.float32)
    saturation = 0.0 if rng.random() < 0.12 * severity else 1 + severity * rng.uniform(-0.6, 0.4)
    x = gray[..., None] + saturation * (x - gray[..., None])
    x = (x - gray.mean()) * (1 + severity * rng.uniform(-0.3, 0.3)) + gray.mean()
    if rng.random() < 0.5 * severity:
        x = x * _shading(x.shape[:2], rng)[..., None]
    return (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)


def _shading(shape_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W) float32 smooth factor around 1: sun from one side, a lamp, a vignette."""
    coarse = np.exp(rng.normal(0.0, 0.3, (3, 4))).astype(np.float32)
    return cv2.resize(coarse, (shape_hw[1], shape_hw[0]), interpolation=cv2.INTER_CUBIC)


def occlude(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One to three things in the way: noise, flat colour, or a displaced piece of the picture."""
    view = image.copy()
    height, width = view.shape[:2]
    for _ in range(rng.integers(1, 4)):
        w, h = int(rng.uniform(0.08, 0.3) * width), int(rng.uniform(0.15, 0.55) * height)
        x, y = rng.integers(0, width - w), rng.integers(0, height - h)
        kind = rng.integers(0, 3)
        if kind == 0:
            patch = np.full((h, w, 3), rng.integers(0, 256, 3), np.uint8)
        elif kind == 1:
            patch = cv2.resize(rng.integers(0, 256, (4, 4, 3)).astype(np.uint8), (w, h))
        else:
            sx, sy = rng.integers(0, width - w), rng.integers(0, height - h)
            patch = image[sy : sy + h, sx : sx + w]
        view[y : y + h, x : x + w] = patch
    return view


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Defocus, or motion blur along a random direction."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.2))
    length = int(rng.integers(3, 12))
    kernel = np.zeros((length, length), np.float32)
    direction = rng.uniform(0, np.pi)
    offset = np.array([np.cos(direction), np.sin(direction)]) * (length - 1) / 2
    centre = (length - 1) / 2
    start, end = np.round(centre - offset).astype(int), np.round(centre + offset).astype(int)
    cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def lower_resolution(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through a thumbnail 64 to 200 px wide and back."""
    height, width = image.shape[:2]
    w = int(rng.uniform(64, 200))
    h = max(8, round(w * height / width))
    small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian sensor noise, sigma 2 to 14 grey levels."""
    noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(2, 14)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through a JPEG of quality 15 to 60."""
    quality = int(rng.integers(15, 60))
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)
