"""Frames from the preprocessed topics, for nodes that run in a process of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from vision_nodes.messages.from_ros import camera_model_from_ros, image_from_ros, stamp_ns
from vision_nodes.nodes.receiver import Receiver
from vision_nodes.preprocess.frame import Frame

if TYPE_CHECKING:
    from vision_nodes.nodes.base import VisionNode

PENDING_LIMIT = 8  # stamps waiting for their other messages; older ones are dropped and counted


class FrameSubscription:
    """Joins `preprocessed/image`, `preprocessed/camera_info` and `preprocessed/source_camera_info`
    by stamp (all three are published together, so they always match exactly)."""

    TOPICS = (("image", Image), ("camera_info", CameraInfo), ("source_camera_info", CameraInfo))

    def __init__(self, node: VisionNode, accept: Callable[[Frame], None]) -> None:
        self._node, self._accept = node, accept
        self._pending: dict[int, dict[str, Any]] = {}
        self._receiver = Receiver.of(node.context)
        self._subscriptions = [
            self._receiver.subscribe(
                node,
                msgtype,
                f"preprocessed/{name}",
                partial(self._on_message, name),
                qos_profile_sensor_data,
            )
            for name, msgtype in self.TOPICS
        ]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._receiver.unsubscribe(self._node, subscription)
        self._pending.clear()

    def _on_message(self, name: str, message: Any) -> None:
        stamp = stamp_ns(message.header)
        parts = self._pending.setdefault(stamp, {"received_ns": time.time_ns()})
        parts[name] = message
        if len(parts) == len(self.TOPICS) + 1:
            del self._pending[stamp]
            self._node.guarded(lambda: self._accept(frame_from_messages(parts)))
        elif len(self._pending) > PENDING_LIMIT:
            del self._pending[min(self._pending)]
            self._node.statistics.count("unpaired")


def frame_from_messages(parts: dict[str, Any]) -> Frame:
    """Frame of the three preprocessed messages; FrameError or CalibrationError when they do not fit."""
    image, info, source_info = parts["image"], parts["camera_info"], parts["source_camera_info"]
    return Frame(
        stamp_ns=stamp_ns(image.header),
        frame_id=image.header.frame_id,
        image=image_from_ros(image),
        source_wh=(source_info.width, source_info.height),
        camera=camera_model_from_ros(info),
        source_camera=camera_model_from_ros(source_info),
        received_ns=parts["received_ns"],
    )
