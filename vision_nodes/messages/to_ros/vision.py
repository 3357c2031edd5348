"""Detections, class names and place matches as vision_msgs 4."""

from __future__ import annotations

from collections.abc import Sequence

from vision_msgs.msg import (
    BoundingBox2D,
    Classification,
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
    VisionClass,
    VisionInfo,
)

from vision_nodes.datatypes import Detections, PlaceResult
from vision_nodes.messages.names import keyframe_frame
from vision_nodes.messages.to_ros.header import StampedFrame, header_to_ros


def detections_to_ros(
    detections: Detections, header: StampedFrame, class_names: Sequence[str]
) -> Detection2DArray:
    """Detection2DArray in source pixels: class names as class_id, track ids as id ('' = not tracked).

    Nothing detected gives an empty array, which is a result too.

    Raises:
        ValueError: a class id without a name.
    """
    if len(detections) and not 0 <= int(detections.class_ids.min()) <= int(detections.class_ids.max()) < len(
        class_names
    ):
        raise ValueError(f"class ids {detections.class_ids.tolist()} with {len(class_names)} class names")
    ros_header = header_to_ros(header)
    track_ids = [-1] * len(detections) if detections.track_ids is None else detections.track_ids.tolist()
    rows = zip(
        detections.boxes_xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), track_ids
    )
    return Detection2DArray(
        header=ros_header,
        detections=[
            _detection_to_ros(box, score, class_names[class_id], track_id, ros_header)
            for box, score, class_id, track_id in rows
        ],
    )


def _detection_to_ros(
    box_xyxy: list[float], score: float, name: str, track_id: int, ros_header: object
) -> Detection2D:
    left, top, right, bottom = box_xyxy
    center = Pose2D(position=Point2D(x=(left + right) / 2, y=(top + bottom) / 2))
    result = ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=name, score=score))
    return Detection2D(
        header=ros_header,
        results=[result],
        bbox=BoundingBox2D(center=center, size_x=right - left, size_y=bottom - top),
        id="" if track_id < 0 else str(track_id),
    )


def label_info_to_ros(class_names: Sequence[str], header: StampedFrame, threshold: float = 0.0) -> LabelInfo:
    """LabelInfo for the mask beside it: index -> class name; publish latched."""
    classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(class_names)]
    return LabelInfo(header=header_to_ros(header), class_map=classes, threshold=float(threshold))


def vision_info_to_ros(method: str, database_location: str, version: int, header: StampedFrame) -> VisionInfo:
    """VisionInfo: which model answers (`method`), and where its class list is."""
    return VisionInfo(
        header=header_to_ros(header),
        method=method,
        database_location=database_location,
        database_version=version,
    )


def place_matches_to_ros(result: PlaceResult) -> Classification:
    """Classification of one keyframe: ranked keyframe ids and similarities.

    header.stamp is the keyframe's image, header.frame_id `keyframe_<id>`.
    """
    return Classification(
        header=header_to_ros((result.stamp_ns, keyframe_frame(result.keyframe_id))),
        results=[
            ObjectHypothesis(class_id=str(candidate), score=float(score))
            for candidate, score in zip(result.candidate_ids, result.candidate_scores)
        ],
    )
