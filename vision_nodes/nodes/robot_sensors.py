"""Sensors beside the camera that give odometry its metres: wheel odometry and a depth camera."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from vision_nodes.camera.model import CameraModel
from vision_nodes.config import setting
from vision_nodes.datatypes import DepthMap
from vision_nodes.errors import CalibrationError
from vision_nodes.messages.from_ros import (
    camera_model_from_ros,
    depth_image_from_ros,
    pose_from_ros,
    stamp_ns,
)

if TYPE_CHECKING:
    from vision_nodes.nodes.base import VisionNode

DEPTHS_KEPT = 8  # a depth image waits this long for its frame
DepthAccept = Callable[[int, DepthMap, CameraModel], None]


@dataclass(frozen=True)
class DepthCameraSettings:
    """Where a depth camera's images come from."""

    depth_image: str = setting(
        "",
        "topic of a depth camera's image, registered to the camera, rectified and of the same stamps; its "
        "camera_info is read beside it; empty = there is none",
        live=False,
    )


class RobotSensor:
    """Subscriptions of one node by topic; replay calls the same handlers with a bag's messages."""

    def __init__(self, node: VisionNode, handlers: dict[str, tuple[type, Callable[[Any], None]]]) -> None:
        self._node = node
        self.handlers = {name: handler for name, (_, handler) in handlers.items()}
        self._subscriptions = (
            []
            if node.sink is not None
            else [
                node.create_subscription(kind, name, self._guard(handler), qos_profile_sensor_data)
                for name, (kind, handler) in handlers.items()
            ]
        )

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _guard(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        return lambda message: (self._node.guarded(lambda: handler(message)), None)[1]


class DepthCamera(RobotSensor):
    """Calls `accept(stamp, depth, camera)` for every image of a depth camera once its calibration is known."""

    def __init__(self, node: VisionNode, topic: str, accept: DepthAccept) -> None:
        self._accept = accept
        self._camera: CameraModel | None = None
        folder, slash, _ = topic.rpartition("/")
        info = f"{folder}{slash}camera_info"
        super().__init__(node, {topic: (Image, self._on_image), info: (CameraInfo, self._on_info)})

    def _on_info(self, message: Any) -> None:
        self._camera = camera_model_from_ros(message)

    def _on_image(self, message: Any) -> None:
        if self._camera is None:
            raise CalibrationError(
                "a calibrated camera_info beside the depth image", "none", "publish it with the depth image"
            )
        depth = DepthMap(depth_image_from_ros(message), metric=True)
        self._accept(stamp_ns(message.header), depth, self._camera)


class DepthBuffer:
    """The last few depth images by stamp; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depths: OrderedDict[int, DepthMap] = OrderedDict()

    def accept(self, stamp: int, depth: DepthMap, camera: CameraModel) -> None:
        """Keep an image until its frame comes."""
        with self._lock:
            self._depths[stamp] = depth
            while len(self._depths) > DEPTHS_KEPT:
                self._depths.popitem(last=False)

    def of(self, stamp: int) -> DepthMap | None:
        """The image of a frame, None when there is none."""
        with self._lock:
            return self._depths.get(stamp)


class WheelOdometrySensor(RobotSensor):
    """Calls `accept(stamp, T_odom_base)` for every message of a wheel-odometry topic."""

    def __init__(self, node: VisionNode, topic: str, accept: Callable[[int, np.ndarray], None]) -> None:
        self._accept = accept
        super().__init__(node, {topic: (Odometry, self._on_odometry)})

    def _on_odometry(self, message: Any) -> None:
        self._accept(stamp_ns(message.header), pose_from_ros(message.pose.pose))


def handlers_by_topic(nodes: Iterable[Any]) -> dict[str, list[tuple[Any, Callable[[Any], None]]]]:
    """Absolute topic -> (node, handler) of all sensors of some nodes: what replay feeds from a bag."""
    found: dict[str, list[tuple[Any, Callable[[Any], None]]]] = {}
    for node in nodes:
        for sensor in getattr(node, "sensors", ()):
            for name, handler in sensor.handlers.items():
                found.setdefault(name if name.startswith("/") else f"/{name}", []).append((node, handler))
    return found
