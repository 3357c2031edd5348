"""Ray casting of a room: colour and depth of one view."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.training.rooms.layout import Room
from vision_nodes.training.rooms.solids import FAR_M, Solid, depth_along, surface_at
from vision_nodes.training.rooms.textures import SIDE, sample

SUPERSAMPLE = 2


@dataclass(frozen=True)
class View:
    """Camera pose and lens. `T_world_cam` maps optical axes (x right, y down, z forward) into the room."""

    T_world_cam: np.ndarray  # (4, 4) float64
    size_wh: tuple[int, int]
    fx: float  # px; square pixels, centred


def random_view(room: Room, rng: np.random.Generator, size_wh: tuple[int, int]) -> View:
    """A camera held, worn or driven through the room.

    Half of the views look along the room, half at a piece of furniture from 0.6 to 3 m.
    """
    extent = np.array(room.size)
    for _ in range(40):
        position = rng.uniform(0.06, 0.94, 3) * extent
        position[2] = rng.uniform(0.3, 0.75) * extent[2]
        target = rng.uniform(0.1, 0.9, 3) * extent * (1, 1, 0.6)
        if rng.random() < 0.5 and len(room.solids) > 1:
            target = np.array(room.solids[rng.integers(1, len(room.solids))].centre)
            bearing, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 3.0)
            position[:2] = target[:2] + distance * np.array([np.cos(bearing), np.sin(bearing)])
        inside = ((position > 0.1) & (position < extent - 0.1)).all()
        if inside and not any(_contains(solid, position) for solid in room.solids[1:]):
            break
    else:
        position = extent * (0.5, 0.5, 0.93)
    flat = target[:2] - position[:2]
    yaw = np.arctan2(flat[1], flat[0]) + rng.normal(0, 0.3)
    pitch = np.clip(np.arctan2(target[2] - position[2], np.hypot(*flat)), -0.8, 0.4) + rng.normal(0, 0.08)
    field = np.radians(rng.uniform(42, 95))
    fx = size_wh[0] / 2 / np.tan(field / 2)
    return View(pose_of(position, yaw, pitch, rng.normal(0, 0.06)), size_wh, float(fx))


def pose_of(position: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(4, 4) T_world_cam looking along yaw (from x towards y), pitch up, roll clockwise; radians."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    pose[:3, 3] = position
    return pose


def _contains(solid: Solid, point: np.ndarray, margin: float = 0.25) -> bool:
    """Whether `point` is in the solid or closer than `margin`, in its bounding box."""
    corners = solid.corners()
    return bool(((point > corners.min(0) - margin) & (point < corners.max(0) + margin)).all())


def render(room: Room, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h, w, 3) uint8 RGB and depth (h, w) float32 metres along the optical axis.

    Colour is averaged over 2x2 rays per pixel, depth is that of one of them.
    """
    w, h = (side * SUPERSAMPLE for side in view.size_wh)
    fx = view.fx * SUPERSAMPLE
    rotation, origin = view.T_world_cam[:3, :3].astype(np.float32), view.T_world_cam[:3, 3]
    ys, xs = np.mgrid[:h, :w].astype(np.float32)
    rays = np.stack([(xs - (w - 1) / 2) / fx, (ys - (h - 1) / 2) / fx, np.ones_like(xs)])
    directions = np.tensordot(rotation, rays.astype(np.float32), 1)  # (3, h, w)
    depth = np.full((h, w), FAR_M, np.float32)
    owner = np.zeros((h, w), np.int16)
    for number, solid in enumerate(room.solids):
        window = _window(solid, view, w, h)
        if window is None:
            continue
        part = directions[(slice(None),) + window]
        hit = depth_along(solid, origin, part.reshape(3, -1)).reshape(part.shape[1:])
        nearer = hit < depth[window]
        depth[window][nearer] = hit[nearer]
        owner[window][nearer] = number
    points = origin.astype(np.float32)[:, None, None] + directions * depth
    colour = np.zeros((h, w, 3), np.float32)
    for number in np.unique(owner):
        mine = owner == number
        colour[mine] = _shade(room, room.solids[number], points[:, mine], depth[mine] / fx)
    colour *= 0.48 / max(float(np.median(colour)), 0.05)  # auto-exposure
    image = (np.clip(colour, 0, 1) * 255).astype(np.uint8)
    small = cv2.resize(image, view.size_wh, interpolation=cv2.INTER_AREA)
    return small, depth[1::SUPERSAMPLE, 1::SUPERSAMPLE].copy()


def _window(solid: Solid, view: View, w: int, h: int) -> tuple[slice, slice] | None:
    """Rows and columns of the projected bounding box; None when behind or outside."""
    whole = (slice(0, h), slice(0, w))
    if solid.inside:
        return whole
    pose = view.T_world_cam
    points = (solid.corners() - pose[:3, 3]) @ pose[:3, :3]
    if (points[:, 2] < 0.05).all():
        return None
    if (points[:, 2] < 0.05).any():
        return whole
    fx = view.fx * SUPERSAMPLE
    x = points[:, 0] / points[:, 2] * fx + (w - 1) / 2
    y = points[:, 1] / points[:, 2] * fx + (h - 1) / 2
    x0, x1 = max(int(x.min()), 0), min(int(x.max()) + 2, w)
    y0, y1 = max(int(y.min()), 0), min(int(y.max()) + 2, h)
    return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None


def _shade(room: Room, solid: Solid, points: np.ndarray, pixel_m: np.ndarray) -> np.ndarray:
    """Texture times Lambert light of all lamps, ambient, and darkening where surfaces meet the floor.

    Args:
        points: (3, N) float32 world.
        pixel_m: (N,) size of a pixel at each point, metres.
    """
    surface = surface_at(solid, points)
    albedo = np.empty((len(pixel_m), 3), np.float32)
    top_texture = solid.texture if solid.top_texture is None else solid.top_texture
    floor = surface.top & (points[2] < room.size[2] / 2) if solid.inside else surface.top
    for chosen, texture in ((~floor, solid.texture), (floor, top_texture)):
        if chosen.any():
            repeat = np.float32(room.repeat_m[texture])
            footprint = pixel_m[chosen] / repeat * SIDE
            albedo[chosen] = sample(room.textures[texture], surface.uv[chosen] / repeat, footprint)
    light = np.full((len(pixel_m), 3), room.ambient, np.float32)
    for position, power in room.lamps:
        towards = position.astype(np.float32)[:, None] - points
        squared = (towards * towards).sum(axis=0)
        cosine = np.maximum((towards * surface.normal.T).sum(axis=0), 0) / np.sqrt(squared)
        light += (cosine / (0.6 + 0.4 * squared))[:, None] * (power * 2).astype(np.float32)
    contact = 1 - 0.35 * np.exp(-np.maximum(points[2], 0) / 0.12) * ~floor
    return albedo * light * contact[:, None]
