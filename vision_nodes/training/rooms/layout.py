"""Random rooms, corridors and kitchens: which solids stand where, which lamps shine, where the camera is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vision_nodes.training.rooms.solids import Solid
from vision_nodes.training.rooms.textures import Mipmap, random_texture

TEXTURES = 28


@dataclass
class Room:
    """One furnished room. `size` is its x, y, z extent with the floor's corner at the origin."""

    size: tuple[float, float, float]
    solids: list[Solid] = field(default_factory=list)
    textures: list[Mipmap] = field(default_factory=list)
    repeat_m: np.ndarray = field(default_factory=lambda: np.zeros(0))  # metres per repetition
    lamps: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # position, colour * power
    ambient: float = 0.4


def random_room(rng: np.random.Generator, pictures: list[np.ndarray]) -> Room:
    """A furnished room with everything drawn from `rng`."""
    if rng.random() < 0.15:  # corridor
        size = (rng.uniform(1.5, 2.8), rng.uniform(8, 25), rng.uniform(2.3, 3.0))
    else:
        size = (rng.uniform(2.6, 8), rng.uniform(3, 10), rng.uniform(2.3, 3.2))
    room = Room(tuple(float(side) for side in size))
    busy = rng.random() < 0.4  # patterns that say nothing of shape: depth has to be read from outlines
    photos = 0.7 if busy else 0.22
    painted = rng.random() < (0.4 if busy else 1.0)  # walls
    room.textures = [random_texture(rng, pictures, i == 0 and painted, photos) for i in range(TEXTURES)]
    room.repeat_m = rng.uniform(0.5, 2.5, TEXTURES)
    half = tuple(side / 2 for side in room.size)
    room.solids.append(Solid(half, half, 0.0, 0, 1, inside=True))
    _line_walls(room, rng)
    _stand_in_the_middle(room, rng)
    _hang_on_walls(room, rng)
    room.ambient = float(rng.uniform(0.25, 0.6))
    for _ in range(rng.integers(1, 5)):
        position = rng.uniform((0.1, 0.1, 0.75), (0.9, 0.9, 0.97)) * room.size
        room.lamps.append((position, rng.uniform(0.8, 1.2, 3) * rng.uniform(0.3, 1.6)))
    return room


def _texture(rng: np.random.Generator) -> int:
    return int(rng.integers(2, TEXTURES - 1))


def _line_walls(room: Room, rng: np.random.Generator) -> None:
    """Cupboards, counters, shelves, sofas, beds and desks along the four walls."""
    width, depth, _ = room.size
    for wall in range(4):
        along = width if wall % 2 == 0 else depth
        position = rng.uniform(0, 0.8)
        while position < along - 0.5:
            length = min(rng.uniform(0.5, 2.4), along - position)
            if rng.random() < (0.75 if min(width, depth) > 2.8 else 0.25) and length > 0.4:
                _furnish(room, rng, wall, position + length / 2, length)
            position += length + rng.choice((0.0, rng.uniform(0.05, 1.2)))


def _furnish(room: Room, rng: np.random.Generator, wall: int, along: float, length: float) -> None:
    """One piece of furniture of `length` with its back at a wall."""
    kind = rng.choice(("cupboard", "counter", "shelf", "sofa", "bed", "desk"))
    tall = min(rng.uniform(1.4, 2.3), room.size[2] - 0.05)
    deep = {"cupboard": 0.5, "counter": 0.6, "shelf": 0.32, "sofa": 0.85, "bed": 1.9, "desk": 0.7}[kind]
    deep = min(deep * rng.uniform(0.8, 1.2), 0.42 * min(room.size[:2]))
    texture, other = _texture(rng), _texture(rng)

    def put(offset: float, z: float, size: tuple[float, float, float], surface: int) -> None:
        _against_wall(room, wall, along, offset, z, size, surface)

    if kind == "cupboard":
        put(0, 0, (length, deep, tall), texture)
    elif kind == "counter":
        height = rng.uniform(0.8, 1.0)
        put(0, 0, (length, deep, height), texture)
        put(0, height, (length, deep + 0.03, 0.04), other)
        _things_on(room, rng, wall, along, length, deep, height + 0.04)
        if rng.random() < 0.5:
            put(0, rng.uniform(1.4, 1.6), (length, deep * 0.6, 0.7), texture)
    elif kind == "shelf":
        _shelf(put, rng, length, deep, tall, texture)
    elif kind == "sofa":
        put(0, 0, (length, deep, 0.42), texture)
        put(0, 0.42, (length, 0.2, rng.uniform(0.3, 0.5)), texture)
    elif kind == "bed":
        put(0, 0, (length, deep, rng.uniform(0.35, 0.6)), texture)
        put(0, 0.4, (length * 0.8, 0.45, 0.25), other)
    else:
        height = rng.uniform(0.68, 0.78)
        put(0, height - 0.04, (length, deep, 0.04), texture)
        for side in (-0.48, 0.48):
            _against_wall(room, wall, along + side * length, 0, 0, (0.05, deep * 0.9, height - 0.04), other)
        _things_on(room, rng, wall, along, length, deep, height)


def _shelf(
    put: Callable[..., object],
    rng: np.random.Generator,
    length: float,
    deep: float,
    tall: float,
    texture: int,
) -> None:
    """Boards with things between them."""
    boards = int(rng.integers(3, 6))
    put(0, 0, (length, 0.03, tall), texture)
    for number in range(boards):
        z = number * tall / (boards - 1)
        put(0, max(z - 0.03, 0), (length, deep, 0.03), texture)
        if number < boards - 1 and rng.random() < 0.8:
            put(0, z, (length * rng.uniform(0.4, 0.95), deep * 0.8, rng.uniform(0.12, 0.3)), _texture(rng))


