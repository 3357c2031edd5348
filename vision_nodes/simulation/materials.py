"""Procedural surfaces as (h, w, 3) uint8 RGB pictures. `px_m` is the texture density, texels per metre."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vision_nodes.simulation.noise import fractal, grain, speckle, tinted, to_image
from vision_nodes.simulation.photos import surface_photo

SizeHW = tuple[int, int]
RGB = tuple[float, float, float]


def random_colour(rng: np.random.Generator, palette: tuple[RGB, ...], jitter: float = 12.0) -> RGB:
    """A palette colour moved by normal noise of `jitter` grey levels."""
    base = np.asarray(palette[rng.integers(len(palette))]) + rng.normal(0, jitter, 3)
    r, g, b = np.clip(base, 15, 245)
    return float(r), float(g), float(b)


def tiled_photo(rng: np.random.Generator, name: str, size_hw: SizeHW, scale: float) -> np.ndarray:
    """(h, w) float32: a surface photograph mirrored into a seamless field; fractal noise when absent."""
    photo = surface_photo(name)
    if photo is None:
        return fractal(rng, size_hw, 24) * 2
    side = max(8, round(photo.shape[0] * scale))
    photo = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    pair = np.hstack([photo, photo[:, ::-1]])
    block = np.vstack([pair, pair[::-1]])
    dy, dx = rng.integers(0, 2 * side, 2)
    block = np.roll(block, (int(dy), int(dx)), (0, 1))
    repeat = (-(-size_hw[0] // (2 * side)), -(-size_hw[1] // (2 * side)))
    return np.tile(block, repeat)[: size_hw[0], : size_hw[1]]


def mirrored(recipe: Callable[[SizeHW], np.ndarray], size_hw: SizeHW, side: int = 512) -> np.ndarray:
    """Fill (h, w, ...) with mirror images of one patch at most `side` texels wide: fine grain is dear."""
    part = recipe((min(side, size_hw[0]), min(side, size_hw[1])))
    if part.shape[:2] == size_hw:
        return part
    block = np.concatenate([part, part[:, ::-1]], axis=1)
    block = np.concatenate([block, block[::-1]], axis=0)
    repeat = (-(-size_hw[0] // block.shape[0]), -(-size_hw[1] // block.shape[1]))
    return np.tile(block, repeat + (1,) * (block.ndim - 2))[: size_hw[0], : size_hw[1]]


def asphalt(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Road surface: grain, stains, repair patches and cracks."""
    base = rng.uniform(70, 115)
    shade = 0.10 * fractal(rng, size_hw, 3 * px_m, 4) + mirrored(
        lambda part_hw: (
            0.05 * fractal(rng, part_hw, 0.4 * px_m, 5)
            + 0.05 * grain(rng, part_hw)
            + 0.06 * tiled_photo(rng, "gravel", part_hw, 0.25)
        ),
        size_hw,
    )
    picture = tinted((base, base, base * rng.uniform(0.97, 1.05)), shade, 1.0)
    area = size_hw[0] * size_hw[1] / px_m**2
    for _ in range(int(area / 25) + 1):  # repair patches
        x, y = rng.uniform(0, size_hw[1]), rng.uniform(0, size_hw[0])
        w, h = rng.uniform(0.4, 2.0, 2) * px_m
        part = picture[
            max(0, int(y - h / 2)) : int(y + h / 2) + 1, max(0, int(x - w / 2)) : int(x + w / 2) + 1
        ]
        part *= rng.uniform(0.72, 1.1)
    _cracks(rng, picture, px_m, int(area / 6) + 1)
    return to_image(picture)


def _cracks(rng: np.random.Generator, picture: np.ndarray, px_m: float, count: int) -> None:
    h, w = picture.shape[:2]
    for _ in range(count):
        steps = rng.normal(0, 0.55, int(rng.integers(6, 26)))
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(steps)
        stride = 0.12 * px_m * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        line = np.array([rng.uniform(0, w), rng.uniform(0, h)]) + np.cumsum(stride, axis=0)
        tone = float(rng.uniform(25, 60))
        cv2.polylines(
            picture, [line.astype(np.int32)], False, (tone,) * 3, int(rng.integers(1, 3)), cv2.LINE_AA
        )


