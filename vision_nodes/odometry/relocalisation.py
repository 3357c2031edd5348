"""Where is this image in the local map, without any prediction: ORB on landmarks, then PnP.

Rublee et al. 2011 (ORB), Klein & Murray 2008 (ranking keyframes by small blurred images).
"""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.odometry.frame_tracker import FrameTracker
from vision_nodes.odometry.geometry import invert, orthonormalise
from vision_nodes.odometry.klt import Tracks
from vision_nodes.odometry.local_map import Keyframe, LocalMap
from vision_nodes.odometry.mapping import find_again
from vision_nodes.odometry.tracking import Correspondences, PoseEstimate, ransac_pose, refine_pose

CANDIDATES = 6  # keyframes compared per image
BLUR_PENALTY = 0.15  # similarity a keyframe loses per halving of sharpness: nothing is matched with a blur
MIN_INLIERS = 15
RATIO = 0.85  # Lowe's ratio test between the two best landmarks of one keyframe
MAX_HAMMING = 64
SCALES = (1.0, 1.44)  # landmarks are described at these image scales; ORB's pyramid covers the rest
ORIENTATION_RADIUS = 15


class Relocaliser:
    """Describes keyframes when first asked for; forgets those the map has dropped."""

    def __init__(self, sigma_px: float) -> None:
        self._sigma_px = sigma_px
        self._orb = cv2.ORB_create(1000, fastThreshold=10)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
        self._described: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # keyframe -> (track ids, descriptors)
        self._thumbnails: dict[int, np.ndarray] = {}
        self._sharpness: dict[int, float] = {}

    def locate(self, image: np.ndarray, local_map: LocalMap, K: np.ndarray) -> PoseEstimate | None:
        """Pose of `image` (H, W) uint8 in the map, or None."""
        keypoints, descriptors = self._orb.detectAndCompute(image, None)
        if descriptors is None or len(keypoints) < MIN_INLIERS or not local_map.keyframes:
            return None
        xy = np.array([k.pt for k in keypoints])
        pairs = [self._match(k, local_map, descriptors, xy) for k in self._candidates(image, local_map)]
        points, pixels = np.concatenate([p for p, _ in pairs]), np.concatenate([q for _, q in pairs])
        T_cam_odom, inliers = ransac_pose(points, pixels, K)
        if T_cam_odom is None or inliers.sum() < MIN_INLIERS:
            return None
        chosen = Correspondences(points[inliers], np.zeros((int(inliers.sum()), 3)), pixels[inliers])
        # An ORB keypoint of a pyramid level is about twice as coarse as a KLT position.
        pose = refine_pose(T_cam_odom, chosen, K, 2 * self._sigma_px)
        distinct = len(np.unique(points[inliers][pose.inliers], axis=0))
        return pose if distinct >= MIN_INLIERS else None

    def recover(self, tracker: FrameTracker, image: np.ndarray) -> PoseEstimate | None:
        """Pose of `image` in the tracker's map, whose landmarks it then follows; None leaves the tracker as it is."""
        found = self.locate(image, tracker.map, tracker.K)
        if found is None:
            return None
        before = tracker.klt.state
        tracker.klt.restart_at(image)
        T_odom_cam = orthonormalise(invert(found.T_cam_odom))
        tracker.klt.add(find_again(tracker.map, Tracks.empty(), image, T_odom_cam, tracker.K))
        pose = tracker.estimate(found.T_cam_odom)
        if pose is None:
            tracker.klt.state = before
        return pose

    def clear(self) -> None:
        """Forget all descriptions."""
        self._described.clear()
        self._thumbnails.clear()
        self._sharpness.clear()

    def _candidates(self, image: np.ndarray, local_map: LocalMap) -> list[Keyframe]:
        for gone in set(self._thumbnails) - set(local_map.keyframes):
            self._thumbnails.pop(gone, None)
            self._sharpness.pop(gone, None)
            self._described.pop(gone, None)
        own = thumbnail(image)
        keyframes = list(local_map.keyframes.values())
        for keyframe in keyframes:
            if keyframe.id not in self._thumbnails:
                self._thumbnails[keyframe.id] = thumbnail(keyframe.image)
                self._sharpness[keyframe.id] = sharpness(keyframe.image)
        usual = float(np.median([self._sharpness[k.id] for k in keyframes]))
        score = [
            float((self._thumbnails[k.id] * own).sum())
            - BLUR_PENALTY * max(0.0, float(np.log2(usual / self._sharpness[k.id])))
            for k in keyframes
        ]
        order = sorted(range(len(keyframes)), key=lambda i: (-score[i], -keyframes[i].id))
        chosen = [keyframes[-1], *(keyframes[i] for i in order)]
        return list({k.id: k for k in chosen}.values())[:CANDIDATES]

    def _match(
        self, keyframe: Keyframe, local_map: LocalMap, descriptors: np.ndarray, xy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks (M, 3) of one keyframe and the pixels (M, 2) they match."""
        if keyframe.id not in self._described:
            self._described[keyframe.id] = describe(self._orb, keyframe)
        ids, own = self._described[keyframe.id]
        rows = local_map.rows(ids)
        ids, own, rows = ids[rows >= 0], own[rows >= 0], rows[rows >= 0]
        if len(np.unique(ids)) < 2:
            return np.zeros((0, 3)), np.zeros((0, 2))
        points, pixels = [], []
        for matches in self._matcher.knnMatch(descriptors, own, k=4):
            best = matches[0]
            rival = next((m for m in matches[1:] if ids[m.trainIdx] != ids[best.trainIdx]), None)
            distinct = rival is None or best.distance < RATIO * rival.distance
            if best.distance < MAX_HAMMING and distinct:
                points.append(local_map.points[rows[best.trainIdx]])
                pixels.append(xy[best.queryIdx])
        return np.array(points).reshape(-1, 3), np.array(pixels).reshape(-1, 2)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> (30, 40) float64 blurred, zero mean, unit norm."""
    small = cv2.resize(image, (40, 30), interpolation=cv2.INTER_AREA).astype(np.float64)
    small = cv2.GaussianBlur(small, (0, 0), 1.5)
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-9)


