"""When a keyframe is made, what goes into it, and the optimisation that follows."""

from __future__ import annotations

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap
from vision_nodes.odometry.bundle_adjustment import BundleProblem, solve_bundle
from vision_nodes.odometry.drift import keyframe_covariance
from vision_nodes.odometry.focal_check import FocalCheck, solve_window
from vision_nodes.odometry.frame_tracker import FrameTracker
from vision_nodes.odometry.geometry import bearings, invert, orthonormalise, project, transform
from vision_nodes.odometry.initialisation import TwoView
from vision_nodes.odometry.klt import Tracks
from vision_nodes.odometry.local_map import Keyframe, Window
from vision_nodes.odometry.mapping import (
    find_again,
    landmarks_from_depth,
    triangulate_tracks,
)
from vision_nodes.odometry.start import Image
from vision_nodes.odometry.tracking import PoseEstimate
from vision_nodes.solver_process import SolverProcess

MIN_SHARED = 50  # tracks in common with the last keyframe
SOLVE_TIMEOUT_S = (
    120.0  # a solve takes 0.1 s; even on an overloaded machine the process counts as dead after this
)
MIN_FILL = 0.6  # share of `max_tracks` below which new corners are needed


class Mapper:
    """Adds to the map of a `FrameTracker`."""

    def __init__(self, tracker: FrameTracker) -> None:
        self.tracker = tracker
        self._worker = SolverProcess(solve_window, "bundle adjustment", SOLVE_TIMEOUT_S)
        self.focal = FocalCheck()
        self._window: Window | None = None
        self._unfinished: tuple[Image, PoseEstimate, float] | None = None  # with the map's unit then
        self._due = False  # a keyframe has not been optimised yet
        self._landmarks_at_keyframe = 0
        # Median depth the next two-view map is given: after a loss the old map's is the best guess of its unit.
        self.unit_depth: float | None = None

    def close(self) -> None:
        """Stop the optimiser's process."""
        self._worker.close()

    def needs_keyframe(self, T_odom_cam: np.ndarray) -> bool:
        """Too little in common with the last keyframe, or enough parallax to learn from."""
        settings, tracks, last = self.tracker.settings, self.tracker.klt.tracks, self.tracker.map.last
        at = np.minimum(np.searchsorted(last.ids, tracks.ids), max(len(last.ids) - 1, 0))
        shared = last.ids[at] == tracks.ids if len(last.ids) else np.zeros(len(tracks), bool)
        known, _ = self.tracker.known()
        if known.sum() < settings.keyframe_overlap * self._landmarks_at_keyframe:
            return True
        if shared.sum() < MIN_SHARED or len(tracks) < MIN_FILL * settings.max_tracks:
            return True
        T_cam_last = invert(T_odom_cam) @ last.T_odom_cam
        rays = bearings(last.xy[at[shared]], self.tracker.K) @ T_cam_last[:3, :3].T
        parallax = np.linalg.norm(project(self.tracker.K, rays) - tracks.xy[shared], axis=1)
        return float(np.median(parallax)) > settings.keyframe_parallax_px

    def first_map(self, first: Image, now: Image, view: TwoView, T_odom_first: np.ndarray) -> np.ndarray:
        """Map of two views, the first camera at `T_odom_first`; returns T_odom_cam of the second."""
        tracker = self.tracker
        tracks = tracker.klt.tracks
        view = refined(view, tracks.keyframe_xy, tracks.xy, tracker.K, tracker.settings.pixel_sigma)
        keyframe = tracker.map.add_keyframe(
            first.stamp_ns, T_odom_first, tracks.ids, tracks.keyframe_xy, first.gray
        )
        tracks.keyframe_ids[:] = keyframe.id
        tracker.map.add_landmarks(tracks.ids[view.good], transform(T_odom_first, view.points_a[view.good]))
        tracker.typical_depth = float(np.median(view.points_a[view.good, 2]))
        T_odom_cam = T_odom_first @ invert(view.T_b_a)
        if self.unit_depth is not None:
            ratio, centre = self.unit_depth / tracker.typical_depth, T_odom_first[:3, 3].copy()
            tracker.map.rescale(ratio, centre)
            tracker.typical_depth = self.unit_depth
            T_odom_cam[:3, 3] = centre + ratio * (T_odom_cam[:3, 3] - centre)
            self.unit_depth = None
        return T_odom_cam

    def map_from_depth(
        self, first: Image, T_odom_cam: np.ndarray, depth: DepthMap, camera: CameraModel
    ) -> bool:
        """Map of one view with a depth camera's image of it; False when the depth covers too few tracks.

        The tracks may have moved on to later images already: the view is stored as they began.
        """
        tracker = self.tracker
        tracks = tracker.klt.tracks
        then = Tracks(tracks.ids, tracks.keyframe_xy, tracks.keyframe_ids, tracks.keyframe_xy)
        keyframe = self.store(first, then, T_odom_cam)
        count = landmarks_from_depth(tracker.map, keyframe, depth, camera, tracker.K)
        if count < tracker.settings.min_init_points:
            tracker.map.clear()
            tracks.keyframe_ids[:] = -1
            return False
        self._landmarks_at_keyframe = count
        tracker.typical_depth = float(np.median(tracker.visible(T_odom_cam)[0][:, 2]))
        return True

    def add_keyframe(self, image: Image, pose: PoseEstimate) -> PoseEstimate:
        """Make the latest image a keyframe; its pose is estimated again with what it contributes.

        The other half of the work, `finish_keyframe`, has time until the next image.
        """
        tracker = self.tracker
        klt, T_odom_cam = tracker.klt, invert(pose.T_cam_odom)
        klt.add(find_again(tracker.map, klt.tracks, image.gray, T_odom_cam, tracker.K))
        pose = tracker.estimate(pose.T_cam_odom) or pose
        triangulate_tracks(
            tracker.map, klt.tracks, orthonormalise(invert(pose.T_cam_odom)), tracker.K, tracker.settings
        )
        self._unfinished = (image, pose, tracker.map.unit)
        return pose

    @property
    def unfinished(self) -> bool:
        """The latest keyframe is not in the map yet."""
        return self._unfinished is not None

    def forget_unfinished(self) -> None:
        """The map it belongs to is gone."""
        self._unfinished = None

    def finish_keyframe(self, T_odom_cam: np.ndarray) -> None:
        """Add corners to the latest keyframe and put it into the map.

        Args:
            T_odom_cam: (4, 4) its pose, as it was published.
        """
        if self._unfinished is None:
            return
        (image, pose, unit), self._unfinished = self._unfinished, None
        tracker = self.tracker
        tracker.klt.detect(image.gray)
        keyframe = self.store(image, tracker.klt.tracks, T_odom_cam)
        covariance = pose.covariance_in_unit(tracker.map.unit / unit)
        keyframe.covariance = keyframe_covariance(tracker.map, keyframe, covariance, tracker.typical_depth)
        tracker.map.cull()
        self._due = True

    def store(self, image: Image, tracks: Tracks, T_odom_cam: np.ndarray) -> Keyframe:
        """Put the latest image with all its tracks into the map."""
        tracker = self.tracker
        keyframe = tracker.map.add_keyframe(image.stamp_ns, T_odom_cam, tracks.ids, tracks.xy, image.gray)
        fresh = tracks.keyframe_ids < 0
        tracks.keyframe_ids[fresh], tracks.keyframe_xy[fresh] = keyframe.id, tracks.xy[fresh]
        points_cam, _ = tracker.visible(T_odom_cam)
        self._landmarks_at_keyframe = len(points_cam)
        if len(points_cam):
            tracker.typical_depth = float(np.median(points_cam[:, 2]))
        return keyframe

    def optimise(self) -> None:
        """Send the newest keyframe's window to the worker; while it is busy, the window stays due."""
        if not self._due or not self.tracker.settings.bundle_adjustment or self._worker.busy:
            return
        self._due = False
        window = self.tracker.map.window(self.tracker.K)
        if window is not None and self._worker.submit(window.problem):
            self._window = window

    def take_optimised(self) -> np.ndarray:
        """Take over a finished optimisation; returns the (4, 4) correction of current poses, on the left."""
        solution = self._worker.result(wait=self.tracker.settings.lock_step)
        if solution is None or self._window is None:
            return np.eye(4)
        if self._window.generation == self.tracker.map.generation:
            self.focal.add(solution.focal)
        correction = self.tracker.map.apply(self._window, solution)
        return np.eye(4) if correction is None else correction


def refined(view: TwoView, xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray, sigma_px: float) -> TwoView:
    """Bundle-adjust two views; the baseline is set back to one."""
    n = int(view.good.sum())
    problem = BundleProblem(
        K=K,
        T_cam_odom=np.stack([np.eye(4), view.T_b_a]),
        fixed=1,
        points=view.points_a[view.good],
        cameras=np.repeat([0, 1], n),
        landmarks=np.tile(np.arange(n), 2),
        xy=np.concatenate([xy_a[view.good], xy_b[view.good]]).astype(np.float64),
        sigma_px=sigma_px,
    )
    solution = solve_bundle(problem, iterations=20)
    length = float(np.linalg.norm(solution.T_cam_odom[1, :3, 3]))
    T_b_a, points = solution.T_cam_odom[1].copy(), view.points_a.copy()
    T_b_a[:3, 3] /= length
    points[view.good] = solution.points / length
    good = view.good.copy()
    good[view.good] = (solution.chi2.reshape(2, n) < 9.21).all(0) & (solution.points[:, 2] > 0)
    return TwoView(T_b_a, points, good)
