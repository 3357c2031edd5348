"""One frame against the local map: tracks followed, then the pose that explains them."""

from __future__ import annotations

import numpy as np

from vision_nodes.odometry.feature_front_end import make_front_end
from vision_nodes.odometry.geometry import bearings, invert, project, transform
from vision_nodes.odometry.local_map import LocalMap
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.odometry.tracking import Correspondences, PoseEstimate, ransac_pose, refine_pose

ASSUMED_DEPTH_SIGMA = 0.7  # relative, of a point whose depth is taken from its surroundings
MIN_POINTS = 20  # of any kind: fewer make no pose
MIN_SHARE = 0.3  # of all tracks that must agree with the pose


class FrameTracker:
    """The tracks of the latest image and the map they belong to."""

    def __init__(self, settings: OdometrySettings) -> None:
        self.settings = settings
        self.klt = make_front_end(settings)
        self.map = LocalMap(settings)
        self.K = np.eye(3)
        self.typical_depth = 1.0

    def clear(self) -> None:
        """Forget tracks and map."""
        self.klt.reset()
        self.map.clear()

    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) bool: the track is a landmark, and the (M,) rows of those landmarks."""
        rows = self.map.rows(self.klt.tracks.ids)
        return rows >= 0, rows[rows >= 0]

    def track(self, image: np.ndarray, predicted: np.ndarray, T_odom_cam: np.ndarray) -> PoseEstimate | None:
        """Follow all tracks into `image` and estimate its pose; outliers are dropped.

        Args:
            image: (H, W) uint8.
            predicted: (4, 4) T_cam_odom expected for this image.
            T_odom_cam: (4, 4) of the previous image.

        Returns:
            None when too few tracks agree.
        """
        self.klt.follow_into(image, self._expected_xy(predicted, T_odom_cam))
        return self.estimate(predicted)

    def estimate(self, predicted: np.ndarray) -> PoseEstimate | None:
        """Pose of the latest image from its tracks, near a prediction or by RANSAC; outliers are dropped."""
        seen, known = self._correspondences()
        if len(seen.xy) < MIN_POINTS:
            return None
        pose = refine_pose(predicted, seen, self.K, self.settings.pixel_sigma)
        if pose.inliers.sum() < 0.5 * len(seen.xy) and known.sum() >= self.settings.min_inliers:
            start, _ = ransac_pose(seen.points[known], seen.xy[known], self.K)
            if start is not None:
                other = refine_pose(start, seen, self.K, self.settings.pixel_sigma)
                pose = max(pose, other, key=lambda p: int(p.inliers.sum()))
        enough = pose.inliers.sum() >= max(MIN_POINTS, MIN_SHARE * len(seen.xy))
        if not enough or not np.isfinite(pose.covariance).all():
            return None
        self.klt.keep(pose.inliers)
        return pose

    def visible(self, T_odom_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks in view: (N, 3) in the camera frame and their (N, 2) float64 px."""
        known, rows = self.known()
        points_cam = transform(invert(T_odom_cam), self.map.points[rows])
        return points_cam, self.klt.tracks.xy[known].astype(np.float64)

    def _correspondences(self) -> tuple[Correspondences, np.ndarray]:
        """Every track as a correspondence, and (N,) bool: its depth is known."""
        tracks = self.klt.tracks
        rows = self.map.rows(tracks.ids)
        known = rows >= 0
        points, rays = np.zeros((len(tracks), 3)), np.zeros((len(tracks), 3))
        points[known] = self.map.points[rows[known]]
        for keyframe_id in np.unique(tracks.keyframe_ids[~known]):
            mine = ~known & (tracks.keyframe_ids == keyframe_id)
            keyframe = self.map.keyframes.get(int(keyframe_id))
            if keyframe is None:  # culled: such a track says nothing any more
                rays[mine] = 1e6
                continue
            ray = bearings(tracks.keyframe_xy[mine], self.K) * self.typical_depth
            points[mine] = transform(keyframe.T_odom_cam, ray)
            rays[mine] = ASSUMED_DEPTH_SIGMA * ray @ keyframe.T_odom_cam[:3, :3].T
        return Correspondences(points, rays, tracks.xy.astype(np.float64)), known

    def _expected_xy(self, predicted: np.ndarray, T_odom_cam: np.ndarray) -> np.ndarray:
        """(N, 2) px where the tracks should be: moved by what the prediction moves their points."""
        seen, _ = self._correspondences()
        now = transform(predicted, seen.points)
        before = project(self.K, transform(invert(T_odom_cam), seen.points))
        shift = project(self.K, now) - before
        usable = (now[:, 2] > 0) & (np.abs(shift) < 250).all(1) & ~(seen.rays > 1e5).any(1)
        return seen.xy + np.where(usable[:, None], shift, 0.0)