def sharpness(image: np.ndarray) -> float:
    """Strength of fine detail in (H, W) uint8, relative to its contrast; > 0, small when blurred."""
    edges = cv2.Laplacian(image[::2], cv2.CV_16S)
    return float(np.abs(edges).mean() + 0.1) / float(image[::4, ::4].std() + 1.0)


def describe(orb: cv2.ORB, keyframe: Keyframe) -> tuple[np.ndarray, np.ndarray]:
    """Track ids (M,) and ORB descriptors (M, 32) of a keyframe's tracks, each at several scales."""
    all_ids, all_descriptors = [np.zeros(0, np.int64)], [np.zeros((0, 32), np.uint8)]
    for scale in SCALES:
        image = keyframe.image
        if scale != 1:
            image = cv2.resize(image, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
        xy = (keyframe.xy + 0.5) / scale - 0.5
        angles = orientations(image, xy)
        keypoints = [
            cv2.KeyPoint(float(x), float(y), 31.0, float(angle), 0.0, 0, index)
            for index, ((x, y), angle) in enumerate(zip(xy, angles))
        ]
        kept, descriptors = orb.compute(image, keypoints)
        if descriptors is not None and len(kept):
            all_ids.append(keyframe.ids[[k.class_id for k in kept]])
            all_descriptors.append(descriptors)
    return np.concatenate(all_ids), np.concatenate(all_descriptors)


def orientations(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """(N,) degrees in [0, 360): direction of the intensity centroid of a disc (Rosin 1999), as ORB uses it."""
    radius = ORIENTATION_RADIUS
    padded = cv2.copyMakeBorder(image, radius, radius, radius, radius, cv2.BORDER_REFLECT)
    offsets = np.arange(-radius, radius + 1)
    dy, dx = np.meshgrid(offsets, offsets, indexing="ij")
    disc = dx**2 + dy**2 <= radius**2
    x = np.clip(np.round(xy[:, 0]).astype(int), 0, image.shape[1] - 1) + radius
    y = np.clip(np.round(xy[:, 1]).astype(int), 0, image.shape[0] - 1) + radius
    values = padded[y[:, None] + dy[disc], x[:, None] + dx[disc]].astype(np.float64)
    return np.degrees(np.arctan2(values @ dy[disc], values @ dx[disc])) % 360
