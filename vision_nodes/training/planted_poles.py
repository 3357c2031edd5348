"""Poles, lamps, traffic lights and signs drawn into street pictures, with their labels.

The teacher of the general classes knows no poles, and the COCO boxes of signs are few: what is drawn onto real
pictures teaches the shape among real surroundings.
"""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.tasks.classes import class_id

POLE = class_id("pole_sign")
GROUND = [class_id(name) for name in ("road", "pavement", "terrain", "floor")]
OUTDOORS = [class_id(name) for name in ("road", "pavement", "sky", "building", "terrain")]
MIN_OUTDOORS = 0.25  # share of the picture
CONFIDENCE = 255
ON_POLE, ON_PLATE = 1, 2
SIGN_COLOURS = ((190, 25, 30), (20, 60, 160), (235, 235, 235), (240, 190, 20), (20, 110, 60))


def plant_poles(
    image: np.ndarray,
    labels: np.ndarray,
    confidence: np.ndarray,
    rng: np.random.Generator,
    ids: tuple[int, int] = (POLE, POLE),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up to four poles standing on the ground of an outdoor picture; indoors nothing changes.

    Args:
        image: (H, W, 3) uint8 RGB; labels, confidence: (H, W) uint8, general classes. None of them is changed.
        ids: labels of poles, and of the signs and traffic lights on them.
    """
    feet = np.argwhere(np.isin(labels[labels.shape[0] // 3 :], GROUND))
    if np.isin(labels, OUTDOORS).mean() < MIN_OUTDOORS or len(feet) < 200:
        return image, labels, confidence
    image, labels, confidence = image.copy(), labels.copy(), confidence.copy()
    for _ in range(int(rng.integers(1, 5))):
        row, column = feet[rng.integers(len(feet))] + (labels.shape[0] // 3, 0)
        mask = np.zeros(labels.shape, np.uint8)
        layer = image.copy()
        _draw(layer, mask, (int(column), int(row)), rng)
        soft = cv2.GaussianBlur((mask > 0).astype(np.float32), (0, 0), 0.6)[..., None]
        image = (image * (1 - soft) + _lit(layer, image, rng) * soft).astype(np.uint8)
        labels[mask == ON_POLE], labels[mask == ON_PLATE] = ids
        confidence[mask > 0] = CONFIDENCE
    return image, labels, confidence


def _draw(layer: np.ndarray, mask: np.ndarray, foot: tuple[int, int], rng: np.random.Generator) -> None:
    """One pole with what hangs on it, far ones smaller: its size follows the row of its foot."""
    height = mask.shape[0]
    near = (foot[1] / height) ** 2
    length = int(np.clip(height * near * rng.uniform(0.5, 1.3), 0.12 * height, 0.95 * height))
    thick = max(2, round(length * rng.uniform(0.015, 0.05)))
    lean = int(length * rng.normal(0, 0.01))
    top = (foot[0] + lean, foot[1] - length)
    gray = rng.uniform(35, 190) + rng.normal(0, 8, 3)
    for offset in range(thick):  # round: darker towards its sides
        x = offset - thick // 2
        shade = np.clip(gray * (1 - 0.5 * abs(2 * x / thick)), 0, 255).tolist()
        cv2.line(layer, (foot[0] + x, foot[1]), (top[0] + x, top[1]), shade, 1)
        cv2.line(mask, (foot[0] + x, foot[1]), (top[0] + x, top[1]), ON_POLE, 1)
    kind = rng.random()
    size = int(np.clip(length * rng.uniform(0.06, 0.16), 5, 60))
    if kind < 0.4:
        _sign(layer, mask, (top[0], top[1] + size), size, rng)
    elif kind < 0.6:
        _traffic_light(layer, mask, top, size, rng)
    elif kind < 0.8:  # a lamp on an arm
        reach = int(length * rng.uniform(0.1, 0.3)) * int(rng.choice((-1, 1)))
        for plane, value in ((layer, gray.tolist()), (mask, ON_POLE)):
            end = (top[0] + reach, top[1] - size // 4)
            cv2.line(plane, top, end, value, max(1, thick // 2))
            cv2.ellipse(plane, end, (max(3, size // 2), max(2, size // 6)), 0, 0, 360, value, -1)


def _sign(
    layer: np.ndarray, mask: np.ndarray, centre: tuple[int, int], size: int, rng: np.random.Generator
) -> None:
    colours = rng.permutation(len(SIGN_COLOURS))[:2]
    rim, face = (SIGN_COLOURS[i] for i in colours)
    corners = {0: None, 1: 3, 2: 4, 3: 8}[int(rng.integers(4))]
    angle = -np.pi / 2 + (np.pi / 4 if corners == 4 else np.pi / 8 if corners == 8 else 0)
    for plane, values in ((layer, (rim, face)), (mask, (ON_PLATE, ON_PLATE))):
        for radius, value in zip((size, int(0.72 * size)), values):
            if corners is None:
                cv2.circle(plane, centre, radius, value, -1)
            else:
                turns = angle + 2 * np.pi * np.arange(corners) / corners
                points = np.stack([np.cos(turns), np.sin(turns)], 1) * radius + centre
                cv2.fillPoly(plane, [points.astype(np.int32)], value)
    for _ in range(int(rng.integers(0, 4))):  # what is written on it
        a, b = (np.array(centre) + rng.uniform(-0.5, 0.5, (2, 2)) * size).astype(int)
        cv2.line(layer, tuple(map(int, a)), tuple(map(int, b)), SIGN_COLOURS[colours[0]], max(1, size // 8))


def _traffic_light(
    layer: np.ndarray, mask: np.ndarray, top: tuple[int, int], size: int, rng: np.random.Generator
) -> None:
    half, tall = max(2, size // 2), int(2.6 * size)
    low, high = (top[0] - half, top[1]), (top[0] + half, top[1] + tall)
    cv2.rectangle(layer, low, high, (25, 25, 25), -1)
    cv2.rectangle(mask, low, high, ON_PLATE, -1)
    on = int(rng.integers(3))
    for i, lamp in enumerate(((255, 60, 50), (255, 190, 60), (80, 255, 170))):
        colour = lamp if i == on else tuple(value // 5 for value in lamp)
        cv2.circle(layer, (top[0], top[1] + int((i + 0.5) / 3 * tall)), max(1, int(0.7 * half)), colour, -1)


def _lit(layer: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The drawing in the picture's light: as bright as the picture is, roughly."""
    gain = np.clip(image.mean() / 115, 0.4, 1.4) * rng.uniform(0.75, 1.2)
    noise = rng.normal(0, 4, layer.shape)
    return np.clip(layer * gain + noise, 0, 255)
