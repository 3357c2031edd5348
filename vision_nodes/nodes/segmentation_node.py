"""Class id per pixel from frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import LabelInfo

from vision_nodes.config import setting
from vision_nodes.messages.to_ros import (
    camera_info_to_ros,
    color_mask_to_ros,
    image_to_ros,
    label_info_to_ros,
    mask_to_ros,
)
from vision_nodes.nodes.base import LATCHED
from vision_nodes.nodes.engine_node import EngineNode, EngineSettings
from vision_nodes.nodes.spin import run_node
from vision_nodes.overlay import draw_segmentation, palette_for
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import Segmenter


@dataclass(frozen=True)
class SegmentationNodeSettings(EngineSettings):
    """Model and the confidence below which a pixel stays unlabelled."""

    model: str = setting("segmentation", "model name, name:precision or manifest path", live=False)
    min_confidence: float = setting(
        0.0, "pixels below this confidence become 255 (unlabelled)", minimum=0.0, maximum=1.0
    )


class SegmentationNode(EngineNode):
    """`segmentation/mask` (mono8 ids) with camera_info, colour on demand, `label_info` latched."""

    task = "segmentation"

    def __init__(self, **options: Any) -> None:
        super().__init__("segmentation_node", SegmentationNodeSettings, **options)

    def open_task(self) -> None:
        """Load the segmenter and create the outputs."""
        super().open_task()
        self._segmenter = Segmenter(self.engine)
        self._names = self.engine.manifest.class_names
        self._palette = palette_for(self._names)
        self._mask = self.output(Image, "segmentation/mask")
        self._camera_info = self.output(CameraInfo, "segmentation/camera_info")
        self._color = self.output(Image, "segmentation/color", qos_profile_sensor_data, on_demand=True)
        self._overlay = self.output(Image, "~/overlay", on_demand=True)
        self._labels = self.output(LabelInfo, "segmentation/label_info", LATCHED)
        self._labels_sent = False

    def process(self, frame: Frame) -> None:
        """Segment and publish."""
        header = (frame.stamp_ns, frame.frame_id)
        with self.statistics.stage("network"):
            result = self._segmenter.segment(frame, self.settings.min_confidence)
        if not self._labels_sent:
            self._labels.publish(label_info_to_ros(self._names, header))
            self._labels_sent = True
        self._mask.publish(mask_to_ros(result, header))
        height, width = result.labels.shape
        camera = frame.scaled_camera((width, height))
        self._camera_info.publish(camera_info_to_ros(camera, header, (width, height)))
        if self._color.wanted():
            self._color.publish(color_mask_to_ros(result, self._palette, header))
        if self._overlay.wanted():
            self._overlay.publish(image_to_ros(draw_segmentation(frame.image, result, self._palette), header))


def main() -> None:
    """Run alone: ``segmentation_node``."""
    run_node(SegmentationNode)


if __name__ == "__main__":
    main()
