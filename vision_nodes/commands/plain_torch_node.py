"""The opponent of ``vision-nodes bench --versus``: one model in plain torch in a ROS node of its own.

What many tutorials show: subscribe to the camera, convert the message to an OpenCV image with a copy, resize,
make a tensor, run the module eagerly with torch's default threads, publish. Weights are random: the time does
not depend on them. It is in the package so that the comparison has a command; nothing else uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from torch import nn
from vision_msgs.msg import Classification, Detection2DArray

from vision_nodes.datatypes import Detections
from vision_nodes.messages.from_ros import stamp_ns
from vision_nodes.messages.to_ros import detections_to_ros, image_to_ros
from vision_nodes.networks.depth import DepthNetwork
from vision_nodes.networks.nanodet import NanoDetPlus
from vision_nodes.networks.place import PlaceNetwork
from vision_nodes.networks.segmenter import Segmenter
from vision_nodes.training.config import CONFIG_DIR, read_config
from vision_nodes.training.registry import make_task

SCORE = 0.35


def make_graph(name: str) -> tuple[nn.Module, tuple[int, int], tuple[str, ...]]:
    """The deployed graph of a shipped model (uint8 picture in), its input size, its class names."""
    config = read_config(Path(CONFIG_DIR) / f"{name}.yaml")
    task = make_task(config)
    names = tuple(getattr(task, "class_names", ()))
    makers: dict[str, Callable[[], nn.Module]] = {
        "detection": lambda: NanoDetPlus(len(names)),
        "segmentation": lambda: Segmenter(len(names), config.input_wh),
        "depth": lambda: DepthNetwork(imagenet=False),
        "place": lambda: PlaceNetwork(config.input_wh, imagenet=False),
    }
    return task.export_module(makers[name]().eval()).eval(), config.input_wh, names


class PlainTorchNode(Node):
    """Image in, the task's messages out."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}_node")
        self.name = name
        self.graph, self.size_wh, self.names = make_graph(name)
        kinds: dict[str, list[tuple[str, type]]] = {
            "detection": [("detections", Detection2DArray)],
            "segmentation": [("segmentation/mask", Image)],
            "depth": [("depth/image", Image), ("depth/camera_info", CameraInfo)],
            "place": [("place_matches", Classification)],
        }
        self.out = [self.create_publisher(kind, topic, 5) for topic, kind in kinds[name]]
        self.diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 5)
        self.create_timer(1.0, self.say_active)
        self.create_subscription(Image, "image_raw", self.on_image, qos_profile_sensor_data)

    def say_active(self) -> None:
        """As the project's nodes do, so that the bench knows when to begin."""
        values = [KeyValue(key="active", value="True")]
        status = DiagnosticStatus(name=self.get_fully_qualified_name(), values=values)
        self.diagnostics.publish(DiagnosticArray(status=[status]))

    def on_image(self, message: Any) -> None:
        """Convert, resize, infer, publish."""
        picture = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1).copy()
        if message.encoding == "bgr8":
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        small = cv2.resize(picture, self.size_wh, interpolation=cv2.INTER_AREA)
        with torch.inference_mode():
            outputs = self.graph(torch.from_numpy(small)[None])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        self.publish(message.header, [value[0].numpy() for value in outputs])

    def publish(self, ros_header: Any, values: list[np.ndarray]) -> None:
        """The first result of the graph as the task's message."""
        header = (stamp_ns(ros_header), ros_header.frame_id)
        if self.name == "detection":
            boxes, scores, classes = values
            keep = scores >= SCORE
            found = Detections(boxes[keep], scores[keep], classes[keep].astype(np.int64))
            self.out[0].publish(detections_to_ros(found, header, self.names))
        elif self.name == "segmentation":
            self.out[0].publish(image_to_ros(np.ascontiguousarray(values[0]), header, "mono8"))
        elif self.name == "depth":
            self.out[0].publish(image_to_ros(np.ascontiguousarray(values[0]), header, "32FC1"))
            self.out[1].publish(CameraInfo(header=ros_header))
        else:
            self.out[0].publish(Classification(header=ros_header))


def main() -> None:
    """``python -m vision_nodes.commands.plain_torch_node detection``."""
    rclpy.init(args=sys.argv)
    node = PlainTorchNode(sys.argv[1])
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
