"""What a new keyframe adds to the map: triangulated tracks, and old landmarks found again."""

from __future__ import annotations

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap
from vision_nodes.odometry.geometry import bearings, invert, project, transform, triangulate
from vision_nodes.odometry.initialisation import parallax_deg
from vision_nodes.odometry.klt import Tracks
from vision_nodes.odometry.local_map import Keyframe, LocalMap
from vision_nodes.odometry.patches import TILE, PatchQuery, cut_patches, match_patches, patch_affine
from vision_nodes.odometry.settings import OdometrySettings

MAX_REPROJECTION_PX = 2.0
REOBSERVE_PX = 10.0  # how far from its projection an old landmark is searched for
DRIFT_PX = 1.5  # a larger difference is another point, not drift
MAX_DEPTH_STEP = 0.05  # of the depth, across 3x3 px: more is an edge
MAX_REOBSERVED = 250  # bounds the cost
MIN_VIEW_COSINE = 0.9  # a patch looks the same within about 25 degrees
MIN_CORRELATION = 0.8


def triangulate_tracks(
    local_map: LocalMap, tracks: Tracks, T_odom_cam: np.ndarray, K: np.ndarray, settings: OdometrySettings
) -> int:
    """Turn tracks with enough parallax since their first keyframe into landmarks; returns how many."""
    known = np.array(sorted(local_map.keyframes), np.int64)
    candidate = (local_map.rows(tracks.ids) < 0) & np.isin(tracks.keyframe_ids, known)
    chosen = tracks.select(candidate)
    if len(chosen) == 0:
        return 0
    poses = np.stack([local_map.keyframes[int(k)].T_odom_cam for k in known])
    T_odom_ref = poses[np.searchsorted(known, chosen.keyframe_ids)]
    T_cam_ref = invert(T_odom_cam) @ T_odom_ref
    rays_ref, rays_cam = bearings(chosen.keyframe_xy, K), bearings(chosen.xy, K)
    depths = triangulate(T_cam_ref, rays_ref, rays_cam)
    with np.errstate(invalid="ignore"):
        points_ref = rays_ref * depths[:, :1]
        points_cam = (T_cam_ref[:, :3, :3] @ points_ref[:, :, None])[:, :, 0] + T_cam_ref[:, :3, 3]
        error = np.linalg.norm(project(K, points_cam) - chosen.xy, axis=1)
        angle = parallax_deg(T_cam_ref, rays_ref, rays_cam)
        good = (depths > 0).all(1) & (error < MAX_REPROJECTION_PX) & (angle > settings.min_triangulation_deg)
    points = (T_odom_ref[good, :3, :3] @ points_ref[good, :, None])[:, :, 0] + T_odom_ref[good, :3, 3]
    local_map.add_landmarks(chosen.ids[good], points)
    return int(good.sum())


def reobserve(
    local_map: LocalMap, tracks: Tracks, image: np.ndarray, T_odom_cam: np.ndarray, K: np.ndarray
) -> Tracks:
    """Find landmarks that should be in view but are not tracked, from the patch of an older keyframe.

    This ties a revisited place to its old landmarks and stops drift there.

    Args:
        image: (H, W) uint8, the new keyframe.

    Returns:
        New tracks with the landmarks' old ids.
    """
    rows, projected = _expected(local_map, tracks, image.shape, T_odom_cam, K)
    source, source_xy = _best_views(local_map, rows, T_odom_cam[:3, 3])
    seen = np.flatnonzero(source >= 0)
    if len(seen) > MAX_REOBSERVED:  # evenly over all of them, not only the oldest
        seen = seen[np.linspace(0, len(seen) - 1, MAX_REOBSERVED).astype(int)]
    found = Tracks(local_map.ids[rows[seen]], projected[seen], source[seen], source_xy[seen])
    xy, correlation = align(local_map, found, image, T_odom_cam, K)
    good = (correlation > MIN_CORRELATION) & (np.linalg.norm(xy - found.xy, axis=1) < REOBSERVE_PX)
    found.xy = xy
    return found.select(good)


def remove_drift(
    local_map: LocalMap, tracks: Tracks, image: np.ndarray, T_odom_cam: np.ndarray, K: np.ndarray
) -> int:
    """Align the tracks in `image` with the keyframes that saw them first; returns how many moved."""
    chosen = np.flatnonzero(np.isin(tracks.keyframe_ids, list(local_map.keyframes)))
    xy, correlation = align(local_map, tracks.select(chosen), image, T_odom_cam, K)
    moved = np.linalg.norm(xy - tracks.xy[chosen], axis=1)
    good = (correlation > MIN_CORRELATION) & (moved < DRIFT_PX)
    tracks.xy[chosen[good]] = xy[good]
    return int(good.sum())


