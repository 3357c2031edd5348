"""Results -> ROS messages: message classes only, no node code.

A header is (stamp_ns, frame_id) of the image that a result belongs to.
"""

from vision_nodes.messages.to_ros.header import header_to_ros, pose_to_ros, time_to_ros
from vision_nodes.messages.to_ros.image import (
    byte_array,
    camera_info_to_ros,
    color_mask_to_ros,
    depth_points_to_ros,
    depth_to_ros,
    image_to_ros,
    mask_to_ros,
)
from vision_nodes.messages.to_ros.motion import (
    loop_closure_to_ros,
    odometry_state_to_ros,
    odometry_to_ros,
    path_to_ros,
    pose_graph_to_ros,
    pose_stamped_to_ros,
    pose_with_covariance_to_ros,
    transform_to_ros,
)
from vision_nodes.messages.to_ros.vision import (
    detections_to_ros,
    label_info_to_ros,
    place_matches_to_ros,
    vision_info_to_ros,
)

__all__ = [
    "byte_array",
    "camera_info_to_ros",
    "color_mask_to_ros",
    "depth_points_to_ros",
    "depth_to_ros",
    "detections_to_ros",
    "header_to_ros",
    "image_to_ros",
    "label_info_to_ros",
    "loop_closure_to_ros",
    "mask_to_ros",
    "odometry_state_to_ros",
    "odometry_to_ros",
    "path_to_ros",
    "place_matches_to_ros",
    "pose_graph_to_ros",
    "pose_stamped_to_ros",
    "pose_to_ros",
    "pose_with_covariance_to_ros",
    "time_to_ros",
    "transform_to_ros",
    "vision_info_to_ros",
]
