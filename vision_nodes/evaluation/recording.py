"""A results bag read once: small results decoded and joined by stamp, pictures left as bytes until wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader

from vision_nodes.bags.reader import BagMessage, BagReader
from vision_nodes.errors import BagError, VisionNodesError
from vision_nodes.messages.from_ros import (
    OdometryState,
    StampedPose,
    compressed_image_from_ros,
    image_from_ros,
    label_names_from_ros,
    loop_closure_from_ros,
    odometry_from_ros,
    odometry_state_from_ros,
    place_matches_from_ros,
    pose_stamped_from_ros,
    stamp_ns,
    transform_from_ros,
)

# Messages whose arrival says that a task has answered a frame.
COMPLETION_TOPICS = {
    "detection": "/detections",
    "segmentation": "/segmentation/mask",
    "depth": "/depth/camera_info",
    "odometry": "/odometry/state",
    "place": "/place_matches",
}
PICTURE_TOPICS = ("/segmentation/mask", "/depth/image", "/ground_truth/depth", "/ground_truth/segmentation")
TRUTH = "/ground_truth/"


@dataclass
class Recording:
    """What a run published, by image stamp in ns, with the truth of the bag.

    Attributes:
        pictures: topic -> stamp -> serialized picture (masks, depths, camera images).
        detections, truth_detections: stamp -> Detection2DArray.
        label_names, truth_label_names: class of each mask id; empty = the package's general classes.
        poses: stamp -> published pose of the base frame in odom.
        truth_poses: stamp -> (4, 4) T_world_cam.
        T_base_cam: (4, 4) from /tf_static, None when it is not in the bag.
        keyframes: keyframe id -> stamp; places: the matches in order.
        closures: (query stamp, matched keyframe id, pose of the query's base in the matched base).
        loops: (stamp, other stamp, overlap) of the truth.
        sent: stamp -> clock at which the image was sent; arrived: task -> stamp -> clock of its answer.
        live: clocks are those of a live run, so latencies mean something.
    """

    path: Path
    image_topic: str = ""
    pictures: dict[str, dict[int, BagMessage]] = field(default_factory=dict)
    detections: dict[int, Any] = field(default_factory=dict)
    truth_detections: dict[int, Any] = field(default_factory=dict)
    label_names: list[str] = field(default_factory=list)
    truth_label_names: list[str] = field(default_factory=list)
    states: dict[int, OdometryState] = field(default_factory=dict)
    poses: dict[int, StampedPose] = field(default_factory=dict)
    truth_poses: dict[int, np.ndarray] = field(default_factory=dict)
    T_base_cam: np.ndarray | None = None
    T_map_odom: dict[int, np.ndarray] = field(default_factory=dict)
    keyframes: dict[int, int] = field(default_factory=dict)
    places: list[Any] = field(default_factory=list)
    closures: list[tuple[int, int, np.ndarray]] = field(default_factory=list)
    loops: list[tuple[int, int, float]] = field(default_factory=list)
    sent: dict[int, int] = field(default_factory=dict)
    arrived: dict[str, dict[int, int]] = field(default_factory=dict)
    diagnostics: dict[str, dict[str, str]] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0
    problem: str = ""

    @property
    def live(self) -> bool:
        """Whether log times are the clock of a live run."""
        return self.metadata.get("mode") == "live"

    def picture(self, topic: str, stamp: int) -> Any:
        """Decoded message of a picture topic; None when there is none."""
        message = self.pictures.get(topic, {}).get(stamp)
        return None if message is None else self._reader.deserialize(message)

    def image(self, stamp: int) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB camera image; None when the bag does not hold it."""
        message = self.picture(self.image_topic, stamp)
        if message is None:
            return None
        return image_from_ros(message) if hasattr(message, "encoding") else compressed_image_from_ros(message)

    def stamps(self, topic: str) -> list[int]:
        """Stamps of a picture topic in order."""
        return sorted(self.pictures.get(topic, {}))

    def __post_init__(self) -> None:
        self._reader = BagReader(self.path)


def read_recording(path: str | Path, ground_truth: str | Path | None = None) -> Recording:
    """Read a results bag, and the truth from it or from another bag.

    Raises:
        BagError: no bag, or none of the topics this package writes.
    """
    recording = Recording(Path(path))
    recording.metadata = read_metadata(Path(path))
    found = _take_all(recording, recording._reader.messages(), truth=ground_truth is None)
    if ground_truth is not None:
        other = BagReader(ground_truth)
        _take_all(recording, (m for m in other.messages() if m.topic.startswith(TRUTH)), truth=True)
    recording.problem = recording._reader.problem
    if not any(task in recording.arrived for task in COMPLETION_TOPICS):
        raise BagError(
            f"results on some of {', '.join(COMPLETION_TOPICS.values())}",
            f"topics: {', '.join(sorted(found)) or 'none'}",
            "run vision-nodes replay on the bag first and score what it wrote",
        )
    return recording


def read_metadata(path: Path) -> dict[str, str]:
    """The ``vision_nodes`` metadata record of an mcap file; empty when there is none."""
    if path.suffix != ".mcap" or not path.is_file():
        return {}
    try:
        with path.open("rb") as stream:
            for record in make_reader(stream).iter_metadata():
                if record.name == "vision_nodes":
                    return dict(record.metadata)
    except (McapError, ValueError, EOFError, OSError):  # cut off: the messages may still be good
        return {}
    return {}


def _take_all(recording: Recording, messages: Iterator[BagMessage], *, truth: bool) -> set[str]:
    found = set()
    for message in messages:
        found.add(message.topic)
        if message.topic.startswith(TRUTH) and not truth:
            continue
        try:
            _take(recording, message)
        except VisionNodesError:
            recording.unreadable += 1
    return found


def _take(recording: Recording, message: BagMessage) -> None:
    topic = message.topic
    is_image = message.msgtype in ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
    if topic in PICTURE_TOPICS or (is_image and "image_raw" in topic):
        stamp = header_stamp(message.data)
        recording.pictures.setdefault(topic, {})[stamp] = message
        if topic not in PICTURE_TOPICS:
            recording.image_topic = topic
            recording.sent[stamp] = message.log_time_ns
        if topic == "/segmentation/mask":
            recording.arrived.setdefault("segmentation", {})[stamp] = message.log_time_ns
        return
    handler = _HANDLERS.get(topic)
    if handler is not None:
        decoded = recording._reader.deserialize(message)
        for task, completion in COMPLETION_TOPICS.items():
            if topic == completion:
                recording.arrived.setdefault(task, {})[stamp_ns(decoded.header)] = message.log_time_ns
        handler(recording, decoded)


def header_stamp(data: bytes) -> int:
    """Stamp in ns of a little-endian CDR message that begins with std_msgs/Header, without decoding the rest."""
    if len(data) < 12:
        raise BagError("a message with a header", f"{len(data)} bytes", "the message is corrupt; skip it")
    seconds, nanoseconds = np.frombuffer(data, "<i4", 1, 4)[0], np.frombuffer(data, "<u4", 1, 8)[0]
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _take_labels(recording: Recording, message: Any) -> None:
    recording.label_names = label_names_from_ros(message)


def _take_truth_labels(recording: Recording, message: Any) -> None:
    recording.truth_label_names = label_names_from_ros(message)


def _take_state(recording: Recording, message: Any) -> None:
    state = odometry_state_from_ros(message)
    recording.states[state.stamp_ns] = state


def _take_pose(recording: Recording, message: Any) -> None:
    pose = odometry_from_ros(message)
    recording.poses[pose.stamp_ns] = pose


def _take_truth_pose(recording: Recording, message: Any) -> None:
    pose = pose_stamped_from_ros(message)
    recording.truth_poses[pose.stamp_ns] = pose.T_parent_child


def _take_tf(recording: Recording, message: Any) -> None:
    for stamped in message.transforms:
        transform = transform_from_ros(stamped)
        if transform.parent_frame == "map":
            recording.T_map_odom[transform.stamp_ns] = transform.T_parent_child


def _take_static(recording: Recording, message: Any) -> None:
    for stamped in message.transforms:
        if "optical" in stamped.child_frame_id:
            recording.T_base_cam = transform_from_ros(stamped).T_parent_child


def _take_places(recording: Recording, message: Any) -> None:
    result = place_matches_from_ros(message)
    recording.keyframes[result.keyframe_id] = result.stamp_ns
    recording.places.append(result)


def _take_closure(recording: Recording, message: Any) -> None:
    matched_id, pose = loop_closure_from_ros(message)
    recording.closures.append((pose.stamp_ns, matched_id, pose.T_parent_child))


def _take_loops(recording: Recording, message: Any) -> None:
    stamp = stamp_ns(message.header)
    for result in message.results:
        recording.loops.append((stamp, int(result.class_id), float(result.score)))


def _take_detections(recording: Recording, message: Any) -> None:
    recording.detections[stamp_ns(message.header)] = message


def _take_truth_detections(recording: Recording, message: Any) -> None:
    recording.truth_detections[stamp_ns(message.header)] = message


def _take_diagnostics(recording: Recording, message: Any) -> None:
    for status in message.status:
        recording.diagnostics[status.name.split("/")[-1]] = {pair.key: pair.value for pair in status.values}


_HANDLERS = {
    "/detections": _take_detections,
    "/segmentation/label_info": _take_labels,
    "/depth/camera_info": lambda recording, message: None,
    "/odometry/state": _take_state,
    "/odometry": _take_pose,
    "/place_matches": _take_places,
    "/loop_closures": _take_closure,
    "/tf": _take_tf,
    "/tf_static": _take_static,
    "/diagnostics": _take_diagnostics,
    "/ground_truth/pose": _take_truth_pose,
    "/ground_truth/label_info": _take_truth_labels,
    "/ground_truth/detections": _take_truth_detections,
    "/ground_truth/loops": _take_loops,
}