def align(
    local_map: LocalMap, tracks: Tracks, image: np.ndarray, T_odom_cam: np.ndarray, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Look for each track near `tracks.xy` with the patch of its keyframe.

    Returns:
        (N, 2) px and (N,) correlation.
    """
    n = len(tracks)
    patches, centres = np.zeros((n, TILE, TILE), np.uint8), np.zeros((n, 2), np.float32)
    T_cam_ref, depth = np.tile(np.eye(4), (n, 1, 1)), np.ones(n)
    rows = local_map.rows(tracks.ids)
    for keyframe_id in np.unique(tracks.keyframe_ids):
        mine = np.flatnonzero(tracks.keyframe_ids == keyframe_id)
        keyframe = local_map.keyframes[int(keyframe_id)]
        patches[mine], centres[mine] = cut_patches(keyframe.image, tracks.keyframe_xy[mine])
        T_cam_ref[mine] = invert(T_odom_cam) @ keyframe.T_odom_cam
        z = transform(invert(keyframe.T_odom_cam), local_map.points[rows[mine]])[:, 2]
        known = (rows[mine] >= 0) & (z > 0)
        typical = float(np.median(z[known])) if known.any() else 1.0
        depth[mine] = np.where(known, z, typical)
    affine = patch_affine(T_cam_ref, tracks.keyframe_xy, depth, K)
    return match_patches(image, PatchQuery(patches, centres, affine, tracks.xy.astype(np.float64)))


def _expected(
    local_map: LocalMap, tracks: Tracks, shape: tuple[int, ...], T_odom_cam: np.ndarray, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of untracked landmarks that project into the image, and where (N, 2) px."""
    points_cam = transform(invert(T_odom_cam), local_map.points)
    xy = project(K, points_cam)
    border = 12
    inside = (points_cam[:, 2] > 1e-3) & (xy > border).all(1)
    inside &= (xy[:, 0] < shape[1] - border) & (xy[:, 1] < shape[0] - border)
    inside &= ~np.isin(local_map.ids, tracks.ids)
    return np.flatnonzero(inside), xy[inside].astype(np.float32)


def _best_views(local_map: LocalMap, rows: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each landmark the keyframe that saw it from the most similar place, -1 = none close enough."""
    best = np.full(len(rows), -1, np.int64)
    best_xy = np.zeros((len(rows), 2), np.float32)
    score = np.full(len(rows), MIN_VIEW_COSINE)
    points = local_map.points[rows]
    to_camera = centre - points
    distance = np.linalg.norm(to_camera, axis=1)
    for keyframe in local_map.keyframes.values():
        at = np.searchsorted(keyframe.ids, local_map.ids[rows])
        at = np.minimum(at, len(keyframe.ids) - 1)
        if len(keyframe.ids) == 0:
            continue
        view = keyframe.T_odom_cam[:3, 3] - points
        view_distance = np.linalg.norm(view, axis=1)
        cosine = (view * to_camera).sum(1) / np.maximum(view_distance * distance, 1e-12)
        ratio = np.minimum(view_distance, distance) / np.maximum(np.maximum(view_distance, distance), 1e-12)
        similar = np.where(ratio > 0.7, cosine, 0.0)
        better = (keyframe.ids[at] == local_map.ids[rows]) & (similar > score)
        best[better], best_xy[better], score[better] = keyframe.id, keyframe.xy[at[better]], similar[better]
    return best, best_xy


def landmarks_from_depth(
    local_map: LocalMap, keyframe: Keyframe, depth: DepthMap, camera: CameraModel, K: np.ndarray
) -> int:
    """Give a keyframe's tracks that are no landmarks yet the depth a depth camera measured.

    Args:
        camera: intrinsics of the depth map; both cameras see from the same place (registered depth).

    Returns:
        How many landmarks were added; pixels at depth edges or without depth add none.
    """
    fresh = local_map.rows(keyframe.ids) < 0
    rays = bearings(keyframe.xy[fresh], K)
    at = np.round(project(camera.K, rays)).astype(int)
    height, width = depth.depth_m.shape
    inside = (at >= 1).all(1) & (at[:, 0] < width - 1) & (at[:, 1] < height - 1)
    at = np.where(inside[:, None], at, 1)
    offsets = np.arange(-1, 2)
    around = depth.depth_m[at[:, 1, None, None] + offsets[:, None], at[:, 0, None, None] + offsets]
    around = around.reshape(len(at), 9).astype(np.float64)
    z = around[:, 4]
    with np.errstate(invalid="ignore"):
        smooth = (around > 0).all(1) & (around.max(1) - around.min(1) < MAX_DEPTH_STEP * z)
    good = inside & smooth & np.isfinite(z)
    points = transform(keyframe.T_odom_cam, rays[good] * z[good, None])
    local_map.add_landmarks(keyframe.ids[fresh][good], points)
    return int(good.sum())