def slabs(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Pavement of square or oblong slabs in running bond."""
    size = float(rng.choice([0.3, 0.4, 0.5, 0.6])) * px_m
    colour = random_colour(rng, ((165, 160, 150), (150, 150, 152), (178, 160, 138), (140, 130, 125)))
    return courses(rng, size_hw, (size, size * float(rng.choice([1, 1.5, 2]))), colour, 0.16)


def brick(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Brick wall, each brick of its own shade."""
    palette = ((150, 75, 55), (165, 95, 70), (125, 70, 60), (175, 140, 105), (205, 195, 180), (95, 75, 70))
    course = (0.075 * px_m, 0.22 * px_m)
    return courses(rng, size_hw, course, random_colour(rng, palette), 0.28, joint=0.012 * px_m + 0.6)


def courses(
    rng: np.random.Generator,
    size_hw: SizeHW,
    course_hw: tuple[float, float],
    colour: RGB,
    variation: float,
    joint: float = 1.5,
) -> np.ndarray:
    """Masonry: rows `course_hw[0]` high of blocks `course_hw[1]` wide, every other row shifted by half."""
    h, w = size_hw
    y, x = np.arange(h, dtype=np.float32)[:, None], np.arange(w, dtype=np.float32)[None]
    row = np.floor(y / course_hw[0]).astype(int)
    shifted = x / course_hw[1] + 0.5 * (row % 2)
    block = np.floor(shifted).astype(int)
    tones = rng.normal(0, variation, (row.max() + 1, block.max() + 1)).astype(np.float32)
    hues = rng.normal(0, 7, (row.max() + 1, block.max() + 1, 3)).astype(np.float32)
    picture = tinted(colour, tones[row, block] + 0.07 * grain(rng, size_hw), 1.0) + hues[row, block]
    picture *= 1 + 0.10 * fractal(rng, size_hw, max(h, w) / 3)[..., None]
    gap_y, gap_x = y - row * course_hw[0], (shifted - block) * course_hw[1]
    mortar = (gap_y < joint) | (gap_x < joint)
    tone = float(rng.uniform(0.45, 1.25)) * np.mean(colour)
    picture[mortar] = tone * (1 + 0.08 * grain(rng, size_hw)[mortar])[:, None]
    return to_image(picture)


def plaster(rng: np.random.Generator, size_hw: SizeHW, px_m: float, colour: RGB | None = None) -> np.ndarray:
    """Rendered or painted wall: blotches, grain, run-off streaks, small damages."""
    palette = (
        (215, 200, 170), (225, 215, 200), (200, 170, 130), (180, 190, 195), (205, 150, 120), (170, 185, 150),
        (230, 210, 140), (190, 130, 115), (150, 165, 190), (235, 235, 230),
    )  # fmt: skip
    colour = colour or random_colour(rng, palette)
    h, w = size_hw
    streaks = cv2.resize(
        fractal(rng, (max(2, h // 24), w), 0.2 * px_m, 4), (w, h), interpolation=cv2.INTER_LINEAR
    )
    shade = 0.09 * fractal(rng, size_hw, 1.5 * px_m, 7) + 0.05 * streaks + 0.028 * grain(rng, size_hw)
    shade += 0.12 * speckle(rng, size_hw, int(h * w / px_m**2 * 6), 0.012 * px_m + 0.7)
    return to_image(tinted(colour, shade, 1.0))


def concrete(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Cast concrete with form-work panels and tie holes."""
    picture = plaster(rng, size_hw, px_m, random_colour(rng, ((150, 148, 142), (172, 170, 165)), 8))
    step = int(rng.uniform(1.0, 1.6) * px_m)
    for x in range(step, size_hw[1], step):
        cv2.line(picture, (x, 0), (x, size_hw[0]), (90, 88, 85), 1, cv2.LINE_AA)
    for y in range(step, size_hw[0], step):
        cv2.line(picture, (0, y), (size_hw[1], y), (95, 92, 88), 1, cv2.LINE_AA)
        for x in range(step // 2, size_hw[1], step):
            cv2.circle(picture, (x, y - step // 2), max(1, int(0.015 * px_m)), (70, 68, 65), -1, cv2.LINE_AA)
    return picture


def wood(rng: np.random.Generator, size_hw: SizeHW, px_m: float, plank_m: float = 0.14) -> np.ndarray:
    """Planks along the width with grain lines."""
    palette = ((150, 105, 65), (185, 140, 90), (110, 72, 45), (200, 170, 125), (95, 80, 70))
    colour = random_colour(rng, palette)
    h, w = size_hw
    plank = max(4, int(plank_m * px_m))
    rows = np.arange(h) // plank
    lengths = np.arange(w)[None] + rng.integers(0, 400, rows.max() + 1)[rows][:, None]
    board = lengths // max(16, int(1.1 * px_m))
    tones = rng.normal(0, 0.13, (rows.max() + 1, int(board.max()) + 1)).astype(np.float32)
    fibres = cv2.resize(fractal(rng, (h, max(4, w // 12)), 6, 4), (w, h), interpolation=cv2.INTER_CUBIC)
    picture = tinted(colour, tones[rows[:, None], board] + 0.16 * fibres + 0.03 * grain(rng, size_hw), 1.0)
    picture[(np.arange(h) % plank) == 0] *= 0.55
    joints = np.diff(board, axis=1, prepend=board[:, :1]) != 0
    picture[joints] *= 0.55
    return to_image(picture)


def grass(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Lawn with bare and yellow spots."""
    blades = mirrored(
        lambda part_hw: (
            tiled_photo(rng, "grass", part_hw, float(np.clip(px_m / 300, 0.15, 1)))
            + 0.3 * grain(rng, part_hw)
        ),
        size_hw,
    )
    patches = fractal(rng, size_hw, 2.5 * px_m, 4)
    colour = np.asarray(random_colour(rng, ((85, 115, 50), (100, 120, 60), (75, 105, 55))), np.float32)
    dry = np.array([150, 135, 85], np.float32)
    mix = np.clip(patches * 0.9, 0, 1)[..., None]
    picture = (colour * (1 - mix) + dry * mix) * (1 + 0.22 * blades)[..., None]
    return to_image(picture)


def earth(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Bare soil or gravel path."""
    colour = random_colour(rng, ((130, 105, 78), (150, 135, 115), (110, 95, 80)))
    shade = 0.14 * fractal(rng, size_hw, 1.5 * px_m, 7) + 0.16 * tiled_photo(rng, "gravel", size_hw, 0.35)
    return to_image(tinted(colour, shade, 1.0))


def roof_tiles(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Roof tiles: courses with a shadow under each."""
    colour = random_colour(rng, ((150, 75, 55), (95, 85, 85), (120, 95, 80), (80, 90, 105)))
    picture = courses(rng, size_hw, (0.22 * px_m, 0.22 * px_m), colour, 0.14, 1.0).astype(np.float32)
    down = (np.arange(size_hw[0]) / (0.22 * px_m)) % 1.0
    return to_image(picture * (0.72 + 0.38 * down)[:, None, None])


def floor_tiles(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Indoor tiles of one or two colours, marbled."""
    size = float(rng.choice([0.2, 0.3, 0.45])) * px_m
    palette = ((205, 198, 185), (150, 140, 130), (185, 160, 140), (120, 125, 130), (225, 222, 215))
    first, second = random_colour(rng, palette), random_colour(rng, palette)
    h, w = size_hw
    y, x = np.arange(h)[:, None] / size, np.arange(w)[None] / size
    checker = ((y.astype(int) + x.astype(int)) % 2)[..., None] if rng.random() < 0.5 else np.zeros((h, w, 1))
    tones = rng.normal(0, 0.06, (int(y.max()) + 1, int(x.max()) + 1))[y.astype(int), x.astype(int)]
    marble = np.abs(fractal(rng, size_hw, 0.5 * px_m, 6)) * 0.18 + 0.02 * grain(rng, size_hw)
    picture = (np.asarray(first) * (1 - checker) + np.asarray(second) * checker) * (1.05 + tones - marble)[
        ..., None
    ]
    joint = ((y % 1) < 1.6 / size) | ((x % 1) < 1.6 / size)
    picture[joint] *= 0.6
    return to_image(picture)


def carpet(rng: np.random.Generator, size_hw: SizeHW, px_m: float) -> np.ndarray:
    """Carpet: weave, worn areas and a pattern of spots or stripes."""
    palette = ((120, 60, 60), (70, 85, 120), (95, 110, 90), (140, 125, 105), (60, 60, 70), (150, 110, 70))
    shade = 0.10 * fractal(rng, size_hw, px_m, 6) + 0.09 * grain(rng, size_hw)
    picture = tinted(random_colour(rng, palette), shade, 1.0)
    spots = speckle(rng, size_hw, int(size_hw[0] * size_hw[1] / px_m**2 * 14), 0.04 * px_m)
    other = tinted(random_colour(rng, palette), shade, 1.0)
    mask = (np.abs(spots) > 0.35)[..., None]
    return to_image(np.where(mask, other, picture))


def fabric(rng: np.random.Generator, size_hw: SizeHW, px_m: float, colour: RGB | None = None) -> np.ndarray:
    """Upholstery or curtain: weave and folds, sometimes checked."""
    palette = ((150, 60, 55), (60, 80, 130), (90, 120, 90), (170, 150, 120), (70, 65, 75), (190, 170, 60))
    colour = colour or random_colour(rng, palette)
    h, w = size_hw
    shade = 0.12 * fractal(rng, size_hw, 0.4 * px_m, 5) + 0.06 * grain(rng, size_hw)
    if rng.random() < 0.4:
        period = rng.uniform(0.06, 0.15) * px_m
        shade = shade + 0.16 * (np.sign(np.sin(np.arange(w) * 2 * np.pi / period))[None])
        shade = shade + 0.12 * (np.sign(np.sin(np.arange(h) * 2 * np.pi / period))[:, None])
    return to_image(tinted(colour, shade, 1.0))


def painted_metal(rng: np.random.Generator, size_hw: SizeHW, px_m: float, colour: RGB) -> np.ndarray:
    """Lacquer: smooth gradient, dirt from below, scratches."""
    h, w = size_hw
    down = np.linspace(0.12, -0.18, h, dtype=np.float32)[:, None]
    shade = down + 0.05 * fractal(rng, size_hw, 0.5 * px_m, 6) + 0.015 * grain(rng, size_hw)
    shade = shade + 0.15 * speckle(rng, size_hw, int(h * w / px_m**2 * 8) + 2, 0.01 * px_m + 0.8)
    return to_image(tinted(colour, shade, 1.0))
