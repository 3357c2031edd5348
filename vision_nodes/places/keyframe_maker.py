"""Makes keyframes from frames: descriptor, local features, thumbnail, sampled depth, all checked."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vision_nodes.datatypes import DepthMap
from vision_nodes.errors import FrameError
from vision_nodes.places.keyframes import NO_SEGMENT, Keyframe
from vision_nodes.places.local_features import LocalFeatureExtractor
from vision_nodes.places.rigid import orthonormalised
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.preprocess.frame import Frame

DescriptorSource = Callable[[Frame], np.ndarray] | np.ndarray

_THUMBNAIL_WIDTH = 160
_JPEG_QUALITY = 70


class KeyframeMaker:
    """Holds the feature extractor and the descriptor's dimension."""

    def __init__(self, settings: PlaceSettings) -> None:
        self._extractor = LocalFeatureExtractor(
            settings.local_features, settings.max_features, settings.feature_scale
        )

    def make(self, frame: Frame, descriptor: DescriptorSource, keyframe_id: int) -> Keyframe:
        """A keyframe without pose and landmarks yet.

        Raises:
            FrameError: the descriptor is not a finite vector.
        """
        vector = checked_descriptor(descriptor(frame) if callable(descriptor) else descriptor)
        features = self._extractor.extract(frame.gray())
        return Keyframe(
            id=keyframe_id,
            stamp_ns=frame.stamp_ns,
            segment=NO_SEGMENT,
            descriptor=vector,
            T_odom_cam=None,
            keypoints_xy=features.keypoints_xy,
            local_descriptors=features.descriptors,
            landmarks_cam=np.full((len(features.scores), 3), np.nan, np.float32),
            K=None if frame.camera is None else np.asarray(frame.camera.K, np.float64),
            size_wh=frame.size_wh,
            thumbnail_jpeg=_thumbnail(frame.image),
        )

    def checked_pose(self, T_odom_cam: np.ndarray | None) -> np.ndarray | None:
        """A finite rigid (4, 4) float64 copy, or None. Raises FrameError for anything else."""
        if T_odom_cam is None:
            return None
        T = np.asarray(T_odom_cam, dtype=np.float64)
        if T.shape != (4, 4) or not np.isfinite(T).all():
            raise FrameError("a finite (4, 4) T_odom_cam", f"{T.shape}", "check the odometry")
        if np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max() > 1e-3 or np.linalg.det(T[:3, :3]) < 0:
            raise FrameError("a rotation in T_odom_cam", "a matrix that is none", "check the odometry")
        return orthonormalised(T)

    def sampled_depth(
        self, keyframe: Keyframe, frame: Frame, depth: DepthMap | None
    ) -> tuple[np.ndarray, bool]:
        """(N,) float32 depth at the keypoints, NaN unknown, and whether it is metric."""
        count = len(keyframe.keypoints_xy)
        if depth is None or count == 0:
            return np.full(count, np.nan, np.float32), False
        h, w = depth.depth_m.shape
        xy = frame.map_to((w, h)).to_target(keyframe.keypoints_xy)
        column = np.rint(xy[:, 0]).astype(int).clip(0, w - 1)
        row = np.rint(xy[:, 1]).astype(int).clip(0, h - 1)
        sampled = depth.depth_m[row, column]
        return np.where(sampled > 0, sampled, np.float32(np.nan)), depth.metric


def checked_descriptor(descriptor: np.ndarray) -> np.ndarray:
    """(D,) float32 unit norm. Raises FrameError when there is no such vector in it."""
    vector = np.asarray(descriptor, dtype=np.float32).ravel()
    norm = float(np.linalg.norm(vector)) if len(vector) else 0.0
    if not np.isfinite(norm) or norm < 1e-6:
        raise FrameError(
            "a finite, non-zero place descriptor", f"norm {norm} of {len(vector)} values", "check the model"
        )
    return vector / np.float32(norm)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    h, w = image.shape[:2]
    size_wh = (min(_THUMBNAIL_WIDTH, w), max(1, round(h * min(_THUMBNAIL_WIDTH, w) / w)))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    return jpeg.ravel()
