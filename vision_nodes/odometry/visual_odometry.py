"""Monocular visual odometry: a pose for every frame, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap, OdometryEstimate, TrackingState
from vision_nodes.odometry.drift import frame_covariance
from vision_nodes.odometry.frame_tracker import FrameTracker
from vision_nodes.odometry.geometry import exp_se3, invert, log_se3, orthonormalise
from vision_nodes.odometry.mapper import Mapper
from vision_nodes.odometry.mapping import landmarks_from_depth
from vision_nodes.odometry.relocalisation import Relocaliser
from vision_nodes.odometry.scale_control import ScaleControl, StampedDepth
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.odometry.start import Image, MapStart
from vision_nodes.odometry.tracking import PoseEstimate
from vision_nodes.preprocess.frame import Frame

# REP 103: a forward-looking optical frame (x right, y down, z forward) in odom (x forward, y left, z up).
T_ODOM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
MAX_PREDICTED_S = 0.2  # a constant velocity says nothing about longer gaps
SEARCH_EVERY = 3  # frames between looks into the old map while a new one is being started


@dataclass(frozen=True)
class _Outcome:
    """What one frame led to, before it is put into metres and published."""

    state: TrackingState
    pose: PoseEstimate | None = None
    message: str = ""
    keyframe: bool = False
    unit: float = 1.0  # the map's, in which the pose's covariance is given


class VisualOdometry:
    """Feed frames in order, from one thread; `add_depth` and `add_wheel_odometry` may come from others.

    The pose is published in the map's unit (first baseline = 1) when `settings.scale` is `unscaled`. Otherwise
    the state stays `initialising` until the scale is known (or `scale_timeout_s` has passed), and from then on the map
    itself is in metres: later corrections stretch it about the present camera, so that the pose does not jump.
    """

    def __init__(
        self, settings: OdometrySettings | None = None, T_odom_cam0: np.ndarray | None = None
    ) -> None:
        self.settings = settings or OdometrySettings()
        self._T_start = T_ODOM_OPTICAL.copy() if T_odom_cam0 is None else np.array(T_odom_cam0, np.float64)
        self._tracker = FrameTracker(self.settings)
        self._mapper = Mapper(self._tracker)
        self._start = MapStart(self._tracker)
        self._scale = ScaleControl(self.settings)
        self._relocaliser = Relocaliser(self.settings.pixel_sigma)
        self._size_hw: tuple[int, ...] = ()
        self._T_odom_cam: np.ndarray = self._T_start
        self._stamp_ns: int = -1
        self._restart(self._T_start)

    def __enter__(self) -> VisualOdometry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the optimiser's process."""
        self._mapper.close()

    def reset(self) -> None:
        """Forget the map; the next one starts at the last pose, so that odom stays continuous."""
        self._restart(self._T_odom_cam)

    def set_pose(self, T_odom_cam: np.ndarray) -> None:
        """Forget the map; the next one starts at `T_odom_cam` (4, 4), as does every later clean restart."""
        self._T_start = np.array(T_odom_cam, np.float64)
        self._restart(self._T_start)

    def add_depth(self, stamp_ns: int, depth: DepthMap, camera: CameraModel, sensor: bool = False) -> None:
        """Depth of the frame with this stamp, which may be past or still to come.

        Args:
            camera: intrinsics of the depth map, same optical centre as the frames.
            sensor: a depth camera: it also gives new landmarks their depth, and a map without motion.
        """
        self._scale.add_depth(StampedDepth(int(stamp_ns), depth, camera, sensor))

    def add_wheel_odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """Pose (4, 4) of the base from the wheels, metres, in the wheels' own odom frame."""
        self._scale.add_wheels(stamp_ns, T_odom_base)

    def landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """Map points in view of the latest frame: (N, 3) float64 in the camera frame, and (N, 2) px."""
        return self._visible

    def process(self, frame: Frame) -> OdometryEstimate:
        """Pose of one frame; stamps that go backwards start over at the start pose."""
        if frame.camera is None:
            return OdometryEstimate(
                frame.stamp_ns, TrackingState.INITIALISING, None, None, message="uncalibrated"
            )
        image = Image(frame.stamp_ns, frame.gray())
        self._restart_if_changed(image, frame.camera.K)
        self._mapper.finish_keyframe(self._T_odom_cam)
        self._T_odom_cam = self._mapper.take_optimised() @ self._T_odom_cam
        self._mapper.optimise()
        self._use_depths(self._stamp_ns)
        if self._tracker.map.keyframes:
            step = self._track if self._lost_since_ns is None else self._recover
        else:
            step = self._initialise
        outcome = step(image)
        self._stamp_ns = image.stamp_ns
        self._see(outcome)
        self._use_depths(image.stamp_ns - int(self._mapper.unfinished))  # its corners are still to come
        return self._estimate(outcome)

    def _restart(self, T_odom_cam: np.ndarray) -> None:
        """Start over: the next map's first camera will be at `T_odom_cam`."""
        self._tracker.clear()
        self._mapper.forget_unfinished()
        self._scale.restart()
        self._relocaliser.clear()
        self._T_odom_cam = T_odom_cam.copy()
        self._velocity = np.zeros(6)  # left motion of T_cam_odom per second
        self._stamp_ns = -1
        self._lost_since_ns: int | None = None
        self._lost_frames = 0
        self._start.clear()
        self._visible = (np.zeros((0, 3)), np.zeros((0, 2)))

    def _restart_if_changed(self, image: Image, K: np.ndarray) -> None:
        if image.stamp_ns < self._stamp_ns:
            self._restart(self._T_start)
        elif self._size_hw and (image.gray.shape != self._size_hw or not np.array_equal(K, self._tracker.K)):
            self._mapper.unit_depth = self._tracker.typical_depth if self._tracker.map.keyframes else None
            self._restart(self._T_odom_cam)
        if not np.array_equal(K, self._tracker.K):
            self._mapper.focal.restart()
        self._size_hw, self._tracker.K = image.gray.shape, K

    # --- first map ---

    def _initialise(self, image: Image) -> _Outcome:
        waiting = TrackingState.INITIALISING if self._lost_since_ns is None else TrackingState.LOST
        view, reason = self._start.attempt(image)
        first = self._start.first
        if view is None or first is None:
            return _Outcome(waiting, message=reason)
        self._forget_map()
        T_odom_cam = self._mapper.first_map(first, image, view, self._T_odom_cam)
        pose = self._tracker.estimate(invert(T_odom_cam))
        if pose is None:
            self._tracker.clear()
            self._start.clear()
            return _Outcome(waiting, message="the first map does not explain its own views")
        self._lost_since_ns = None
        self._start.clear()
        return self._accept(image, pose, keyframe=True)

    # --- tracking ---

    def _track(self, image: Image) -> _Outcome:
        elapsed = (image.stamp_ns - self._stamp_ns) * 1e-9
        motion = exp_se3(self._velocity * min(elapsed, MAX_PREDICTED_S))
        predicted = motion @ invert(self._T_odom_cam)
        pose = self._tracker.track(image.gray, predicted, self._T_odom_cam)
        if pose is None:
            return self._lose(image)
        if elapsed > 0:
            self._velocity = log_se3(pose.T_cam_odom @ self._T_odom_cam) / elapsed
        return self._accept(image, pose, self._mapper.needs_keyframe(invert(pose.T_cam_odom)))

    def _accept(self, image: Image, pose: PoseEstimate, keyframe: bool) -> _Outcome:
        if keyframe:
            pose = self._mapper.add_keyframe(image, pose)
        self._T_odom_cam = orthonormalise(invert(pose.T_cam_odom))
        known, rows = self._tracker.known()
        unit = self._tracker.map.unit
        if keyframe:
            self._stretch(self._scale.factor_at_keyframe(self._tracker.map, rows))
        if known.sum() < self.settings.min_inliers:
            reason = f"{int(known.sum())} landmarks in view"
            return _Outcome(TrackingState.DEGRADED, pose, reason, keyframe, unit)
        if self._mapper.focal.complaint:
            return _Outcome(TrackingState.DEGRADED, pose, self._mapper.focal.complaint, keyframe, unit)
        return _Outcome(TrackingState.TRACKING, pose, "", keyframe, unit)

    # --- loss ---

    def _lose(self, image: Image) -> _Outcome:
        tracks = len(self._tracker.klt.tracks)
        self._lost_since_ns = image.stamp_ns
        self._lost_frames = 0
        self._start.clear()
        self._velocity = np.zeros(6)
        self._tracker.klt.reset()
        return _Outcome(TrackingState.LOST, message=f"no pose agrees with the {tracks} tracks left")

    def _recover(self, image: Image) -> _Outcome:
        """Look for the image in the old map; after a while a new one may replace it, whichever comes first."""
        assert self._lost_since_ns is not None
        self._lost_frames += 1
        waited = image.stamp_ns - self._lost_since_ns > self.settings.relocalise_s * 1e9
        pose = None
        if not waited or self._lost_frames % SEARCH_EVERY == 0:
            pose = self._relocaliser.recover(self._tracker, image.gray)
        if pose is not None:
            self._lost_since_ns = None
            self._start.clear()
            return self._accept(image, pose, keyframe=True)
        if waited:
            return self._initialise(image)
        return _Outcome(TrackingState.LOST, message="not found in the local map")

    def _forget_map(self) -> None:
        """Make room for a new map that takes the unit of the old one, as far as depth tells it."""
        if self._tracker.map.keyframes:
            self._mapper.unit_depth = self._tracker.typical_depth
            self._tracker.map.clear()
            self._scale.restart()
            self._relocaliser.clear()

    # --- scale ---

    def _use_depths(self, until_ns: int) -> None:
        for item in self._scale.take_depths(until_ns):
            local_map = self._tracker.map
            if self._start.first is not None:
                self._map_from_depth(item)
                continue
            self._stretch(self._scale.factor_from_depth(item, local_map))
            if item.sensor and item.depth.metric and self._scale.filter.known:
                for keyframe in reversed(local_map.keyframes.values()):
                    if keyframe.stamp_ns == item.stamp_ns:
                        landmarks_from_depth(local_map, keyframe, item.depth, item.camera, self._tracker.K)

    def _map_from_depth(self, item: StampedDepth) -> None:
        """A depth camera's image of the first view makes the map at once, without motion."""
        first = self._start.first
        if not item.sensor or not item.depth.metric or first is None or first.stamp_ns != item.stamp_ns:
            return
        self._forget_map()
        if self._mapper.map_from_depth(first, self._T_odom_cam, item.depth, item.camera):
            self._mapper.unit_depth = None
            self._start.clear()
            self._scale.assume_metric()
            self._lost_since_ns = None

    def _stretch(self, factor: float) -> None:
        """Put the map and all that depends on its unit into a new unit, the camera staying in place."""
        if factor == 1.0:
            return
        self._tracker.map.rescale(factor, self._T_odom_cam[:3, 3].copy())
        self._tracker.typical_depth *= factor
        self._velocity[:3] *= factor
        self._visible = (self._visible[0] * factor, self._visible[1])

    # --- results ---

    def _see(self, outcome: _Outcome) -> None:
        """Keep what the frame shows of the map, for `landmarks` and for depth that comes later."""
        if outcome.pose is None:
            self._visible = (np.zeros((0, 3)), np.zeros((0, 2)))
            return
        self._visible = self._tracker.visible(self._T_odom_cam)
        self._scale.remember(self._stamp_ns, self._visible[0], self._tracker.map)

    def _estimate(self, outcome: _Outcome) -> OdometryEstimate:
        tracked, scale = len(self._tracker.klt.tracks), self._scale
        if outcome.pose is not None and scale.waiting(self._stamp_ns):
            outcome = _Outcome(TrackingState.INITIALISING, message=f"waiting for scale {self.settings.scale}")
        if outcome.pose is None:
            return OdometryEstimate(
                self._stamp_ns, outcome.state, None, None, tracked=tracked, message=outcome.message
            )
        sigma = scale.filter.sigma
        covariance = frame_covariance(
            self._tracker.map.last,
            self._T_odom_cam,
            outcome.pose.covariance_in_unit(self._tracker.map.unit / outcome.unit),
            0.0 if np.isnan(sigma) else sigma,
        )
        return OdometryEstimate(
            self._stamp_ns,
            outcome.state,
            self._T_odom_cam.copy(),
            covariance,
            scale.state,
            sigma,
            inliers=len(self._visible[0]),
            tracked=tracked,
            is_keyframe=outcome.keyframe,
            message=outcome.message,
        )
