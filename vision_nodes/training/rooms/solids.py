"""Solids of a room and where rays meet them.

World axes: x, y horizontal, z up, metres. A ray is ``origin + t * direction`` with directions scaled so
that t is the depth along the optical axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAR_M = 1e6


@dataclass(frozen=True)
class Solid:
    """An upright box or cylinder turned about the vertical axis.

    For a cylinder half sizes x and y are its radius. `inside` means that the box is seen from within: the
    room itself. `texture` indexes the scene's textures; boxes use the next one for their tops.
    """

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float = 0.0
    texture: int = 0
    top_texture: int | None = None
    cylinder: bool = False
    inside: bool = False

    def corners(self) -> np.ndarray:
        """(8, 3) float64 corners of the bounding box."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        local = signs * self.half
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        rotated = np.stack(
            [c * local[:, 0] - s * local[:, 1], s * local[:, 0] + c * local[:, 1], local[:, 2]], axis=1
        )
        return rotated + self.centre


@dataclass(frozen=True)
class Surface:
    """What a solid shows where rays meet it; arrays over rays."""

    normal: np.ndarray  # (N, 3) float32 world
    uv: np.ndarray  # (N, 2) float32, metres on the surface
    top: np.ndarray  # (N,) bool, a horizontal face


def depth_along(solid: Solid, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Depth at which each ray first meets `solid`.

    Args:
        origin: (3,) world.
        directions: (3, N) float32 world, one row per axis.

    Returns:
        (N,) float32, FAR_M where missed.
    """
    start, (dx, dy, dz) = _to_local(solid, origin, directions)
    if solid.cylinder:
        return _cylinder_depth(solid, start, dx, dy, dz)
    near, far = np.float32(-FAR_M), np.float32(FAR_M)
    for position, half, direction in zip(start, solid.half, (dx, dy, dz)):  # slabs, Kay & Kajiya 1986
        inverse = 1 / np.where(np.abs(direction) < 1e-7, np.float32(1e-7), direction)
        a, b = np.float32(-half - position) * inverse, np.float32(half - position) * inverse
        near, far = np.maximum(near, np.minimum(a, b)), np.minimum(far, np.maximum(a, b))
    depth = far if solid.inside else near
    return np.where((far > near) & (depth > 1e-3), depth, np.float32(FAR_M))


def surface_at(solid: Solid, points: np.ndarray) -> Surface:
    """Normals (outwards, or inwards for the room) and surface coordinates at (3, N) world points."""
    c, s = np.float32(np.cos(solid.yaw)), np.float32(np.sin(solid.yaw))
    moved = points - np.asarray(solid.centre, np.float32)[:, None]
    local = np.stack([c * moved[0] + s * moved[1], c * moved[1] - s * moved[0], moved[2]])
    axis = np.abs(local / np.asarray(solid.half, np.float32)[:, None])
    if solid.cylinder:
        top = axis[2] > 0.999
        normal = np.where(top, 0, local / np.float32(solid.half[0]))
        normal[2] = np.where(top, np.sign(local[2]), 0)
        u = np.where(top, local[0], np.arctan2(local[1], local[0]) * np.float32(solid.half[0]))
    else:
        which = axis.argmax(axis=0)
        top = which == 2
        normal = np.zeros_like(local)
        rows = np.arange(len(which))
        normal[which, rows] = np.sign(local[which, rows]) * (-1 if solid.inside else 1)
        u = np.where(which == 0, local[1], local[0])
    v = np.where(top, local[1], local[2])
    world = np.stack([c * normal[0] - s * normal[1], s * normal[0] + c * normal[1], normal[2]], axis=1)
    return Surface(world, np.stack([u, v], axis=1), top)


def _to_local(
    solid: Solid, origin: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ray origin and directions in the solid's own axes."""
    c, s = np.float32(np.cos(solid.yaw)), np.float32(np.sin(solid.yaw))
    x, y, z = (np.asarray(origin) - solid.centre).astype(np.float32)
    start = np.array([c * x + s * y, c * y - s * x, z], np.float32)
    if solid.yaw == 0:
        return start, (directions[0], directions[1], directions[2])
    dx, dy = c * directions[0] + s * directions[1], c * directions[1] - s * directions[0]
    return start, (dx, dy, directions[2])


def _cylinder_depth(
    solid: Solid, start: np.ndarray, dx: np.ndarray, dy: np.ndarray, dz: np.ndarray
) -> np.ndarray:
    """Upright cylinder with flat ends."""
    radius, half_height = np.float32(solid.half[0]), np.float32(solid.half[2])
    a = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
    b = start[0] * dx + start[1] * dy
    root = b * b - a * (start[0] ** 2 + start[1] ** 2 - radius**2)
    side = (-b - np.sqrt(np.maximum(root, 0))) / a
    on_side = (root > 0) & (side > 1e-3) & (np.abs(start[2] + side * dz) < half_height)
    lid = (np.sign(start[2]) * half_height - start[2]) / np.where(dz == 0, np.float32(1e-7), dz)
    squared = (start[0] + dx * lid) ** 2 + (start[1] + dy * lid) ** 2
    on_lid = (lid > 1e-3) & (squared < radius**2) & (abs(start[2]) > half_height)
    return np.where(on_lid, lid, np.where(on_side, side, np.float32(FAR_M)))
