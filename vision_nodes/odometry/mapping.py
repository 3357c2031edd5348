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
MIN_DISTANCE_RATIO = 0.7  # between the distances it is seen from
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


def find_again(
    local_map: LocalMap, tracks: Tracks, image: np.ndarray, T_odom_cam: np.ndarray, K: np.ndarray
) -> Tracks:
    """Compare a new keyframe with the patches of older ones, for what is tracked and for what should be in view.

    Tracks are moved onto the patch of the keyframe that saw them first: this takes out the drift that following
    from frame to frame adds up. Landmarks that are not tracked are looked for: this ties a revisited place to its
    old landmarks.

    Args:
        tracks: moved in place.
        image: (H, W) uint8, the new keyframe.

    Returns:
        New tracks with the landmarks' old ids.
    """
    followed = np.flatnonzero(np.isin(tracks.keyframe_ids, list(local_map.keyframes)))
    rows, projected = _expected(local_map, tracks, image.shape, T_odom_cam, K)
    source, source_xy = _best_views(local_map, rows, T_odom_cam[:3, 3])
    seen = np.flatnonzero(source >= 0)
    if len(seen) > MAX_REOBSERVED:  # evenly over all of them, not only the oldest
        seen = seen[np.linspace(0, len(seen) - 1, MAX_REOBSERVED).astype(int)]
    found = Tracks(local_map.ids[rows[seen]], projected[seen], source[seen], source_xy[seen])
    wanted = tracks.select(followed).extend(found)
    xy, correlation = align(local_map, wanted, image, T_odom_cam, K)
    moved = np.linalg.norm(xy - wanted.xy, axis=1)
    good = correlation > MIN_CORRELATION
    count = len(followed)
    steady = good[:count] & (moved[:count] < DRIFT_PX)
    tracks.xy[followed[steady]] = xy[:count][steady]
    found.xy = xy[count:]
    return found.select(good[count:] & (moved[count:] < REOBSERVE_PX))


def align(
    local_map: LocalMap, tracks: Tracks, image: np.ndarray, T_odom_cam: np.ndarray, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Look for each track near `tracks.xy` with the patch of its keyframe.

    Returns:
        (N, 2) px and (N,) correlation.
    """
    if len(tracks) == 0:
        return np.zeros((0, 2), np.float32), np.zeros(0)
    patches, centres = np.empty((len(tracks), TILE, TILE), np.uint8), np.empty((len(tracks), 2), np.float32)
    used, owner = np.unique(tracks.keyframe_ids, return_inverse=True)
    keyframes = [local_map.keyframes[int(k)] for k in used]
    for index, keyframe in enumerate(keyframes):
        mine = np.flatnonzero(owner == index)
        patches[mine], centres[mine] = cut_patches(keyframe.image, tracks.keyframe_xy[mine])
    poses = np.stack([k.T_odom_cam for k in keyframes])
    rows = local_map.rows(tracks.ids)
    behind = -np.einsum("kij,ki->kj", poses[:, :3, :3], poses[:, :3, 3])[:, 2]
    z = np.einsum("ni,ni->n", local_map.points[rows], poses[owner, :3, 2]) + behind[owner]
    known = (rows >= 0) & (z > 0)
    depth = np.where(known, z, float(np.median(z[known])) if known.any() else 1.0)
    affine = patch_affine((invert(T_odom_cam) @ poses)[owner], tracks.keyframe_xy, depth, K)
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
    best, best_xy = np.full(len(rows), -1, np.int64), np.zeros((len(rows), 2), np.float32)
    owners, seen, xy = local_map.observations()
    place = np.full(len(local_map.ids), -1)
    place[rows] = np.arange(len(rows))
    wanted = place[seen] >= 0
    owners, at, xy = owners[wanted], place[seen[wanted]], xy[wanted]
    if len(at) == 0:
        return best, best_xy
    used, owner = np.unique(owners, return_inverse=True)
    cameras = np.array([local_map.keyframes[int(k)].T_odom_cam[:3, 3] for k in used])
    points = local_map.points[rows]
    view, here = cameras[owner] - points[at], (centre - points)[at]
    far, near = np.linalg.norm(view, axis=1), np.linalg.norm(here, axis=1)
    cosine = (view * here).sum(1) / np.maximum(far * near, 1e-12)
    similar = np.minimum(far, near) / np.maximum(np.maximum(far, near), 1e-12) > MIN_DISTANCE_RATIO
    usable = np.flatnonzero(similar & (cosine > MIN_VIEW_COSINE))
    order = usable[
        np.lexsort((-owners[usable], cosine[usable], at[usable]))
    ]  # the last of each landmark wins
    best[at[order]], best_xy[at[order]] = owners[order], xy[order]
    return best, best_xy


def landmarks_from_depth(
    local_map: LocalMap, keyframe: Keyframe, depth: DepthMap, camera: CameraModel, K: np.ndarray
) -> int:
    """Give a keyframe what a depth camera measured: landmarks for its new tracks, depths for the optimisation.

    Args:
        camera: intrinsics of the depth map; both cameras see from the same place (registered depth).

    Returns:
        How many landmarks were added; pixels at depth edges or without depth add none.
    """
    rays = bearings(keyframe.xy, K)
    z = sample_depth(depth, camera, rays)
    keyframe.depths = z
    good = np.isfinite(z) & (local_map.rows(keyframe.ids) < 0)
    points = transform(keyframe.T_odom_cam, rays[good] * z[good, None])
    local_map.add_landmarks(keyframe.ids[good], points)
    return int(good.sum())


def sample_depth(depth: DepthMap, camera: CameraModel, rays: np.ndarray) -> np.ndarray:
    """(N,) depth along rays (N, 3) with z = 1; NaN outside, without depth and at depth edges."""
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
    return np.where(inside & smooth, z, np.nan)
