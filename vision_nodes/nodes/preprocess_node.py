"""Decode, debayer, rectify and scale the camera stream once, for every task."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vision_nodes.config import setting
from vision_nodes.messages.to_ros import camera_info_to_ros, image_to_ros
from vision_nodes.nodes.base import Sink, VisionNode
from vision_nodes.nodes.receiver import Receiver
from vision_nodes.nodes.silence import explain_silence
from vision_nodes.nodes.spin import run_node
from vision_nodes.nodes.worker import Worker
from vision_nodes.preprocess.frame import Frame
from vision_nodes.preprocess.pairing import StampPairer
from vision_nodes.preprocess.preprocessor import Preprocessor
from vision_nodes.preprocess.settings import PairingSettings, PreprocessSettings

POLL_S = 0.5  # images that wait for a camera_info which never comes are released this often
SILENCE_S = 5.0  # no image for this long after activation: say whom we hear and with which policy


@dataclass(frozen=True)
class PreprocessNodeSettings(PreprocessSettings, PairingSettings):
    """Preprocessing, pairing, and where the images come from."""

    image: str = setting(
        "image_raw", "image topic (Image, or CompressedImage if it ends in /compressed)", live=False
    )
    camera_info: str = setting("camera_info", "camera_info topic", live=False)


class PreprocessNode(VisionNode):
    """Publishes `preprocessed/image`, its camera_info and the source's; hands frames over in process."""

    def __init__(self, *, composed: bool = False, sink: Sink | None = None, **options: Any) -> None:
        super().__init__("preprocess_node", PreprocessNodeSettings, sink=sink, **options)
        self.consumers: list[Callable[[Frame], None]] = []
        self._composed = composed
        self._subscriptions_made: list[Any] = []
        self._last_image_s = 0.0
        self._frame_id = ""
        self._pairing = threading.Lock()
        self.worker: Worker[tuple[Any, Any, int]] = Worker(
            "preprocess_node", lambda item: self.process_now(*item)
        )

    def open_task(self) -> None:
        """Create the preprocessor and the outputs."""
        self._preprocessor = Preprocessor(self.settings)
        self._pairer = StampPairer(self.settings)
        # Between processes everything is published; in the container only while an outsider listens.
        self._image_output = self.output(
            Image, "preprocessed/image", qos_profile_sensor_data, on_demand=self._composed
        )
        self._info_output = self.output(
            CameraInfo, "preprocessed/camera_info", qos_profile_sensor_data, on_demand=self._composed
        )
        self._source_info_output = self.output(
            CameraInfo, "preprocessed/source_camera_info", qos_profile_sensor_data, on_demand=self._composed
        )

    def start_task(self) -> None:
        """Subscribe to the camera."""
        if self.sink is not None:
            return
        self.worker.start()
        image_type = CompressedImage if self.settings.image.endswith("compressed") else Image
        receiver = Receiver.of(self.context)
        self._subscriptions_made = [
            receiver.subscribe(self, msgtype, topic, callback, qos_profile_sensor_data)
            for msgtype, topic, callback in (
                (image_type, self.settings.image, self._on_image),
                (CameraInfo, self.settings.camera_info, self._on_camera_info),
            )
        ]
        self._last_image_s = time.monotonic()
        self.periodic.every(SILENCE_S, self._check_silence)
        self.periodic.every(POLL_S, self._poll)

    def stop_task(self) -> None:
        """Unsubscribe: the camera driver may stop."""
        for subscription in self._subscriptions_made:
            Receiver.of(self.context).unsubscribe(self, subscription)
        self._subscriptions_made = []
        self.periodic.cancel(self._check_silence)
        self.periodic.cancel(self._poll)
        self.worker.stop()

    def describe(self) -> dict[str, str]:
        """Frames replaced by a newer one before they were decoded."""
        return {"dropped": str(self.worker.dropped)}

    def _on_image(self, message: Any) -> None:
        self._last_image_s = time.monotonic()
        self.statistics.count("received")
        self._pair(self._pairer.add_image, message)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._pair(self._pairer.add_camera_info, message)

    def _poll(self) -> None:
        self._pair(self._pairer.poll)

    def _pair(self, step: Callable[..., list[tuple[Any, Any, int]]], *message: Any) -> None:
        with self._pairing:  # messages come from the receiver's thread, the clock's calls from another
            for pair in step(*message, time.time_ns()):
                self.worker.put(pair)

    def process_now(self, image: Any, camera_info: Any, received_ns: int) -> Frame | None:
        """Preprocess one message and hand the frame on; None when it was dropped."""
        made: list[Frame] = []

        def work() -> None:
            with self.statistics.stage("total"):
                made.append(self._preprocessor.process(image, camera_info, received_ns))
            self._publish(made[0], camera_info)
            self.statistics.finished()
            for consumer in self.consumers:
                consumer(made[0])

        self.guarded(work)
        return made[0] if made else None

    def _publish(self, frame: Frame, camera_info: Any) -> None:
        header = (frame.stamp_ns, frame.frame_id)
        if self._image_output.wanted():
            self._image_output.publish(image_to_ros(frame.image, header))
        if self._info_output.wanted():
            self._info_output.publish(camera_info_to_ros(frame.camera, header, frame.size_wh))
        if self._source_info_output.wanted():
            self._source_info_output.publish(camera_info_to_ros(frame.source_camera, header, frame.source_wh))

    def _check_silence(self) -> None:
        if time.monotonic() - self._last_image_s > SILENCE_S:
            self._problem = explain_silence(self, self.settings.image)
            self.get_logger().warning(self._problem, throttle_duration_sec=30.0)


def main() -> None:
    """Run alone: ``preprocess_node``."""
    run_node(PreprocessNode)


if __name__ == "__main__":
    main()
