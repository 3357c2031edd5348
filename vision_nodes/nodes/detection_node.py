"""Detections with track ids from frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from vision_nodes.config import setting
from vision_nodes.messages.to_ros import detections_to_ros, image_to_ros
from vision_nodes.nodes.engine_node import EngineNode, EngineSettings
from vision_nodes.nodes.spin import run_node
from vision_nodes.overlay import draw_detections
from vision_nodes.preprocess.frame import Frame
from vision_nodes.preprocess.source_pixels import boxes_to_source
from vision_nodes.tasks.runners import Detector
from vision_nodes.tracking.settings import TrackerSettings
from vision_nodes.tracking.tracker import Tracker

SCORE_THRESHOLD, NMS_IOU = 0.35, 0.6  # of a model whose manifest names none
WEAK_SCORE = 0.1  # weakest box the tracker may use to keep an id alive


@dataclass(frozen=True)
class DetectionNodeSettings(EngineSettings):
    """Model, thresholds and which pixels boxes are given in."""

    model: str = setting("detection", "model name, name:precision or manifest path", live=False)
    score_threshold: float = setting(
        0.0,
        "boxes below this score are not published; 0 = the model's own threshold",
        minimum=0.0,
        maximum=1.0,
    )
    nms_iou: float = setting(
        0.0,
        "IoU above which the weaker box of one class is removed; 0 = the model's own",
        minimum=0.0,
        maximum=1.0,
    )
    track: bool = setting(True, "give detections ids that last over time")
    box_pixels: str = setting(
        "raw", "pixels of the boxes: image_raw's or the rectified source's", choices=("raw", "rectified")
    )


class DetectionNode(EngineNode):
    """`detections` (vision_msgs/Detection2DArray, source pixels) for every frame, empty ones too."""

    task = "detection"

    def __init__(self, **options: Any) -> None:
        super().__init__("detection_node", DetectionNodeSettings, **options)

    def open_task(self) -> None:
        """Load the detector and create the outputs."""
        super().open_task()
        self._detector = self._make_detector()
        self._run = 0
        self._tracker = Tracker(TrackerSettings())
        self._output = self.output(Detection2DArray, "detections")
        self._overlay = self.output(Image, "~/overlay", on_demand=True)

    def _make_detector(self) -> Detector:
        # The tracker's second association needs the weak boxes too; they are cut after it.
        lowest = WEAK_SCORE if self.settings.track else 1.0
        own = self.engine.manifest.postprocess
        self._threshold = self.settings.score_threshold or own.get("score_threshold", SCORE_THRESHOLD)
        nms_iou = self.settings.nms_iou or own.get("nms_iou", NMS_IOU)
        return Detector(self.engine, min(self._threshold, lowest), nms_iou)

    def apply_settings(self, settings: DetectionNodeSettings) -> None:
        """New thresholds hold from the next frame."""
        super().apply_settings(settings)
        if self.engine is not None:
            self._detector = self._make_detector()

    def process(self, frame: Frame) -> None:
        """Detect, track, publish."""
        with self.statistics.stage("network"):
            detections = self._detector.detect(frame)
        if frame.run != self._run:  # the stream started again: what was tracked belongs to another time
            self._tracker.reset()
            self._run = frame.run
        if self.settings.track:
            with self.statistics.stage("track"):
                detections = self._tracker.update(detections, frame.stamp_ns, frame.gray())
        detections = detections.above(self._threshold)
        published = boxes_to_source(detections, frame, raw=self.settings.box_pixels == "raw")
        names = self.engine.manifest.class_names
        self._output.publish(detections_to_ros(published, (frame.stamp_ns, frame.frame_id), names))
        if self._overlay.wanted():
            drawn = draw_detections(frame.image, detections, names)
            self._overlay.publish(image_to_ros(drawn, (frame.stamp_ns, frame.frame_id)))


def main() -> None:
    """Run alone: ``detection_node``."""
    run_node(DetectionNode)


if __name__ == "__main__":
    main()
