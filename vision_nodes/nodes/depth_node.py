"""Metric depth from frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from vision_nodes.camera.model import CameraModel
from vision_nodes.config import setting
from vision_nodes.datatypes import DepthMap
from vision_nodes.messages.to_ros import camera_info_to_ros, depth_points_to_ros, depth_to_ros, image_to_ros
from vision_nodes.nodes.engine_node import EngineNode, EngineSettings
from vision_nodes.nodes.spin import run_node
from vision_nodes.overlay import draw_depth
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import DepthEstimator

DepthConsumer = Callable[[int, DepthMap, CameraModel], None]


@dataclass(frozen=True)
class DepthNodeSettings(EngineSettings):
    """Model and the confidence below which depth is NaN."""

    model: str = setting("depth", "model name, name:precision or manifest path", live=False)
    min_confidence: float = setting(0.0, "pixels below this confidence become NaN", minimum=0.0, maximum=1.0)


class DepthNode(EngineNode):
    """`depth/image` (32FC1 metres, NaN invalid, REP 118) with camera_info; `depth/points` on demand.

    Without calibration there are no metres: relative depth goes out on `depth/unscaled` instead.
    """

    task = "depth"

    def __init__(self, **options: Any) -> None:
        super().__init__("depth_node", DepthNodeSettings, **options)
        self.consumers: list[DepthConsumer] = []

    def open_task(self) -> None:
        """Load the depth network and create the outputs."""
        super().open_task()
        self._estimator = DepthEstimator(self.engine)
        self._image = self.output(Image, "depth/image")
        self._camera_info = self.output(CameraInfo, "depth/camera_info")
        self._unscaled = self.output(Image, "depth/unscaled")
        self._points = self.output(PointCloud2, "depth/points", qos_profile_sensor_data, on_demand=True)
        self._overlay = self.output(Image, "~/overlay", on_demand=True)

    def process(self, frame: Frame) -> None:
        """Estimate, publish, hand metric depth to odometry."""
        with self.statistics.stage("network"):
            depth = self._estimator.estimate(frame, self.settings.min_confidence)
        header = (frame.stamp_ns, frame.frame_id)
        height, width = depth.depth_m.shape
        camera = frame.scaled_camera((width, height))
        self._camera_info.publish(camera_info_to_ros(camera, header, (width, height)))
        if depth.metric and camera is not None:
            self._image.publish(depth_to_ros(depth, header))
            if self._points.wanted():
                colors = frame.resized((width, height))
                self._points.publish(depth_points_to_ros(depth, camera, header, colors))
            for consumer in self.consumers:
                consumer(frame.stamp_ns, depth, camera)
        else:
            self._unscaled.publish(depth_to_ros(depth, header))
        if self._overlay.wanted():
            self._overlay.publish(image_to_ros(draw_depth(depth), header))


def main() -> None:
    """Run alone: ``depth_node``."""
    run_node(DepthNode)


if __name__ == "__main__":
    main()
