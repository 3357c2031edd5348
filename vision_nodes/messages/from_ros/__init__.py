"""ROS messages -> arrays and datatypes.

Everything here reads fields only, so that rclpy messages and messages deserialised by rosbags (plain
dataclasses with numpy arrays) go through the same code. Camera images come out RGB, uint8.
"""

from vision_nodes.messages.from_ros.camera import camera_info_key, camera_model_from_ros, image_size_wh
from vision_nodes.messages.from_ros.compressed import (
    EncodedImage,
    compressed_image_from_ros,
    encoded_image_from_ros,
)
from vision_nodes.messages.from_ros.depth import depth_image_from_ros
from vision_nodes.messages.from_ros.header import stamp_ns
from vision_nodes.messages.from_ros.image import MAX_PIXELS, image_from_ros, pixels_from_ros
from vision_nodes.messages.from_ros.pixels import ChannelOrder, Pixels
from vision_nodes.messages.from_ros.results import (
    OdometryState,
    StampedPose,
    detections_from_ros,
    label_names_from_ros,
    loop_closure_from_ros,
    mask_from_ros,
    odometry_from_ros,
    odometry_state_from_ros,
    path_from_ros,
    place_matches_from_ros,
    pose_from_ros,
    pose_stamped_from_ros,
    transform_from_ros,
)

__all__ = [
    "MAX_PIXELS",
    "ChannelOrder",
    "EncodedImage",
    "OdometryState",
    "Pixels",
    "StampedPose",
    "camera_info_key",
    "camera_model_from_ros",
    "compressed_image_from_ros",
    "depth_image_from_ros",
    "detections_from_ros",
    "encoded_image_from_ros",
    "image_from_ros",
    "image_size_wh",
    "label_names_from_ros",
    "loop_closure_from_ros",
    "mask_from_ros",
    "odometry_from_ros",
    "odometry_state_from_ros",
    "path_from_ros",
    "pixels_from_ros",
    "place_matches_from_ros",
    "pose_from_ros",
    "pose_stamped_from_ros",
    "stamp_ns",
    "transform_from_ros",
]
