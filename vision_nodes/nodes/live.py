"""Play a bag as a live camera into a running graph and record what the graph publishes.

The graph runs in another process; messages really cross the middleware. Every result is recorded
with the time it arrived and every image with the time it was sent, so latency can be read from the
recording: a result's arrival minus the sending of the image with the same stamp.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from vision_nodes.bags.reader import BagMessage, BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.errors import EngineError
from vision_nodes.nodes.base import LATCHED
from vision_nodes.nodes.container import TASKS
from vision_nodes.nodes.transforms import STATIC_QOS
from vision_nodes.resources import find_resource

RESULT_TYPES: dict[str, type] = {
    "/detections": Detection2DArray,
    "/segmentation/mask": Image,
    "/segmentation/camera_info": CameraInfo,
    "/segmentation/label_info": LabelInfo,
    "/depth/image": Image,
    "/depth/camera_info": CameraInfo,
    "/odometry": Odometry,
    "/odometry/state": DiagnosticArray,
    "/path": PathMessage,
    "/map_path": PathMessage,
    "/place_matches": Classification,
    "/loop_closures": PoseWithCovarianceStamped,
    "/pose_graph": MarkerArray,
    "/tf": TFMessage,
    "/diagnostics": DiagnosticArray,
}
DEEP = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
# The camera side keeps a few images; best effort, as camera drivers are, would add drops of its own.
CAMERA_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
START_LIMIT_S = 90.0
SETTLE_S = 1.5  # results still under way after the last image


@dataclass
class LiveRecording:
    """Everything that crossed the graph, in order of time; log times are this machine's clock, ns."""

    messages: list[BagMessage] = field(default_factory=list)
    sent: int = 0
    start_s: float = 0.0  # from process start to all nodes active


def shared_memory_environment() -> dict[str, str]:
    """Environment that gives Fast DDS a segment that holds images; both sides of a topic need it.

    With the default segment of half a megabyte most best-effort images between processes are lost.
    """
    profile = find_resource("launch", "fastdds_shm.xml")
    return {"FASTRTPS_DEFAULT_PROFILES_FILE": str(profile)}


@contextmanager
def running_container(
    tasks: Sequence[str] = TASKS, parameters: Sequence[str] = (), log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The composed graph in a process of its own, stopped at the end.

    Args:
        tasks: what to run.
        parameters: ``node:name:=value`` assignments.
        log: file for its output; None discards it.
    """
    assignments = (f"tasks:={','.join(tasks)}", *parameters)
    with running_processes([("vision_nodes.nodes.container",)], assignments, log=log) as (process,):
        yield process


@contextmanager
def running_processes(
    commands: Sequence[Sequence[str]],
    parameters: Sequence[str] = (),
    *,
    shared_memory: bool = True,
    log: Path | None = None,
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Nodes in processes of their own, stopped at the end.

    Args:
        commands: module and its arguments, one per process.
        parameters: ``name:=value`` assignments, given to every node.
        shared_memory: with the shipped Fast DDS profile; False = the middleware's defaults.
        log: file for their output; None discards it.
    """
    arguments = ["--ros-args", *(word for assignment in parameters for word in ("-p", assignment))]
    environment = dict(os.environ)
    _choose_profile(environment, shared_memory)
    processes: list[subprocess.Popen[bytes]] = []
    with (log or Path(os.devnull)).open("wb") as output:
        try:
            for command in commands:
                words = [sys.executable, "-m", *command, *arguments]
                processes.append(
                    subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, env=environment)
                )
            yield processes
        finally:
            for process in processes:
                process.send_signal(signal.SIGINT)
            for process in processes:
                _wait_or_kill(process)


