"""Deferred shading: colour and truth of the polygon each pixel sees, sampled from the mip-mapped atlas.

Two taps along the longer axis of the pixel's footprint, each trilinear: ground seen at a flat angle keeps
its detail, and no texture shimmers, so feature tracks stay on the surface.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vision_nodes.simulation.atlas import KEEP, LEVELS
from vision_nodes.simulation.scene import Scene
from vision_nodes.simulation.visibility import VisibleSurfaces

STRIP_ROWS = 32  # temporaries of one strip stay in the cache
HALF = np.float32(0.5)
LOD_BIAS = -0.25  # slightly sharper than the footprint; measured as free of shimmer


def texel_forms(scene: Scene, visible: VisibleSurfaces) -> np.ndarray:
    """(9, C) float32 coefficients of x/z, y/z (level 0 texels) and 1/z in the pixel, per candidate."""
    polygon, form = visible.polygon, visible.form
    rect, size = scene.rect[polygon], scene.atlas.size_wh[scene.texture[polygon]]
    x = (rect[:, 0:1] * form[:, 2] + (rect[:, 2:3] - rect[:, 0:1]) * form[:, 0]) * size[:, 0:1]
    y = (rect[:, 1:2] * form[:, 2] + (rect[:, 3:4] - rect[:, 1:2]) * form[:, 1]) * size[:, 1:2]
    return np.ascontiguousarray(np.concatenate([x, y, form[:, 2]], axis=1).T, np.float32)


def shade(scene: Scene, visible: VisibleSurfaces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 RGB, labels (H, W) uint8 and instances (H, W) int32 of a view."""
    height, width = visible.index.shape
    image = np.zeros((height, width, 3), np.uint8)
    labels = np.full((height, width), 255, np.uint8)
    instances = np.zeros((height, width), np.int32)
    if len(visible.polygon) == 0:
        return image, labels, instances
    shader = _StripShader(scene, visible)
    for top in range(0, height, STRIP_ROWS):
        rows = slice(top, min(top + STRIP_ROWS, height))
        image[rows], labels[rows], instances[rows] = shader.shade(rows)
    return image, labels, instances


class _Levels(NamedTuple):
    """Per pixel, for the finer and the coarser of its two mip levels."""

    scale: tuple[np.ndarray, np.ndarray]  # level 0 texels to texels of the level
    origin: tuple[tuple[np.ndarray, np.ndarray], ...]  # atlas x and y of the level's texel (0, 0) corner
    weight: tuple[np.ndarray, np.ndarray]


