"""The world as textured planar polygons, and the builder that collects them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from vision_nodes.simulation.atlas import Texture, TextureAtlas
from vision_nodes.simulation.lighting import Lighting

UNIT_SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@dataclass(frozen=True)
class Instance:
    """One thing with a truth box: its COCO name and the world points whose hull is its silhouette."""

    name: str
    points: np.ndarray  # (P, 3) float64, m
    is_photo: bool = False


@dataclass(frozen=True)
class Scene:
    """N planar polygons. A point of polygon i is ``origin + s * edge_u + t * edge_v``.

    Seen from the front s runs right and t runs down, so ``edge_u x edge_v`` points into the surface.
    `sides` are four half planes a*s + b*t + c >= 0. `frame` = 0 is fixed in the world, 1 moves with the
    camera's position (the sky).
    """

    origin: np.ndarray  # (N, 3) float64 m
    edge_u: np.ndarray  # (N, 3)
    edge_v: np.ndarray  # (N, 3)
    sides: np.ndarray  # (N, 4, 3) float64
    rect: np.ndarray  # (N, 4) float64: texture coordinates s0 t0 s1 t1 in [0, 1] of the unit square
    corners: np.ndarray  # (N, 4, 3) float64 world, m
    texture: np.ndarray  # (N,) int64
    label: np.ndarray  # (N,) uint8
    instance: np.ndarray  # (N,) int64; polygon's instance, 0 = none
    instance_base: np.ndarray  # (N,) int64; added to a texel's own instance number
    gain: np.ndarray  # (N, 3) uint8, 128 = 1.0
    two_sided: np.ndarray  # (N,) bool
    is_sky: np.ndarray  # (N,) bool
    atlas: TextureAtlas
    instances: tuple[Instance, ...] = ()  # index = instance id - 1

    def __len__(self) -> int:
        return len(self.texture)


def half_planes(corners_st: Sequence[Sequence[float]]) -> np.ndarray:
    """(4, 3) half planes of a convex polygon given clockwise in (s right, t down); triangles repeat one."""
    points = np.asarray(corners_st, np.float64)
    rows = []
    for a, b in zip(points, np.roll(points, -1, axis=0)):
        direction = b - a
        normal = np.array([-direction[1], direction[0]])
        rows.append([normal[0], normal[1], -normal @ a])
    while len(rows) < 4:
        rows.append(rows[-1])
    return np.array(rows[:4])


@dataclass
class SceneBuilder:
    """Collects polygons, textures and instances; `build` freezes them."""

    lighting: Lighting = field(default_factory=Lighting)
    textures: list[Texture] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def texture(self, texture: Texture) -> int:
        """Register a texture; returns its id."""
        self.textures.append(texture)
        return len(self.textures) - 1

    def instance(self, name: str, points: np.ndarray, is_photo: bool = False) -> int:
        """Register a labelled thing by the world points of its silhouette; returns its id (from 1)."""
        self.instances.append(Instance(name, np.asarray(points, np.float64).reshape(-1, 3), is_photo))
        return len(self.instances)

    def quad(
        self,
        origin: ArrayLike,
        edge_u: ArrayLike,
        edge_v: ArrayLike,
        texture: int,
        label: int,
        **options: Any,
    ) -> None:
        """Add one polygon.

        Options: `instance` id; `shape` convex corners in (s, t); `rect` texture window; `two_sided`;
        `gain` factor on the light; `emissive` (not shaded); `sky`.
        """
        row = {"origin": origin, "edge_u": edge_u, "edge_v": edge_v, "texture": texture, "label": label}
        self._rows.append({**row, **options})

    def box(
        self,
        base: Sequence[float] | np.ndarray,
        size: Sequence[float],
        textures: Sequence[int] | int,
        label: int,
        **options: Any,
    ) -> np.ndarray:
        """A box standing on `base` (x, y, z of its bottom centre), `size` = length, width, height.

        `yaw` turns it about z. `textures` = (front, side, top) or one id; `faces` picks among
        "front back left right top bottom"; other options go to `quad`. Returns its 8 corners (8, 3), m.
        """
        yaw = float(options.pop("yaw", 0.0))
        faces = str(options.pop("faces", "front back left right top"))
        front, side, top = (textures,) * 3 if isinstance(textures, int) else textures
        half_x, half_y, height = size[0] / 2, size[1] / 2, size[2]
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])

        def at(x: float, y: float, z: float) -> np.ndarray:
            xy = turn @ (x * half_x, y * half_y)
            return np.array([base[0] + xy[0], base[1] + xy[1], base[2] + z])

        table = {
            "front": ((1, 1), (1, -1), front),
            "right": ((1, -1), (-1, -1), side),
            "back": ((-1, -1), (-1, 1), front),
            "left": ((-1, 1), (1, 1), side),
        }
        down = np.array([0.0, 0.0, -height])
        for name, (a, b, texture) in table.items():
            if name in faces.split():
                # seen from outside, the first corner is on the right
                right, left = at(*a, height), at(*b, height)
                self.quad(left, right - left, down, texture, label, **options)
        if "top" in faces.split():
            origin = at(-1, 1, height)
            self.quad(origin, at(1, 1, height) - origin, at(-1, -1, height) - origin, top, label, **options)
        if "bottom" in faces.split():
            origin = at(-1, -1, 0)
            self.quad(origin, at(1, -1, 0) - origin, at(-1, 1, 0) - origin, top, label, **options)
        return np.array([at(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (0, height)])

    def build(self) -> Scene:
        """Freeze into arrays; photo textures get one instance per painted object and polygon."""
        rows = self._rows
        origin, edge_u, edge_v = (
            np.array([row[key] for row in rows], np.float64).reshape(-1, 3)
            for key in ("origin", "edge_u", "edge_v")
        )
        shapes = [np.asarray(row.get("shape", UNIT_SQUARE), np.float64) for row in rows]
        shapes = [np.vstack([s, s[-1:]]) if len(s) == 3 else s for s in shapes]
        st = np.array(shapes).reshape(-1, 4, 2)
        corners = origin[:, None] + st[..., :1] * edge_u[:, None] + st[..., 1:] * edge_v[:, None]
        bases = [self._photo_instances(row) for row in rows]
        return Scene(
            origin,
            edge_u,
            edge_v,
            np.array([half_planes(row.get("shape", UNIT_SQUARE)) for row in rows]).reshape(-1, 4, 3),
            np.array([row.get("rect", (0, 0, 1, 1)) for row in rows], np.float64).reshape(-1, 4),
            corners,
            np.array([row["texture"] for row in rows], np.int64),
            np.array([row["label"] for row in rows], np.uint8),
            np.array([row.get("instance", 0) for row in rows], np.int64),
            np.array(bases, np.int64),
            self._gains(edge_u, edge_v),
            np.array([row.get("two_sided", False) for row in rows], bool),
            np.array([row.get("sky", False) for row in rows], bool),
            TextureAtlas(self.textures),
            tuple(self.instances),
        )

    def _photo_instances(self, row: dict[str, Any]) -> int:
        """Instances for the objects painted in a polygon's texture; returns the number before the first."""
        texture = self.textures[row["texture"]]
        base = len(self.instances)
        s0, t0, s1, t1 = row.get("rect", (0, 0, 1, 1))
        h, w = texture.image.shape[:2]
        for number, name in enumerate(texture.object_names, start=1):
            outline = cv2.convexHull(cv2.findNonZero((texture.instances == number).astype(np.uint8)))
            st = (outline[:, 0] + 0.5) / (w, h)
            st = (st - (s0, t0)) / (s1 - s0, t1 - t0)
            points = np.asarray(row["origin"]) + st @ np.array([row["edge_u"], row["edge_v"]], np.float64)
            self.instance(name, points, is_photo=True)
        return base

    def _gains(self, edge_u: np.ndarray, edge_v: np.ndarray) -> np.ndarray:
        outward = -np.cross(edge_u, edge_v)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
        gains = self.lighting.gain(outward)
        for index, row in enumerate(self._rows):
            if row.get("emissive") or row.get("sky"):
                gains[index] = 1.0
            gains[index] *= row.get("gain", 1.0)
        return np.asarray(np.clip(np.rint(gains * 128), 0, 255), np.uint8)


def prism(
    builder: SceneBuilder,
    base: Sequence[float] | np.ndarray,
    radius: float,
    height: float,
    texture: int,
    label: int,
    **options: Any,
) -> None:
    """An upright column of `sides` (default 6) faces, without lids."""
    sides = int(options.pop("sides", 6))
    angles = np.arange(sides + 1) * 2 * np.pi / sides
    ring = np.asarray(base) + np.stack(
        [np.cos(angles) * radius, np.sin(angles) * radius, 0 * angles + height], 1
    )
    down = np.array([0, 0, -height])
    for k in range(sides):
        window = (k / sides, 0, (k + 1) / sides, 1)
        builder.quad(ring[k], ring[k + 1] - ring[k], down, texture, label, rect=window, **options)