def _choose_profile(environment: MutableMapping[str, str], shared_memory: bool) -> None:
    """Name the shipped Fast DDS profile, unless another is named; or none at all."""
    for name, value in shared_memory_environment().items():
        if shared_memory:
            environment.setdefault(name, value)
        else:
            environment.pop(name, None)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class LiveSession:
    """A node that is camera and recorder at once; a context manager."""

    def __init__(self, tasks: Sequence[str] = TASKS, *, shared_memory: bool = True) -> None:
        _choose_profile(os.environ, shared_memory)  # read when the first node is made
        self._context = rclpy.Context()
        rclpy.init(context=self._context, args=[])
        self.node = rclpy.create_node("vision_nodes_live", context=self._context)
        self.recording = LiveRecording()
        self._expected = {"preprocess_node", *(f"{task}_node" for task in tasks)}
        self.statuses: dict[str, dict[str, str]] = {}  # node -> its last diagnostics
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        for topic, msgtype in RESULT_TYPES.items():
            qos = LATCHED if topic.endswith("label_info") else DEEP
            self.node.create_subscription(msgtype, topic, self._recorder(topic, msgtype), qos, raw=True)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> LiveSession:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join(5)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def _recorder(self, topic: str, msgtype: type) -> Callable[[bytes], None]:
        name = ros_type_name(msgtype)

        def record(data: bytes) -> None:
            self.recording.messages.append(BagMessage(topic, name, time.time_ns(), bytes(data)))
            if topic == "/diagnostics":
                for status in deserialize_message(data, DiagnosticArray).status:
                    values = {pair.key: pair.value for pair in status.values}
                    self.statuses[status.name.split("/")[-1]] = values

        return record

    def wait_until_active(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """Block until every expected node reports itself active on /diagnostics.

        Raises:
            EngineError: the process ended, or some node did not come up in time; names them.
        """
        begin = time.monotonic()
        while True:
            missing = sorted(
                name for name in self._expected if self.statuses.get(name, {}).get("active") != "True"
            )
            if not missing:
                self.recording.start_s = time.monotonic() - begin
                return
            ended = process is not None and process.poll() is not None
            if ended or time.monotonic() - begin > START_LIMIT_S:
                raise EngineError(
                    "all nodes active",
                    f"{'the process ended' if ended else 'no answer in time'}, not active: {', '.join(missing)}",
                    "read the container's log",
                )
            time.sleep(0.1)

    def play(
        self,
        bag: Path,
        rate_hz: float | None = None,
        *,
        topic: str = "",
        on_frame: Callable[[int], None] | None = None,
    ) -> LiveRecording:
        """Send the camera messages at the bag's own pace, or at `rate_hz`, and record until things settle.

        The recording starts empty here. Ground truth and static transforms of the bag are taken over.
        """
        reader = BagReader(bag)
        camera = find_camera_topics(reader.topics(), topic)
        loaded = [m for m in reader.messages() if m.topic in camera or m.topic == "/tf_static"]
        classes = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
        images = [m for m in loaded if m.topic == camera.image]
        infos = {m.log_time_ns: m for m in loaded if m.topic == camera.camera_info}
        self._publish_static([m for m in loaded if m.topic == "/tf_static"])
        image_type = classes[images[0].msgtype]
        image_out = self.node.create_publisher(image_type, camera.image, CAMERA_QOS)
        info_out = self.node.create_publisher(CameraInfo, camera.camera_info or "camera_info", CAMERA_QOS)
        self._wait_for_subscriber(image_out)
        self.recording = LiveRecording(start_s=self.recording.start_s)
        begin, first = time.monotonic(), images[0].log_time_ns
        for i, message in enumerate(images):
            due = i / rate_hz if rate_hz else (message.log_time_ns - first) * 1e-9
            time.sleep(max(0.0, begin + due - time.monotonic()))
            info = infos.get(message.log_time_ns)
            sent_ns = time.time_ns()
            if info is not None:
                info_out.publish(info.data)
            image_out.publish(message.data)
            self.recording.messages.append(BagMessage(message.topic, message.msgtype, sent_ns, message.data))
            if info is not None:
                self.recording.messages.append(BagMessage(info.topic, info.msgtype, sent_ns, info.data))
            self.recording.sent = i + 1
            if on_frame is not None:
                on_frame(i + 1)
        time.sleep(SETTLE_S)
        return self.recording

    def _publish_static(self, messages: list[BagMessage]) -> None:
        if messages:
            self._static = self.node.create_publisher(TFMessage, "/tf_static", STATIC_QOS)
            for message in messages:
                self._static.publish(deserialize_message(message.data, TFMessage))

    @staticmethod
    def _wait_for_subscriber(publisher: Any) -> None:
        begin = time.monotonic()
        while publisher.get_subscription_count() == 0:
            if time.monotonic() - begin > START_LIMIT_S:
                raise EngineError(
                    f"a subscriber on {publisher.topic_name}", "none", "start the graph with this image topic"
                )
            time.sleep(0.05)
        time.sleep(0.3)  # discovery of the other direction


def ros_type_name(msgtype: type) -> str:
    """``sensor_msgs/msg/Image`` of its Python class."""
    return f"{msgtype.__module__.split('.')[0]}/msg/{msgtype.__name__}"