class _StripShader:
    def __init__(self, scene: Scene, visible: VisibleSurfaces) -> None:
        self.atlas, self.visible = scene.atlas, visible
        polygon = visible.polygon
        self.forms = texel_forms(scene, visible)
        self.texture = scene.texture[polygon].astype(np.intp)
        self.size = scene.atlas.size_wh[self.texture].T.copy()
        self.label = scene.label[polygon]
        self.instance = scene.instance[polygon].astype(np.int32)
        self.instance_base = scene.instance_base[polygon].astype(np.int32)
        self.truth_offset = scene.atlas.truth_offset[self.texture]
        self.gain = np.zeros((len(polygon), 4), np.uint8)
        self.gain[:, :3] = scene.gain[polygon]
        self.gain_words = self.gain.view(np.uint32)[:, 0]
        self.scale = np.exp2(-np.arange(LEVELS)).astype(np.float32)

    def shade(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = self.visible.index[rows]
        unseen = index < 0 if index.min() < 0 else None
        index = np.maximum(index, 0).astype(np.intp)  # the type `take` needs: it would convert each time
        x, y, along_x, along_y, lod = self._footprint(index, rows.start)
        levels = self._levels(lod, self.texture.take(index))
        shifts = (np.float32(-0.25), np.float32(0.25))
        taps = [(x + shift * along_x, y + shift * along_y) for shift in shifts]
        if lod.max() > LEVELS - 1.01:
            # only where even the coarsest level is too fine can a tap leave the texture's gutter
            size = self.size.take(index, axis=1)
            taps = [(np.clip(tap[0], 0, size[0]), np.clip(tap[1], 0, size[1])) for tap in taps]
        first, second = (self._trilinear(*tap, levels) for tap in taps)
        colour = cv2.addWeighted(first, 0.5, second, 0.5, 0.0)
        gain = cv2.cvtColor(self.gain_words.take(index)[..., None].view(np.uint8), cv2.COLOR_RGBA2RGB)
        colour = cv2.multiply(colour, gain, scale=1 / 128)
        labels, instances = self._truth(index, x, y)
        if unseen is not None:
            colour[unseen], labels[unseen], instances[unseen] = 0, 255, 0
        return colour, labels, instances

    def _footprint(self, index: np.ndarray, top: int) -> tuple[np.ndarray, ...]:
        """Texel position, its change along the longer pixel axis, and the mip level, per pixel."""
        h, w = index.shape
        xa, xb, xc, ya, yb, yc, wa, wb, wc = self.forms.take(index, axis=1)
        u = np.arange(w, dtype=np.float32)
        v = np.arange(top, top + h, dtype=np.float32)[:, None]
        depth = 1.0 / np.maximum(wa * u + wb * v + wc, 1e-9)
        x = (xa * u + xb * v + xc) * depth
        y = (ya * u + yb * v + yc) * depth
        du = ((xa - x * wa) * depth, (ya - y * wa) * depth)
        dv = ((xb - x * wb) * depth, (yb - y * wb) * depth)
        length_u, length_v = du[0] ** 2 + du[1] ** 2, dv[0] ** 2 + dv[1] ** 2
        wide = length_u > length_v
        along_x, along_y = np.where(wide, du[0], dv[0]), np.where(wide, du[1], dv[1])
        footprint = np.maximum(np.maximum(length_u, length_v) * 0.25, np.minimum(length_u, length_v))
        lod = np.clip(_log2(np.maximum(footprint, 1e-12)) * 0.5 + LOD_BIAS, 0, LEVELS - 1.001)
        return x, y, along_x, along_y, lod

    def _levels(self, lod: np.ndarray, texture: np.ndarray) -> _Levels:
        level = lod.astype(np.intp)
        slot = texture * LEVELS + level
        scale, blend = self.scale.take(level), lod - level.astype(np.float32)
        fine, coarse = (
            (self.atlas.origin_x.take(at) - HALF, self.atlas.origin_y.take(at) - HALF)
            for at in (slot, slot + 1)
        )
        return _Levels((scale, scale * HALF), (fine, coarse), (1 - blend, blend))

    def _trilinear(self, x: np.ndarray, y: np.ndarray, levels: _Levels) -> np.ndarray:
        fine, coarse = (
            cv2.remap(
                self.atlas.image,
                x * scale + origin[0],
                y * scale + origin[1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for scale, origin in zip(levels.scale, levels.origin)
        )
        return cv2.blendLinear(fine, coarse, *levels.weight)

    def _truth(self, index: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels and instances: the polygon's own, or the texel's where its texture carries truth."""
        labels, instances = self.label.take(index), self.instance.take(index)
        offset = self.truth_offset.take(index)
        if not (offset >= 0).any():
            return labels, instances
        size = self.size.take(index, axis=1)
        column = np.clip(x, 0, size[0] - 1).astype(np.int32)
        row = np.clip(y, 0, size[1] - 1).astype(np.int32)
        texel = (row * size[0].astype(np.int32) + column + offset).astype(np.intp)
        word = self.atlas.truth.take(texel, mode="clip")
        word[offset < 0] = KEEP
        own, number = word.astype(np.uint8), word >> 8
        np.copyto(labels, own, where=own != KEEP)
        if number.any():
            own_instance = self.instance_base.take(index) + number
            np.copyto(instances, own_instance, where=number > 0)
        return labels, instances


def _log2(values: np.ndarray) -> np.ndarray:
    """Piecewise linear log2 of positive float32, read from the exponent bits (error below 0.09)."""
    bits = values.view(np.int32).astype(np.float32)
    return np.asarray(bits * np.float32(2.0**-23) - np.float32(127.0))
