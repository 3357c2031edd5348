"""Which polygon each pixel sees: projective spans and an inverse-depth z-buffer.

For a polygon with points ``origin + s u + t v`` in the camera frame and A = [u v origin]^-1 K^-1, the pixel
p = (x, y, 1) gives ``A p = (s, t, 1) / z``: inverse depth, s/z and t/z are exactly linear in the pixel
(Blinn 1992, "Hyperbolic interpolation"). The polygon's sides, the near plane and "in front of the camera"
are then linear inequalities in (x, y), so that no polygon needs clipping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.simulation.atlas import LEVELS
from vision_nodes.simulation.scene import Scene

NEAR_M = 0.05
EDGE_PX = 1e-6  # spans grow by this, so that polygons sharing an edge leave no crack
OPAQUE = 128  # alpha from which a texel hides what is behind it


@dataclass(frozen=True)
class VisibleSurfaces:
    """For each pixel the polygon seen and its inverse depth, with the linear forms of the candidates.

    `form` (C, 3, 3) holds A of each candidate polygon; `polygon` (C,) its index in the scene. `index`
    (H, W) int32 is the candidate per pixel, -1 where nothing is hit.
    """

    form: np.ndarray
    polygon: np.ndarray
    index: np.ndarray
    inverse_depth: np.ndarray  # (H, W) float32, 1/m


def find_visible(
    scene: Scene, T_world_cam: np.ndarray, K: np.ndarray, size_wh: tuple[int, int]
) -> VisibleSurfaces:
    """Resolve visibility at every pixel centre, nearest polygons first."""
    polygon, form, nearness = _candidates(scene, T_world_cam, K, size_wh)
    order = np.argsort(-nearness, kind="stable")
    polygon, form, nearness = polygon[order], form[order], nearness[order]
    width, height = size_wh
    first, last = _spans(form, scene.sides[polygon], size_wh)
    index = np.full((height, width), -1, np.int32)
    inverse_depth = np.zeros((height, width), np.float32)
    columns = np.arange(width, dtype=np.int32)
    filled = first <= last
    hit = filled.any(axis=1)
    tops = filled.argmax(axis=1)
    bottoms = height - filled[:, ::-1].argmax(axis=1)
    xs, ys = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    for c in np.flatnonzero(hit):
        rows = slice(int(tops[c]), int(bottoms[c]))
        x0, x1 = first[c, rows], last[c, rows]
        left, right = int(x0.min()), int(np.where(x0 <= x1, x1, -1).max()) + 1
        a, b, offset = form[c, 2]
        buffer = inverse_depth[rows, left:right]
        if nearness[c] <= buffer.min():
            continue  # all of it is behind what is drawn already
        nearer = (a * xs[left:right]).astype(np.float32) + (b * ys[rows] + offset).astype(np.float32)[:, None]
        mask = nearer > buffer
        cols = columns[left:right]
        mask &= cols >= x0[:, None]
        mask &= cols <= x1[:, None]
        texture = scene.texture[polygon[c]]
        if scene.atlas.alpha[texture] is not None:
            _cut_out(mask, form[c], scene, polygon[c], (left, rows.start))
        np.copyto(buffer, nearer, where=mask)
        np.copyto(index[rows, left:right], np.int32(c), where=mask)
    return VisibleSurfaces(form, polygon, index, inverse_depth)


def _candidates(
    scene: Scene, T_world_cam: np.ndarray, K: np.ndarray, size_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Polygons facing the camera inside the view cone: their index, A (C, 3, 3) and nearness 1/z."""
    R, position = T_world_cam[:3, :3], T_world_cam[:3, 3]
    shift = np.where(scene.is_sky[:, None], 0.0, position)
    origin = (scene.origin - shift) @ R
    normal = np.cross(scene.edge_u, scene.edge_v) @ R
    distance = np.einsum("ij,ij->i", normal, origin)
    facing = (distance > 0) | (scene.two_sided & (distance < 0))
    facing &= np.abs(distance) > 1e-9 * np.linalg.norm(normal, axis=1)
    corners = (scene.corners - shift[:, None]) @ R
    polygon = np.flatnonzero(facing & _in_view_cone(corners, K, size_wh))
    basis = np.stack([scene.edge_u[polygon] @ R, scene.edge_v[polygon] @ R, origin[polygon]], axis=2)
    nearness = 1.0 / np.maximum(corners[polygon, :, 2].min(axis=1), NEAR_M)
    return polygon, np.linalg.inv(basis) @ np.linalg.inv(K), nearness


def _in_view_cone(corners: np.ndarray, K: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """False where all corners (N, 4, 3, camera frame) lie outside one side of the view cone."""
    low = np.linalg.solve(K, (-0.5, -0.5, 1.0))
    high = np.linalg.solve(K, (size_wh[0] - 0.5, size_wh[1] - 0.5, 1.0))
    x, y, z = corners[..., 0], corners[..., 1], corners[..., 2]
    outside = np.asarray((z < NEAR_M).all(axis=1))
    for wall in (x - low[0] * z, high[0] * z - x, y - low[1] * z, high[1] * z - y):
        outside |= (wall < 0).all(axis=1)
    return ~outside


def _spans(form: np.ndarray, sides: np.ndarray, size_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """First and last pixel of each candidate in each row, (C, H) int32; empty where first > last."""
    width, height = size_wh
    inverse_depth = form[:, 2:3]
    near = np.array([0.0, 0.0, 1.0 / NEAR_M]) - inverse_depth
    lines = np.concatenate([sides @ form, inverse_depth, near], axis=1)  # each: a x + b y + c >= 0
    slope = lines[..., 0]
    slope = np.where(np.abs(slope) < 1e-30, 1e-30, slope)
    y = np.arange(height)
    crossing = -(lines[..., 1:2] * y + lines[..., 2:]) / slope[..., None]
    rising = (slope > 0)[..., None]
    first = np.where(rising, crossing, -np.inf).max(axis=1)
    last = np.where(rising, np.inf, crossing).min(axis=1)
    first = np.ceil(np.clip(first - EDGE_PX, 0, width)).astype(np.int32)
    last = np.floor(np.clip(last + EDGE_PX, -1, width - 1)).astype(np.int32)
    return first, last


def _cut_out(
    mask: np.ndarray, form: np.ndarray, scene: Scene, polygon: int, corner_xy: tuple[int, int]
) -> None:
    """Clear in `mask` the pixels that fall on transparent texels, at the level that fits their size."""
    ys, xs = np.nonzero(mask)
    if len(xs) == 0:
        return
    pixel = np.stack([xs + corner_xy[0], ys + corner_xy[1], np.ones(len(xs))])
    s, t, w = form @ pixel
    s0, t0, s1, t1 = scene.rect[polygon]
    s, t = s0 + s / w * (s1 - s0), t0 + t / w * (t1 - t0)
    texture = scene.texture[polygon]
    size = scene.atlas.size_wh[texture]
    area = abs(np.linalg.det(form)) * abs((s1 - s0) * (t1 - t0)) * size[0] * size[1]
    texels = np.sqrt(area / np.median(w) ** 3)  # per pixel, from the Jacobian of the homography
    levels = scene.atlas.alpha[texture]
    level = int(np.clip(np.rint(np.log2(max(texels, 1e-6))), 0, LEVELS - 1))
    alpha = levels[level]
    column = np.clip((s * alpha.shape[1]).astype(np.int64), 0, alpha.shape[1] - 1)
    row = np.clip((t * alpha.shape[0]).astype(np.int64), 0, alpha.shape[0] - 1)
    mask[ys, xs] = alpha[row, column] >= OPAQUE
