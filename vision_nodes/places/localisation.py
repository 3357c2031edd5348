"""Where one image was taken, by the map alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vision_nodes.camera.covariance import rotated_covariance
from vision_nodes.datatypes import PlaceResult
from vision_nodes.preprocess.frame import Frame


@dataclass(frozen=True)
class Localisation:
    """Ranked matches of a frame and, when one of them was verified, the camera's pose."""

    stamp_ns: int
    frame_id: str  # the camera's
    result: PlaceResult
    T_map_cam: np.ndarray | None  # (4, 4); None = not localised
    covariance: (
        np.ndarray | None
    )  # (6, 6), ROS order, map frame: of the view relative to the matched keyframe


def located(frame: Frame, result: PlaceResult, keyframe_poses: Mapping[int, np.ndarray]) -> Localisation:
    """The pose that a lookup's closure means, None when the matched keyframe has no place in the map."""
    closure = result.closure
    T_map_matched = None if closure is None else keyframe_poses.get(closure.matched_id)
    if closure is None or T_map_matched is None:
        return Localisation(frame.stamp_ns, frame.frame_id, result, None, None)
    covariance = rotated_covariance(closure.covariance, T_map_matched[:3, :3])
    return Localisation(
        frame.stamp_ns, frame.frame_id, result, T_map_matched @ closure.T_matched_query, covariance
    )
