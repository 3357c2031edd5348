"""Positions of known points in a new image, from the patches of older keyframes.

KLT passes each position on from frame to frame and its small errors add up; aligning with the patch of an
old keyframe takes them out again, and finds points that had left the view. The new image is warped to
look like the old patch (affine, from pose and depth: Klein & Murray 2007, section 5.1). All patches lie side by side
in one mosaic, so that a single Lucas-Kanade call aligns them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.odometry.geometry import bearings, project
from vision_nodes.odometry.klt import as_bright_as

TILE = 36  # px, side of a patch in the mosaic: window plus search on both sides
WINDOW = 15
SEARCH_PX = 9.0  # largest correction that can be found
COLUMNS = 20
CORRELATION_RADIUS = 5
LK_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 15, 0.02)
CENTRE = TILE // 2


@dataclass(frozen=True)
class PatchQuery:
    """N points to look for.

    `patches` show the points at pixel `centres` of each tile; `affine` maps px offsets in the patch to px
    offsets in the new image.
    """

    patches: np.ndarray  # (N, TILE, TILE) uint8
    centres: np.ndarray  # (N, 2) float32 px in the tile
    affine: np.ndarray  # (N, 2, 2)
    predicted_xy: np.ndarray  # (N, 2) px in the new image


def cut_patches(image: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of an image around points.

    Args:
        image: (H, W) uint8, at least a tile large.
        xy: (N, 2) px inside the image.

    Returns:
        (N, TILE, TILE) uint8 inside the image, and (N, 2) float32: where the point lies in its tile, which is
        not the middle near the image's edge.
    """
    limit = np.array(image.shape[::-1]) - TILE
    corner = np.clip(np.round(xy).astype(int) - CENTRE, 0, limit)
    windows = np.lib.stride_tricks.sliding_window_view(image, (TILE, TILE))
    return windows[corner[:, 1], corner[:, 0]], (xy - corner).astype(np.float32)


def patch_affine(
    T_cam_ref: np.ndarray, xy_ref: np.ndarray, depth_ref: np.ndarray, K: np.ndarray
) -> np.ndarray:
    """Affine maps from patches of older views to the new view, surfaces taken as facing the older view.

    Args:
        T_cam_ref: (N, 4, 4).
        xy_ref: (N, 2) px.
        depth_ref: (N,) along z in the older view.

    Returns:
        (N, 2, 2) px per px.
    """
    reach = 4.0
    R, t = T_cam_ref[:, :3, :3], T_cam_ref[:, :3, 3]
    corners = []
    for offset in ((0.0, 0.0), (reach, 0.0), (0.0, reach)):
        points = bearings(xy_ref + np.array(offset), K) * depth_ref[:, None]
        corners.append(project(K, (R @ points[:, :, None])[:, :, 0] + t))
    return np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=2) / reach


def match_patches(image: np.ndarray, query: PatchQuery) -> tuple[np.ndarray, np.ndarray]:
    """Align every patch with the image near its predicted position.

    Args:
        image: (H, W) uint8.

    Returns:
        (N, 2) float32 px in the image, and (N,) correlation in [-1, 1]; -1 where nothing was found.
    """
    count = len(query.patches)
    if count == 0:
        return np.zeros((0, 2), np.float32), np.zeros(0)
    row, column = np.divmod(np.arange(count), COLUMNS)
    origin = np.stack([column, row], 1) * TILE
    warped = _mosaic(_warped_tiles(image, query))
    reference = as_bright_as(_mosaic(query.patches), warped)
    start = (origin + query.centres).astype(np.float32)
    options = {"winSize": (WINDOW, WINDOW), "maxLevel": 0, "criteria": LK_CRITERIA}
    found, status, _ = cv2.calcOpticalFlowPyrLK(reference, warped, start, None, **options)
    shift = found - start
    xy = query.predicted_xy + (query.affine @ shift[:, :, None])[:, :, 0]
    correlation = patch_correlation(reference, start, warped, found)
    lost = (status.ravel() == 0) | (np.abs(shift).max(1) > SEARCH_PX)
    return xy.astype(np.float32), np.where(lost, -1.0, correlation)


def _mosaic(tiles: np.ndarray) -> np.ndarray:
    """(N, TILE, TILE) uint8 -> one image, `COLUMNS` tiles wide."""
    rows = -(-len(tiles) // COLUMNS)
    full = np.zeros((rows * COLUMNS, TILE, TILE), np.uint8)
    full[: len(tiles)] = tiles
    return np.ascontiguousarray(full.reshape(rows, COLUMNS, TILE, TILE).swapaxes(1, 2)).reshape(
        rows * TILE, COLUMNS * TILE
    )


def _warped_tiles(image: np.ndarray, query: PatchQuery) -> np.ndarray:
    """(N, TILE, TILE) uint8: the image around each prediction as the old view would show it."""
    grid = np.arange(TILE, dtype=np.float32)
    offset = query.predicted_xy - (query.affine @ query.centres[:, :, None])[:, :, 0]
    along_row = query.affine[:, :, 0, None].astype(np.float32) * grid  # (N, 2, TILE)
    along_column = query.affine[:, :, 1, None].astype(np.float32) * grid + offset[:, :, None].astype(
        np.float32
    )
    x = along_column[:, 0, :, None] + along_row[:, 0, None, :]
    y = along_column[:, 1, :, None] + along_row[:, 1, None, :]
    tiles = cv2.remap(
        image, x.reshape(-1, TILE), y.reshape(-1, TILE), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return tiles.reshape(-1, TILE, TILE)


def patch_correlation(
    image_a: np.ndarray, xy_a: np.ndarray, image_b: np.ndarray, xy_b: np.ndarray
) -> np.ndarray:
    """(N,) zero-mean normalised correlation of the patches around two sets of points, in [-1, 1]."""
    radius = CORRELATION_RADIUS

    def patches(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
        offsets = np.arange(-radius, radius + 1)
        x = np.clip(np.round(xy[:, 0]).astype(int), radius, image.shape[1] - radius - 1)
        y = np.clip(np.round(xy[:, 1]).astype(int), radius, image.shape[0] - radius - 1)
        cut = image[y[:, None, None] + offsets[:, None], x[:, None, None] + offsets].astype(np.float32)
        cut = cut.reshape(len(xy), -1)
        cut -= cut.mean(1, keepdims=True)
        return cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-6)

    return (patches(image_a, xy_a) * patches(image_b, xy_b)).sum(1)