def _against_wall(
    room: Room,
    wall: int,
    along: float,
    offset: float,
    z: float,
    size: tuple[float, float, float],
    texture: int,
) -> None:
    """A box (length, depth, height) `offset` metres off wall 0..3 (y = 0, x = W, y = D, x = 0)."""
    width, depth, _ = room.size
    away = offset + size[1] / 2
    xy = ((along, away), (width - away, along), (along, depth - away), (away, along))[wall]
    half = (
        (size[0] / 2, size[1] / 2, size[2] / 2) if wall % 2 == 0 else (size[1] / 2, size[0] / 2, size[2] / 2)
    )
    room.solids.append(Solid((xy[0], xy[1], z + half[2]), half, 0.0, texture, (texture + 1) % TEXTURES))


def _things_on(
    room: Room, rng: np.random.Generator, wall: int, along: float, length: float, deep: float, z: float
) -> None:
    """Small objects on a surface at a wall: screens, boxes, cups, bottles."""
    for _ in range(rng.integers(0, 9)):
        size = (rng.uniform(0.06, 0.5), rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.45))
        place = along + rng.uniform(-0.45, 0.45) * length
        _against_wall(room, wall, place, rng.uniform(0, max(deep - size[1], 0.01)), z, size, _texture(rng))


def _stand_in_the_middle(room: Room, rng: np.random.Generator) -> None:
    """Tables, chairs, boxes, pillars, bins, people-sized things."""
    for _ in range(rng.integers(0, 7) if min(room.size[:2]) > 2.5 else rng.integers(0, 2)):
        x, y = rng.uniform(0.2, 0.8, 2) * room.size[:2]
        yaw, texture, other = rng.uniform(0, np.pi), _texture(rng), _texture(rng)
        kind = rng.choice(("table", "chair", "chair", "box", "pillar", "figure"))
        if kind == "table":
            _legged(room, (x, y), yaw, (rng.uniform(0.6, 2), rng.uniform(0.6, 1.0), 0.74), texture)
            _things_above(room, rng, (x, y), 0.74)
        elif kind == "chair":
            _legged(room, (x, y), yaw, (0.42, 0.42, rng.uniform(0.42, 0.48)), texture)
            back = (x - 0.2 * np.sin(yaw), y + 0.2 * np.cos(yaw), 0.7)
            room.solids.append(Solid(back, (0.2, 0.02, 0.24), yaw, texture))
        elif kind == "box":
            half = rng.uniform(0.1, 0.4, 3)
            room.solids.append(Solid((x, y, half[2]), tuple(half), yaw, texture, other))
        elif kind == "pillar":
            radius, tall = rng.uniform(0.05, 0.3), rng.uniform(0.3, room.size[2]) / 2
            room.solids.append(Solid((x, y, tall), (radius, radius, tall), 0.0, texture, cylinder=True))
        else:  # about the shape of a standing person
            room.solids.append(Solid((x, y, 0.75), (0.2, 0.2, 0.75), yaw, texture, cylinder=True))
            room.solids.append(Solid((x, y, 1.63), (0.1, 0.1, 0.13), yaw, other, cylinder=True))


def _legged(
    room: Room, xy: tuple[float, float], yaw: float, size: tuple[float, float, float], texture: int
) -> None:
    """A plate on four legs."""
    c, s = np.cos(yaw), np.sin(yaw)
    half = (size[0] / 2, size[1] / 2, 0.02)
    room.solids.append(Solid((*xy, size[2] - 0.02), half, yaw, texture))
    for sx in (-0.9, 0.9):
        for sy in (-0.9, 0.9):
            dx, dy = sx * half[0], sy * half[1]
            leg = (xy[0] + c * dx - s * dy, xy[1] + s * dx + c * dy, size[2] / 2 - 0.02)
            room.solids.append(Solid(leg, (0.025, 0.025, size[2] / 2 - 0.02), yaw, texture))


def _things_above(room: Room, rng: np.random.Generator, xy: tuple[float, float], z: float) -> None:
    """Objects on a table."""
    for _ in range(rng.integers(0, 5)):
        half = rng.uniform((0.03, 0.03, 0.02), (0.18, 0.15, 0.2))
        x, y = np.asarray(xy) + rng.uniform(-0.25, 0.25, 2)
        yaw = rng.uniform(0, np.pi)
        round_ = bool(rng.random() < 0.4)
        if round_:
            half[1] = half[0] = half[0] * 0.5
        room.solids.append(Solid((x, y, z + half[2]), tuple(half), yaw, _texture(rng), cylinder=round_))


def _hang_on_walls(room: Room, rng: np.random.Generator) -> None:
    """Pictures, windows, doors, boards: thin boxes."""
    width, depth, height = room.size
    for wall in range(4):
        along = width if wall % 2 == 0 else depth
        for _ in range(rng.integers(0, 4)):
            size = (rng.uniform(0.3, min(2.0, along * 0.6)), 0.03, rng.uniform(0.3, 1.2))
            low = rng.uniform(0.8, max(height - size[2] - 0.1, 0.81))
            if rng.random() < 0.3:  # door
                size, low = (rng.uniform(0.75, 1.0), 0.03, min(2.05, height - 0.1)), 0.0
            place = rng.uniform(size[0] / 2, along - size[0] / 2)
            _against_wall(room, wall, place, 0.0, low, size, _texture(rng))
