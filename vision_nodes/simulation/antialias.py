"""Smooth polygon edges from their exact geometry.

Where two neighbouring pixels see different polygons, the edge between them is known analytically: it is
a side of the nearer polygon, or the line where both planes meet. The pixel that the edge cuts takes its
neighbour's colour in proportion to the area beyond the edge (geometry-buffer anti-aliasing, Persson
2011). Depth and labels stay those of the pixel centres.
"""

from __future__ import annotations

import numpy as np

from vision_nodes.simulation.scene import Scene
from vision_nodes.simulation.visibility import VisibleSurfaces


def smooth_edges(image: np.ndarray, scene: Scene, visible: VisibleSurfaces) -> np.ndarray:
    """(H, W, 3) uint8 with the colours of pixels on polygon edges mixed by the area each side covers."""
    if len(visible.polygon) == 0:
        return image
    smooth: np.ndarray = image.copy()
    finder = _EdgeFinder(scene, visible)
    width = image.shape[1]
    colours, mixed = image.reshape(-1, 3), smooth.reshape(-1, 3)
    for axis, offset in ((0, 1), (1, width)):
        near, far, t = finder.edges(axis, offset)
        # the edge lies at share t of the way from the near pixel's centre to the far one's
        for target, source, weight in ((near, far, 0.5 - t), (far, near, t - 0.5)):
            cut = weight > 0.01
            at, share = target[cut], weight[cut, None]
            mixed[at] = np.rint(mixed[at] * (1 - share) + colours[source[cut]] * share).astype(np.uint8)
    return smooth


class _EdgeFinder:
    def __init__(self, scene: Scene, visible: VisibleSurfaces) -> None:
        self.index = visible.index
        self.plane = visible.form[:, 2].astype(np.float32)  # (C, 3): 1/z in the pixel
        self.lines = (scene.sides[visible.polygon] @ visible.form).astype(np.float32)  # (C, 4, 3)

    def edges(self, axis: int, offset: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flat pixels (P,) of the nearer and the farther side of each edge, and where it lies, (P,) in [0, 1].

        Pairs run along x (`axis` 0) or y; edges that run along the pair's own axis are left to the other.
        """
        a, b = self._differing(axis, offset)
        shape = self.index.shape
        flat = self.index.ravel()
        middle = np.stack(
            [(a % shape[1] + b % shape[1]) / 2, (a // shape[1] + b // shape[1]) / 2, np.ones(len(a))]
        )
        middle = middle.astype(np.float32)
        depth_a = np.einsum("pk,kp->p", self.plane[flat[a]], middle)
        depth_b = np.einsum("pk,kp->p", self.plane[flat[b]], middle)
        swap = depth_b > depth_a
        near, far = np.where(swap, b, a), np.where(swap, a, b)
        t = self._crossing(near, far, axis)
        found = np.isfinite(t)
        return near[found], far[found], t[found].astype(np.float32)

    def _differing(self, axis: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
        index = self.index
        if axis == 0:
            differs = np.zeros(index.shape, bool)
            differs[:, :-1] = index[:, :-1] != index[:, 1:]
        else:
            differs = np.zeros(index.shape, bool)
            differs[:-1] = index[:-1] != index[1:]
        a = np.flatnonzero(differs)
        b = a + offset
        flat = index.ravel()
        seen = (flat[a] >= 0) & (flat[b] >= 0)
        return a[seen], b[seen]

    def _crossing(self, near: np.ndarray, far: np.ndarray, axis: int) -> np.ndarray:
        """Share of the way from near to far where the near polygon ends, NaN = not along this axis."""
        width, flat = self.index.shape[1], self.index.ravel()
        lines = np.concatenate(
            [self.lines[flat[near]], (self.plane[flat[near]] - self.plane[flat[far]])[:, None]], axis=1
        )  # (P, 5, 3), each >= 0 where the near polygon is seen
        at_near = (
            lines[..., 0] * (near % width)[:, None] + lines[..., 1] * (near // width)[:, None] + lines[..., 2]
        )
        at_far = (
            lines[..., 0] * (far % width)[:, None] + lines[..., 1] * (far // width)[:, None] + lines[..., 2]
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(at_far < 0, at_near / (at_near - at_far), np.inf)
        first = t.argmin(axis=1)
        rows = np.arange(len(t))
        t, slope = t[rows, first], np.abs(lines[rows, first, :2])
        across = slope[:, axis] >= slope[:, 1 - axis] if axis == 0 else slope[:, 1] > slope[:, 0]
        return np.where(across & (t > -0.01) & (t < 1.01), np.clip(t, 0, 1), np.nan)
