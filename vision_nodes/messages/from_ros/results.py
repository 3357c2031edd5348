"""Inverse of `to_ros`: published results -> the datatypes they came from, live or from a bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vision_nodes.camera.transforms import make_transform, matrix_from_quat_xyzw
from vision_nodes.datatypes import Detections, PlaceResult, ScaleState, TrackingState
from vision_nodes.errors import FrameError
from vision_nodes.messages.from_ros.header import stamp_ns
from vision_nodes.messages.from_ros.image import MAX_PIXELS, check_size, rows_view
from vision_nodes.messages.names import ODOMETRY_STATUS_NAME, keyframe_id

_TRACK_ID_DIGITS = 18  # what int64 holds; other trackers may write a UUID, which stays "not tracked"


@dataclass(frozen=True)
class OdometryState:
    """One odometry/state message: what odometry said about one frame."""

    stamp_ns: int
    state: TrackingState
    scale_state: ScaleState
    scale_sigma: float
    inliers: int
    tracked: int
    is_keyframe: bool
    reason: str


@dataclass(frozen=True)
class StampedPose:
    """A pose read from a message: `T_parent_child` (4, 4) metres, `covariance` (6, 6) or None."""

    stamp_ns: int
    parent_frame: str
    T_parent_child: np.ndarray
    covariance: np.ndarray | None = None
    child_frame: str = ""


def detections_from_ros(msg: Any, class_names: Sequence[str]) -> Detections:
    """Detections of a Detection2DArray, class names mapped to indices of `class_names`.

    Raises:
        FrameError: a detection without a hypothesis, or of a class that is not in the list.
    """
    index = {name: i for i, name in enumerate(class_names)}
    rows = [_detection_row(detection, index) for detection in msg.detections]
    if not rows:
        return Detections.empty()
    boxes, scores, class_ids, track_ids = zip(*rows)
    has_tracks = any(track >= 0 for track in track_ids)
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which the dataclass refuses
            return Detections(
                np.array(boxes, np.float32),
                np.array(scores, np.float32),
                np.array(class_ids, np.int64),
                np.array(track_ids, np.int64) if has_tracks else None,
            )
    except ValueError as error:
        raise FrameError("valid detections", str(error), "check who publishes this topic") from error


def _detection_row(detection: Any, index: dict[str, int]) -> tuple[list[float], float, int, int]:
    if not detection.results:
        raise FrameError("a hypothesis in every detection", "none", "check who publishes this topic")
    hypothesis = detection.results[0].hypothesis
    if hypothesis.class_id not in index:
        raise FrameError(
            f"a class among {', '.join(list(index)[:10])}{' …' if len(index) > 10 else ''}",
            repr(hypothesis.class_id),
            "read with the class names of the model that made this bag",
        )
    center, half_w, half_h = (
        detection.bbox.center.position,
        detection.bbox.size_x / 2,
        detection.bbox.size_y / 2,
    )
    box = [center.x - half_w, center.y - half_h, center.x + half_w, center.y + half_h]
    is_ours = detection.id.isdecimal() and len(detection.id) <= _TRACK_ID_DIGITS
    track_id = int(detection.id) if is_ours else -1
    return box, hypothesis.score, index[hypothesis.class_id], track_id


def mask_from_ros(msg: Any) -> np.ndarray:
    """(H, W) uint8 class ids of a mono8 mask.

    Raises:
        FrameError: another encoding, or data too short.
    """
    if msg.encoding not in ("mono8", "8UC1"):
        raise FrameError("a mono8 mask of class ids", repr(msg.encoding), "read segmentation/mask")
    width, height = check_size((int(msg.width), int(msg.height)), MAX_PIXELS)
    return rows_view(msg, height, width)


def label_names_from_ros(msg: Any) -> list[str]:
    """Class names of a LabelInfo by id; '' where the map has a hole."""
    names = {int(entry.class_id): str(entry.class_name) for entry in msg.class_map}
    return [names.get(i, "") for i in range(max(names, default=-1) + 1)]


def pose_from_ros(pose: Any) -> np.ndarray:
    """(4, 4) float64 T of a geometry_msgs/Pose.

    Raises:
        FrameError: the quaternion is zero or a value is not finite.
    """
    position, q = pose.position, pose.orientation
    return _transform((position.x, position.y, position.z), (q.x, q.y, q.z, q.w))


def pose_stamped_from_ros(msg: Any) -> StampedPose:
    """PoseStamped -> pose in its header's frame."""
    return StampedPose(stamp_ns(msg.header), str(msg.header.frame_id), pose_from_ros(msg.pose))


