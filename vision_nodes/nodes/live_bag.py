"""A live recording as one results bag: input, answers and truth, joined by stamp."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vision_nodes.bags.reader import BagMessage, BagReader
from vision_nodes.bags.writer import BagWriter
from vision_nodes.messages.from_ros import image_from_ros
from vision_nodes.messages.typestore import build_typestore
from vision_nodes.nodes.live import LiveRecording

JPEG_QUALITY = 95


def write_results_bag(out: Path, source: Path, recording: LiveRecording) -> None:
    """Write everything a live run sent and received, plus the source bag's ground truth.

    Log times are the clock of the run, so a result's latency is its log time minus that of the image with
    the same stamp. Raw images are stored as JPEG (``…/compressed``), a tenth of the size; truth keeps the
    source's log times.
    """
    store = build_typestore()
    with BagWriter(out) as writer:
        for message in BagReader(source).messages():
            if message.topic.startswith("/ground_truth/") or message.topic == "/tf_static":
                writer.write(message)
        for message in sorted(recording.messages, key=lambda m: m.log_time_ns):
            is_camera = message.msgtype == "sensor_msgs/msg/Image" and message.topic.endswith("image_raw")
            writer.write(_as_jpeg(message, store) if is_camera else message)
        writer.add_metadata(
            "vision_nodes",
            {"mode": "live", "sent": str(recording.sent), "start_s": f"{recording.start_s:.3f}"},
        )


def _as_jpeg(message: BagMessage, store: object) -> BagMessage:
    image = store.deserialize_cdr(message.data, message.msgtype)  # type: ignore[attr-defined]
    bgr = cv2.cvtColor(image_from_ros(image), cv2.COLOR_RGB2BGR)
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    compressed = store.types["sensor_msgs/msg/CompressedImage"](  # type: ignore[attr-defined]
        header=image.header, format="rgb8; jpeg compressed bgr8", data=np.asarray(coded).reshape(-1)
    )
    kind = "sensor_msgs/msg/CompressedImage"
    data = bytes(store.serialize_cdr(compressed, kind))  # type: ignore[attr-defined]
    return BagMessage(f"{message.topic}/compressed", kind, message.log_time_ns, data)
