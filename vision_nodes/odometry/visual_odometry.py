"""Monocular visual odometry: a pose for every frame, or the reason why there is none."""

from __future__ import annotations

import numpy as np

from vision_nodes.datatypes import OdometryEstimate, ScaleState, TrackingState
from vision_nodes.odometry.bundle_adjustment import BundleProblem, solve_bundle
from vision_nodes.odometry.bundle_worker import BundleWorker
from vision_nodes.odometry.geometry import (
    bearings,
    exp_se3,
    invert,
    log_so3,
    orthonormalise,
    project,
    transform,
)
from vision_nodes.odometry.initialisation import TwoView, initialise
from vision_nodes.odometry.klt import KltTracker, Tracks
from vision_nodes.odometry.local_map import LocalMap, Window
from vision_nodes.odometry.mapping import remove_drift, reobserve, triangulate_tracks
from vision_nodes.odometry.relocalisation import Relocaliser
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.odometry.tracking import Correspondences, PoseEstimate, ransac_pose, refine_pose
from vision_nodes.preprocess.frame import Frame

# REP 103: a forward-looking optical frame (x right, y down, z forward) in odom (x forward, y left, z up).
T_ODOM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
ASSUMED_DEPTH_SIGMA = 0.7  # relative, of a point whose depth is taken from its neighbours
MIN_DEGRADED = 20  # points of any kind that still make a pose