def transform_from_ros(msg: Any) -> StampedPose:
    """TransformStamped -> T_a_b with a = header.frame_id, b = child_frame_id."""
    t, q = msg.transform.translation, msg.transform.rotation
    T = _transform((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
    return StampedPose(stamp_ns(msg.header), str(msg.header.frame_id), T, None, str(msg.child_frame_id))


def odometry_from_ros(msg: Any) -> StampedPose:
    """nav_msgs/Odometry -> pose of the child frame with its covariance."""
    covariance = np.array(msg.pose.covariance, np.float64).reshape(6, 6)
    T = pose_from_ros(msg.pose.pose)
    return StampedPose(stamp_ns(msg.header), str(msg.header.frame_id), T, covariance, str(msg.child_frame_id))


def path_from_ros(msg: Any) -> list[StampedPose]:
    """nav_msgs/Path -> its poses in order."""
    return [pose_stamped_from_ros(pose) for pose in msg.poses]


def odometry_state_from_ros(msg: Any) -> OdometryState:
    """DiagnosticArray of odometry/state -> the state for one frame.

    Raises:
        FrameError: no status named 'odometry', or values that this version does not know.
    """
    status = next((s for s in msg.status if s.name == ODOMETRY_STATUS_NAME), None)
    if status is None:
        names = ", ".join(s.name for s in msg.status) or "none"
        raise FrameError(f"a status named {ODOMETRY_STATUS_NAME!r}", names, "read odometry/state")
    values = {entry.key: entry.value for entry in status.values}
    try:
        return OdometryState(
            stamp_ns(msg.header),
            TrackingState(status.message),
            ScaleState(values["scale_state"]),
            float(values["scale_sigma"]),
            int(values["inliers"]),
            int(values["tracked"]),
            values["keyframe"] == "true",
            values["reason"],
        )
    except (KeyError, ValueError) as error:
        raise FrameError(
            "an odometry state of this version", repr(error), "replay the bag again with this version"
        ) from error


def place_matches_from_ros(msg: Any) -> PlaceResult:
    """Classification of place_matches -> ranked candidates of one keyframe.

    Raises:
        FrameError: frame_id or class_id do not name keyframes.
    """
    try:
        return PlaceResult(
            stamp_ns(msg.header),
            keyframe_id(str(msg.header.frame_id)),
            tuple(int(result.class_id) for result in msg.results),
            tuple(float(result.score) for result in msg.results),
        )
    except ValueError as error:
        raise FrameError(
            "keyframe ids in place_matches", str(error), "read the topic place_matches"
        ) from error


def loop_closure_from_ros(msg: Any) -> tuple[int, StampedPose]:
    """PoseWithCovarianceStamped of loop_closures -> (matched keyframe id, T_matched_query).

    The stamp is the query keyframe's image; join it with place_matches for the query's id.

    Raises:
        FrameError: frame_id names no keyframe, or the pose is broken.
    """
    try:
        matched_id = keyframe_id(str(msg.header.frame_id))
    except ValueError as error:
        raise FrameError("a keyframe frame_id", str(error), "read the topic loop_closures") from error
    covariance = np.array(msg.pose.covariance, np.float64).reshape(6, 6)
    T = pose_from_ros(msg.pose.pose)
    return matched_id, StampedPose(stamp_ns(msg.header), str(msg.header.frame_id), T, covariance)


def _transform(xyz: tuple[float, float, float], quat_xyzw: tuple[float, ...]) -> np.ndarray:
    try:
        T = make_transform(matrix_from_quat_xyzw(np.array(quat_xyzw)), np.array(xyz))
    except ValueError as error:
        raise FrameError("a pose with a unit quaternion", str(error), "check the publisher") from error
    if not np.isfinite(T).all():
        raise FrameError("a finite pose", f"position {xyz}", "check the publisher")
    return T
