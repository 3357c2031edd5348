"""Camera and truth of a bag by stamp, for writing it as a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import BagError, VisionNodesError
from vision_nodes.messages.from_ros import (
    camera_model_from_ros,
    label_names_from_ros,
    odometry_from_ros,
    pose_stamped_from_ros,
    stamp_ns,
)


@dataclass
class Content:
    """What a bag holds, by stamp; picture messages stay serialized."""

    camera: CameraModel | None = None
    images: dict[int, Any] = field(default_factory=dict)
    depths: dict[int, Any] = field(default_factory=dict)
    masks: dict[int, Any] = field(default_factory=dict)
    boxes: dict[int, Any] = field(default_factory=dict)
    truth: dict[int, np.ndarray] = field(default_factory=dict)  # T_world_cam
    odometry: dict[int, np.ndarray] = field(default_factory=dict)  # T_odom_base
    loops: list[tuple[int, int, float]] = field(default_factory=list)
    label_names: list[str] = field(default_factory=list)
    problem: str = ""


def read_content(reader: BagReader, topic: str) -> Content:
    """Read a bag once; corrupt messages are left out.

    Raises:
        BagError: no camera, or no image that can be read.
    """
    camera, content = find_camera_topics(reader.topics(), topic), Content()
    for message in reader.messages():
        try:
            _take(content, message.topic, reader.deserialize(message), (camera.image, camera.camera_info))
        except VisionNodesError:
            continue  # one corrupt message does not spoil a folder; the counts show it
    if not content.images:
        raise BagError(f"images on {camera.image}", reader.problem or "none readable", "check the bag")
    return content


def _take(content: Content, topic: str, message: Any, camera: tuple[str, str]) -> None:
    if topic == camera[0]:
        content.images[stamp_ns(message.header)] = message
    elif topic == camera[1] and content.camera is None:
        content.camera = camera_model_from_ros(message)
    elif topic == "/ground_truth/depth":
        content.depths[stamp_ns(message.header)] = message
    elif topic == "/ground_truth/segmentation":
        content.masks[stamp_ns(message.header)] = message
    elif topic == "/ground_truth/detections":
        content.boxes[stamp_ns(message.header)] = message
    elif topic == "/ground_truth/label_info":
        content.label_names = label_names_from_ros(message)
    elif topic == "/ground_truth/pose":
        pose = pose_stamped_from_ros(message)
        content.truth[pose.stamp_ns] = pose.T_parent_child
    elif topic == "/odometry":
        pose = odometry_from_ros(message)
        content.odometry[pose.stamp_ns] = pose.T_parent_child
    elif topic == "/ground_truth/loops":
        stamp = stamp_ns(message.header)
        content.loops += [(stamp, int(r.class_id), float(r.score)) for r in message.results]