class VisualOdometry:
    """Feed frames in order; one caller at a time. `close` (or a `with` block) stops the worker."""

    def __init__(
        self, settings: OdometrySettings | None = None, T_odom_cam0: np.ndarray | None = None
    ) -> None:
        self.settings = settings or OdometrySettings()
        self._T_start = T_ODOM_OPTICAL.copy() if T_odom_cam0 is None else np.array(T_odom_cam0, np.float64)
        self._worker = BundleWorker()
        self._klt = KltTracker(self.settings)
        self._map = LocalMap(self.settings)
        self._relocaliser = Relocaliser(self.settings.pixel_sigma)
        self._restart(self._T_start)

    def __enter__(self) -> VisualOdometry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the optimiser's process."""
        self._worker.close()

    def reset(self) -> None:
        """Forget the map; the next map starts at the first pose again."""
        self._restart(self._T_start)

    def set_pose(self, T_odom_cam: np.ndarray) -> None:
        """Forget the map and go on from `T_odom_cam` (4, 4)."""
        self._restart(np.array(T_odom_cam, np.float64))

    def _restart(self, T_odom_cam: np.ndarray) -> None:
        """Start over: the next map's first camera will be at `T_odom_cam`."""
        self._map.clear()
        self._klt.reset()
        self._relocaliser.clear()
        self._window: Window | None = None
        self._T_odom_cam = T_odom_cam
        self._velocity = np.zeros(6)  # per second, left motion of T_cam_odom
        self._stamp_ns: int | None = None
        self._lost_since_ns: int | None = None
        self._reference: tuple[int, np.ndarray] | None = None  # stamp and image the first map starts from
        self._size: tuple[int, ...] | None = None
        self._K = np.eye(3)
        self._visible = (np.zeros((0, 3)), np.zeros((0, 2)))

    def landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """Map points in view: (N, 3) float64 in the camera frame, and their (N, 2) pixels."""
        return self._visible

    def process(self, frame: Frame) -> OdometryEstimate:
        """Pose of one frame; stamps that go backwards or a new image size start over."""
        if frame.camera is None:
            return self._absent(frame.stamp_ns, TrackingState.INITIALISING, "uncalibrated")
        image = frame.gray()
        if self._stamp_ns is not None and frame.stamp_ns < self._stamp_ns:
            self.reset()
        elif self._size is not None and (
            image.shape != self._size or not np.array_equal(self._K, frame.camera.K)
        ):
            self._restart(self._T_odom_cam)
        self._size, self._K = image.shape, frame.camera.K
        self._take_window()
        if not self._map.keyframes:
            estimate = self._initialise(frame.stamp_ns, image)
        elif self._lost_since_ns is not None:
            estimate = self._recover(frame.stamp_ns, image)
        else:
            estimate = self._track(frame.stamp_ns, image)
        self._stamp_ns = frame.stamp_ns
        return estimate

    # --- first map -----------------------------------------------------------------------------

    def _initialise(self, stamp_ns: int, image: np.ndarray) -> OdometryEstimate:
        klt, state = self._klt, TrackingState.INITIALISING
        if self._lost_since_ns is not None:
            state = TrackingState.LOST
        klt.follow_into(image, klt.tracks.xy)
        if self._reference is None or len(klt.tracks) < max(self._started_with // 2, 40):
            klt.tracks = Tracks.empty()
            klt.detect(image)
            self._reference, self._started_with = (stamp_ns, image), len(klt.tracks)
            return self._absent(stamp_ns, state, f"first view with {len(klt.tracks)} corners")
        view, reason = initialise(klt.tracks.keyframe_xy, klt.tracks.xy, self._K, self.settings)
        if view is None:
            return self._absent(stamp_ns, state, reason)
        self._first_map(stamp_ns, image, view)
        self._lost_since_ns = None
        return self._present(stamp_ns, self._refine(invert(self._T_odom_cam)), True)

    def _first_map(self, stamp_ns: int, image: np.ndarray, view: TwoView) -> None:
        tracks = self._klt.tracks
        view = refined(view, tracks.keyframe_xy, tracks.xy, self._K, self.settings.pixel_sigma)
        assert self._reference is not None
        T_odom_first = self._T_odom_cam
        first = self._map.add_keyframe(
            self._reference[0], T_odom_first, tracks.ids, tracks.keyframe_xy, self._reference[1]
        )
        tracks.keyframe_ids[:] = first.id
        self._map.add_landmarks(tracks.ids[view.good], transform(T_odom_first, view.points_a[view.good]))
        self._T_odom_cam = T_odom_first @ invert(view.T_b_a)
        self._typical_depth = float(np.median(view.points_a[view.good, 2]))
        self._add_keyframe(stamp_ns, image)

    # --- tracking ------------------------------------------------------------------------------

    def _track(self, stamp_ns: int, image: np.ndarray) -> OdometryEstimate:
        assert self._stamp_ns is not None
        elapsed = (stamp_ns - self._stamp_ns) * 1e-9
        before = invert(self._T_odom_cam)
        predicted = exp_se3(self._velocity * min(elapsed, 0.2)) @ before
        self._klt.follow_into(image, self._predicted_xy(predicted))
        pose = self._refine(predicted)
        if pose is None:
            return self._lose(stamp_ns, f"{len(self._klt.tracks)} tracks left")
        self._klt.keep(pose.inliers)
        self._T_odom_cam = orthonormalise(invert(pose.T_cam_odom))
        if elapsed > 0:
            step = pose.T_cam_odom @ invert(before)
            self._velocity = motion_of(step) / elapsed
        keyframe = self._needs_keyframe()
        estimate = self._present(stamp_ns, pose, keyframe)
        if keyframe:
            self._add_keyframe(stamp_ns, image)
        return estimate

    def _seen(self) -> tuple[Correspondences, np.ndarray]:
        """Every track as a correspondence, and (N,) bool: its depth is known."""
        tracks = self._klt.tracks
        rows = self._map.rows(tracks.ids)
        known = rows >= 0
        points, rays = np.zeros((len(tracks), 3)), np.zeros((len(tracks), 3))
        points[known] = self._map.points[rows[known]]
        for keyframe_id in np.unique(tracks.keyframe_ids[~known]):
            mine = ~known & (tracks.keyframe_ids == keyframe_id)
            keyframe = self._map.keyframes.get(int(keyframe_id))
            T = self._T_odom_cam if keyframe is None else keyframe.T_odom_cam
            ray = bearings(tracks.keyframe_xy[mine], self._K) * self._typical_depth
            points[mine] = transform(T, ray)
            rays[mine] = ASSUMED_DEPTH_SIGMA * ray @ T[:3, :3].T
        return Correspondences(points, rays, tracks.xy.astype(np.float64)), known

    def _predicted_xy(self, T_cam_odom: np.ndarray) -> np.ndarray:
        seen, _ = self._seen()
        points_cam = transform(T_cam_odom, seen.points)
        xy = project(self._K, points_cam)
        size = np.array(self._size[::-1] if self._size else (0, 0))
        usable = (points_cam[:, 2] > 0) & (xy > -20).all(1) & (xy < size + 20).all(1)
        return np.where(usable[:, None], xy, seen.xy)

    def _refine(self, predicted: np.ndarray) -> PoseEstimate | None:
        """Pose from all tracks near a prediction, by RANSAC when that fails; None when lost."""
        seen, known = self._seen()
        if len(seen.xy) < MIN_DEGRADED:
            return None
        K, sigma = self._K, self.settings.pixel_sigma
        pose = refine_pose(predicted, seen, K, sigma)
        if pose.inliers.sum() < 0.5 * len(seen.xy) and known.sum() >= self.settings.min_inliers:
            start, _ = ransac_pose(seen.points[known], seen.xy[known], K)
            if start is not None:
                other = refine_pose(start, seen, K, sigma)
                pose = max(pose, other, key=lambda p: int(p.inliers.sum()))
        enough = pose.inliers.sum() >= max(MIN_DEGRADED, 0.3 * len(seen.xy))
        return pose if enough and np.isfinite(pose.covariance).all() else None

    # --- keyframes -----------------------------------------------------------------------------

    def _needs_keyframe(self) -> bool:
        tracks, last = self._klt.tracks, self._map.last
        at = np.minimum(np.searchsorted(last.ids, tracks.ids), len(last.ids) - 1)
        shared = last.ids[at] == tracks.ids
        known = self._map.rows(tracks.ids) >= 0
        if known.sum() < self.settings.keyframe_overlap * self._keyframe_landmarks or shared.sum() < 50:
            return True
        if len(tracks) < 0.6 * self.settings.max_tracks:
            return True
        turned = invert(self._T_odom_cam) @ last.T_odom_cam
        rays = bearings(last.xy[at[shared]], self._K) @ turned[:3, :3].T
        parallax = np.linalg.norm(project(self._K, rays) - tracks.xy[shared], axis=1)
        return float(np.median(parallax)) > self.settings.keyframe_parallax_px

    def _add_keyframe(self, stamp_ns: int, image: np.ndarray) -> None:
        klt, K = self._klt, self._K
        remove_drift(self._map, klt.tracks, image, self._T_odom_cam, K)
        klt.add(reobserve(self._map, klt.tracks, image, self._T_odom_cam, K))
        self._repeat_pose()
        triangulate_tracks(self._map, klt.tracks, self._T_odom_cam, K, self.settings)
        klt.detect(image)
        tracks = klt.tracks
        keyframe = self._map.add_keyframe(stamp_ns, self._T_odom_cam, tracks.ids, tracks.xy, image)
        fresh = tracks.keyframe_ids < 0
        tracks.keyframe_ids[fresh], tracks.keyframe_xy[fresh] = keyframe.id, tracks.xy[fresh]
        self._map.cull()
        rows = self._map.rows(tracks.ids)
        depth = transform(invert(self._T_odom_cam), self._map.points[rows[rows >= 0]])[:, 2]
        self._keyframe_landmarks = int((rows >= 0).sum())
        if len(depth):
            self._typical_depth = float(np.median(depth))
        self._send_window()

    def _repeat_pose(self) -> None:
        """Pose of the latest image again, after its tracks were corrected or joined by others."""
        pose = self._refine(invert(self._T_odom_cam))
        if pose is not None:
            self._klt.keep(pose.inliers)
            self._T_odom_cam = orthonormalise(invert(pose.T_cam_odom))

    def _send_window(self) -> None:
        if not self.settings.bundle_adjustment or self._worker.busy:
            return
        window = self._map.window(self._K)
        if window is not None and self._worker.submit(window.problem):
            self._window = window

    def _take_window(self) -> None:
        solution = self._worker.result(wait=self.settings.lock_step)
        if solution is None or self._window is None:
            return
        correction = self._map.apply(self._window, solution)
        if correction is not None:
            self._T_odom_cam = correction @ self._T_odom_cam

    # --- loss ----------------------------------------------------------------------------------

    def _lose(self, stamp_ns: int, reason: str) -> OdometryEstimate:
        self._lost_since_ns = stamp_ns
        self._velocity[:] = 0
        self._klt.reset()
        return self._absent(stamp_ns, TrackingState.LOST, reason)

    def _recover(self, stamp_ns: int, image: np.ndarray) -> OdometryEstimate:
        assert self._lost_since_ns is not None
        pose = self._relocaliser.locate(image, self._map, self._K)
        if pose is not None:
            T_odom_cam = orthonormalise(invert(pose.T_cam_odom))
            found = reobserve(self._map, Tracks.empty(), image, T_odom_cam, self._K)
            if len(found) >= 2 * self.settings.min_inliers:
                return self._resume(stamp_ns, image, pose.T_cam_odom, found)
        if stamp_ns - self._lost_since_ns > self.settings.relocalise_s * 1e9:
            lost_since = self._lost_since_ns
            self._restart(self._T_odom_cam)
            self._lost_since_ns, self._size = lost_since, image.shape
        return self._absent(stamp_ns, TrackingState.LOST, "not found in the local map")

    def _resume(
        self, stamp_ns: int, image: np.ndarray, T_cam_odom: np.ndarray, found: Tracks
    ) -> OdometryEstimate:
        self._klt.reset()
        self._klt.follow_into(image, np.zeros((0, 2)))
        self._klt.add(found)
        pose = self._refine(T_cam_odom)
        if pose is None:
            self._klt.reset()
            return self._absent(stamp_ns, TrackingState.LOST, "relocalisation not confirmed")
        self._klt.keep(pose.inliers)
        self._T_odom_cam = orthonormalise(invert(pose.T_cam_odom))
        self._lost_since_ns = None
        estimate = self._present(stamp_ns, pose, True)
        self._add_keyframe(stamp_ns, image)
        return estimate

    # --- results -------------------------------------------------------------------------------

    def _absent(self, stamp_ns: int, state: TrackingState, message: str) -> OdometryEstimate:
        self._visible = (np.zeros((0, 3)), np.zeros((0, 2)))
        return OdometryEstimate(stamp_ns, state, None, None, tracked=len(self._klt.tracks), message=message)

    def _present(self, stamp_ns: int, pose: PoseEstimate | None, keyframe: bool) -> OdometryEstimate:
        tracks = self._klt.tracks
        rows = self._map.rows(tracks.ids)
        known = rows >= 0
        if pose is None:
            return self._lose(stamp_ns, "the new map does not fit its own frame")
        points_cam = transform(invert(self._T_odom_cam), self._map.points[rows[known]])
        self._visible = (points_cam, tracks.xy[known].astype(np.float64))
        rotation = np.kron(np.eye(2), self._T_odom_cam[:3, :3])
        covariance = rotation @ pose.covariance @ rotation.T
        enough = known.sum() >= self.settings.min_inliers
        return OdometryEstimate(
            stamp_ns,
            TrackingState.TRACKING if enough else TrackingState.DEGRADED,
            self._T_odom_cam.copy(),
            0.5 * (covariance + covariance.T),
            ScaleState.UNSCALED,
            inliers=int(known.sum()),
            tracked=len(tracks),
            is_keyframe=keyframe,
            message="" if enough else f"{int(known.sum())} landmarks in view",
        )


def motion_of(T: np.ndarray) -> np.ndarray:
    """(4, 4) motion -> (6,) translation and rotation vector, the inverse of `exp_se3`."""
    return np.concatenate([T[:3, 3], log_so3(T[:3, :3])])


def refined(view: TwoView, xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray, sigma_px: float) -> TwoView:
    """Bundle-adjust two views; the baseline is set back to one."""
    n = int(view.good.sum())
    problem = BundleProblem(
        K, np.stack([np.eye(4), view.T_b_a]), 1, view.points_a[view.good], np.repeat([0, 1], n),
        np.tile(np.arange(n), 2), np.concatenate([xy_a[view.good], xy_b[view.good]]).astype(np.float64), sigma_px,
    )  # fmt: skip
    solution = solve_bundle(problem, iterations=20)
    length = float(np.linalg.norm(solution.T_cam_odom[1, :3, 3]))
    T_b_a, points = solution.T_cam_odom[1].copy(), view.points_a.copy()
    T_b_a[:3, 3] /= length
    points[view.good] = solution.points / length
    good = view.good.copy()
    good[view.good] = (solution.chi2.reshape(2, n) < 9.21).all(0) & (solution.points[:, 2] > 0)
    return TwoView(T_b_a, points, good)
