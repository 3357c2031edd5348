"""Textures and the one mip-mapped atlas they are sampled from.

Every mip level of every texture lies in a single image, so that one `cv2.remap` call can sample all
surfaces of a frame, whatever their texture and level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

LEVELS = 7
GRAIN = 2 ** (LEVELS - 1)  # texture sides are multiples of this, so that every level halves exactly
GUTTER = 2  # replicated border: bilinear taps, up to 0.7 texels beyond the edge, stay in their level
ATLAS_WIDTH = 8192
MAX_SIDE = 32767 - 1  # cv2.remap addresses its source with 16-bit integers


@dataclass(frozen=True)
class Texture:
    """A surface's picture, with optional truth per texel.

    `objects` counts the labelled things painted in it: `instances` holds 0 (none) or 1..N, and
    `object_names` their N COCO names.
    """

    image: np.ndarray  # (h, w, 3) uint8 RGB
    alpha: np.ndarray | None = None  # (h, w) uint8, 255 = opaque; None = opaque everywhere
    labels: np.ndarray | None = None  # (h, w) uint8 class ids; None = the polygon's class
    instances: np.ndarray | None = None  # (h, w) uint8
    object_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"expected (h, w, 3) uint8 RGB, received {self.image.shape} {self.image.dtype}")
        for name in ("alpha", "labels", "instances"):
            layer = getattr(self, name)
            if layer is not None and (layer.shape != self.image.shape[:2] or layer.dtype != np.uint8):
                raise ValueError(f"{name}: expected {self.image.shape[:2]} uint8, received {layer.shape}")

    def conformed(self) -> Texture:
        """The same texture with sides rounded to multiples of `GRAIN`."""
        h, w = self.image.shape[:2]
        size_wh = tuple(max(GRAIN, GRAIN * round(side / GRAIN)) for side in (w, h))
        if size_wh == (w, h):
            return self
        method = cv2.INTER_AREA if size_wh[0] < w else cv2.INTER_LINEAR

        def layer(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else cv2.resize(array, size_wh, interpolation=cv2.INTER_NEAREST)

        image = cv2.resize(self.image, size_wh, interpolation=method)
        return Texture(image, layer(self.alpha), layer(self.labels), layer(self.instances), self.object_names)


def mip_levels(image: np.ndarray) -> list[np.ndarray]:
    """`LEVELS` images, each half the size of the one before, by exact 2x2 averaging."""
    levels = [image]
    for _ in range(LEVELS - 1):
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels


class TextureAtlas:
    """All textures of a world, packed.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        size_wh: (T, 2) float32, sides of each texture's level 0, texels.
        origin_x, origin_y: (T * LEVELS,) float32, atlas px of each level's first texel.
        truth_offset: (T,) int32 into `truth`, -1 = the texture has no truth of its own.
        alpha: per texture its list of alpha mip levels, or None.
    """

    def __init__(self, textures: Sequence[Texture]) -> None:
        self.textures = [texture.conformed() for texture in textures]
        self.size_wh = np.array([t.image.shape[1::-1] for t in self.textures], np.float32).reshape(-1, 2)
        self.origin_x, self.origin_y, width, height = self._layout()
        self.image = np.zeros((height, width, 3), np.uint8)
        for index, texture in enumerate(self.textures):
            self._paste(index, texture.image)
        self.alpha = [None if t.alpha is None else mip_levels(t.alpha) for t in self.textures]
        self._pack_truth()

    def _layout(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Shelf packing, tallest first; levels 1.. stand in a column right of level 0."""
        origins = np.zeros((len(self.textures), LEVELS, 2), np.float32)
        x = y = shelf = 0
        width = max([ATLAS_WIDTH] + [int(w * 1.5) + 4 * GUTTER for w, _ in self.size_wh])
        for index in np.argsort(-self.size_wh[:, 1], kind="stable"):
            w, h = (int(side) for side in self.size_wh[index])
            block_w, block_h = w + w // 2 + 4 * GUTTER, h + 2 * GUTTER * LEVELS
            if x + block_w > width:
                x, y, shelf = 0, y + shelf, 0
            origins[index, 0] = x + GUTTER, y + GUTTER
            top = y
            for level in range(1, LEVELS):
                origins[index, level] = x + w + 3 * GUTTER, top + GUTTER
                top += (h >> level) + 2 * GUTTER
            x, shelf = x + block_w, max(shelf, block_h)
        height = max(y + shelf, 1)
        if max(width, height) > MAX_SIDE:
            raise ValueError(f"texture atlas of {width}x{height} px, largest possible side {MAX_SIDE}")
        return origins[..., 0].ravel().copy(), origins[..., 1].ravel().copy(), width, height

    def _paste(self, index: int, image: np.ndarray) -> None:
        for level, small in enumerate(mip_levels(image)):
            padded = cv2.copyMakeBorder(small, *(GUTTER,) * 4, cv2.BORDER_REPLICATE)
            x = int(self.origin_x[index * LEVELS + level]) - GUTTER
            y = int(self.origin_y[index * LEVELS + level]) - GUTTER
            self.image[y : y + padded.shape[0], x : x + padded.shape[1]] = padded

    def _pack_truth(self) -> None:
        """`truth`: per texel label + 256 * instance number, all textures that have any, end to end."""
        self.truth_offset = np.full(len(self.textures), -1, np.int32)
        parts, end = [], 0
        for index, texture in enumerate(self.textures):
            if texture.labels is None and texture.instances is None:
                continue
            words = np.full(texture.image.shape[:2], KEEP, np.uint16)
            if texture.labels is not None:
                words[:] = texture.labels
            if texture.instances is not None:
                words += texture.instances.astype(np.uint16) << 8
            parts.append(words.ravel())
            self.truth_offset[index] = end
            end += words.size
        self.truth = np.concatenate(parts) if parts else np.zeros(1, np.uint16)


KEEP = 254  # texel label: the polygon's own class holds here
