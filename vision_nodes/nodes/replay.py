"""Run the graph over a bag in lock-step: every frame, the same bytes on every run.

The nodes are the container's own; only the network is left out. Each message goes through the same
callbacks, and what a node would publish is written to the results bag instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message

from vision_nodes.bags.reader import BagMessage, BagReader
from vision_nodes.bags.topics import CameraTopics, find_camera_topics
from vision_nodes.bags.writer import BagWriter
from vision_nodes.errors import BagError
from vision_nodes.messages.typestore import build_typestore
from vision_nodes.nodes.container import TASKS, Graph, compose
from vision_nodes.nodes.robot_sensors import handlers_by_topic
from vision_nodes.nodes.transforms import TransformBuffer
from vision_nodes.preprocess.frame import Frame
from vision_nodes.preprocess.pairing import StampPairer

PASSED_ON = ("/tf_static", "/ground_truth/")  # copied from the input, so that a results bag scores alone
PARALLEL_TASKS = ("detection", "segmentation", "depth")  # independent of each other and of odometry


@dataclass
class ReplaySummary:
    """What a replay did."""

    frames: int = 0  # image messages read
    processed: int = 0  # frames that reached the tasks
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # node -> counter -> value
    stages: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # node -> stage -> times
    models: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # task -> name, precision, backend, sha256
    problem: str = ""  # why the bag ended early, '' when it was whole


def replay(
    bag: str | Path,
    out: str | Path,
    *,
    tasks: Sequence[str] = TASKS,
    topic: str = "",
    parameters: dict[str, dict[str, Any]] | None = None,
    keep_images: bool = False,
    on_frame: Callable[[int], None] | None = None,
) -> ReplaySummary:
    """Run `tasks` over every image of `bag` and write all results to `out`.

    Args:
        bag: bag folder, .mcap or .db3.
        out: mcap file to write; replaced when it exists.
        topic: image topic; found by itself when the bag has one camera.
        parameters: node name -> parameter -> value.
        keep_images: copy the camera topics too.
        on_frame: called with the number of images read so far.

    Raises:
        BagError: no bag, no image topic, or no image that could be read.
        ConfigError, ModelError, EngineError: the graph cannot start.
    """
    reader = BagReader(bag)
    topics = find_camera_topics(reader.topics(), topic)
    context = rclpy.Context()
    rclpy.init(context=context, args=[])
    session = _Session(tasks, parameters or {}, context)
    try:
        session.start()
        with BagWriter(out) as writer:
            summary = session.run(reader, writer, topics, keep_images, on_frame or (lambda n: None))
            writer.add_metadata("vision_nodes", _provenance(session.graph, summary))
    finally:
        session.close()
        rclpy.shutdown(context=context)
    summary.problem = reader.problem
    if summary.processed == 0:
        raise BagError(
            f"at least one usable image on {topics.image}",
            f"{summary.frames} messages, none usable; {reader.problem or summary.counts.get('preprocess_node')}",
            "see the warnings above",
        )
    return summary


class _Session:
    """The composed graph with its outputs caught per task."""

    def __init__(self, tasks: Sequence[str], parameters: dict[str, dict[str, Any]], context: Any) -> None:
        self._caught = threading.local()
        self._typestore = build_typestore()
        self.buffer = TransformBuffer()
        overrides = {
            node: [Parameter(name, value=value) for name, value in values.items()]
            for node, values in parameters.items()
        }
        self.graph = compose(tasks, sink=self._sink, buffer=self.buffer, overrides=overrides, context=context)
        self._made: dict[str, Any] = self.graph.tasks
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="replay")
        self._poses: list[tuple[Frame, Any]] = []

    def start(self) -> None:
        """Configure and activate every node; the first failure is raised."""
        for node in self.graph.nodes:
            node.open_task()
            node.start_task()
            node.active = True
        self._sensors = handlers_by_topic(self._made.values())
        if "odometry" in self._made:
            odometry = self._made["odometry"]
            odometry.consumers.append(
                lambda frame, estimate: self._poses.append((frame, estimate.T_odom_cam))
            )
            if "depth" in self._made:
                self._made["depth"].consumers.append(odometry.accept_depth)

    def close(self) -> None:
        """Free everything."""
        self._pool.shutdown()
        for node in self.graph.nodes:
            node.stop_task()
            node.close_all()
            node.destroy_node()

    def run(
        self,
        reader: BagReader,
        writer: BagWriter,
        topics: CameraTopics,
        keep_images: bool,
        on_frame: Callable[[int], None],
    ) -> ReplaySummary:
        """All messages in file order; results go out under their image's log time."""
        pairer, summary = StampPairer(self.graph.preprocess.settings), ReplaySummary()
        for message in reader.messages():
            if message.topic.startswith(PASSED_ON) or (keep_images and message.topic in topics):
                writer.write(message)
            pairs: list[tuple[Any, Any, int]] = []
            if message.topic in self._sensors:
                self._sense(reader, message)
            if message.topic in ("/tf", "/tf_static"):
                self.graph.preprocess.guarded(partial(self._add_transforms, reader, message))
            elif message.topic in topics:
                decoded = self._decode(reader, message)
                if decoded is None:
                    continue
                if message.topic == topics.image:
                    summary.frames += 1
                    pairs = pairer.add_image(decoded, message.log_time_ns)
                    on_frame(summary.frames)
                else:
                    pairs = pairer.add_camera_info(decoded, message.log_time_ns)
            for pair in pairs:
                self._one_frame(pair, writer, summary)
        for pair in pairer.flush():
            self._one_frame(pair, writer, summary)
        summary.counts = {node.get_name(): node.statistics.counts() for node in self.graph.nodes}
        summary.stages = {node.get_name(): node.statistics.stages() for node in self.graph.nodes}
        summary.models = {
            task: describe_engine(node.engine) for task, node in self._made.items() if hasattr(node, "engine")
        }
        return summary

    def _sense(self, reader: BagReader, message: BagMessage) -> None:
        """What a robot's other sensors say goes to the nodes that listen to it."""
        decoded = self._decode(reader, message)
        for node, handler in self._sensors[message.topic] if decoded is not None else ():
            node.guarded(lambda handle=handler: handle(decoded))

    def _decode(self, reader: BagReader, message: BagMessage) -> Any:
        decoded: list[Any] = []
        self.graph.preprocess.guarded(lambda: decoded.append(reader.deserialize(message)))
        return decoded[0] if decoded else None

    def _one_frame(self, pair: tuple[Any, Any, int], writer: BagWriter, summary: ReplaySummary) -> None:
        image, camera_info, log_time_ns = pair
        frame = self.graph.preprocess.process_now(image, camera_info, log_time_ns)
        if frame is None:
            return
        summary.processed += 1
        for topic, msgtype, data in self._results(frame):
            writer.write(BagMessage(topic, msgtype, log_time_ns, data))

    def _add_transforms(self, reader: BagReader, message: BagMessage) -> None:
        self.buffer.add(reader.deserialize(message))

    def _results(self, frame: Frame) -> Iterator[tuple[str, str, bytes]]:
        """Serialized results of one frame: networks side by side, then odometry, then places."""
        jobs = [
            self._pool.submit(self._catch, partial(self._made[task].process_now, frame))
            for task in PARALLEL_TASKS
            if task in self._made
        ]
        for job in jobs:
            yield from job.result()
        self._poses = []
        if "odometry" in self._made:
            yield from self._catch(lambda: self._made["odometry"].process_now(frame))
        if "place" in self._made:
            # No odometry answer (frame refused, or no odometry in this graph): places work without.
            tracked, T_odom_cam = self._poses[0] if self._poses else (frame, None)
            yield from self._catch(lambda: self._made["place"].process_tracked(tracked, T_odom_cam))

    def _catch(self, work: Callable[[], None]) -> list[tuple[str, str, bytes]]:
        self._caught.messages = []
        work()
        return list(self._caught.messages)

    def _sink(self, topic: str, message: Any) -> None:
        kind = type(message)
        msgtype = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        name = topic if topic.startswith("/") else f"/{topic}"
        self._caught.messages.append((name, msgtype, self._canonical(serialize_message(message), msgtype)))

    def _canonical(self, data: bytes, msgtype: str) -> bytes:
        """The same message with its alignment gaps zeroed: rmw leaves whatever lay in memory there."""
        return bytes(self._typestore.serialize_cdr(self._typestore.deserialize_cdr(data, msgtype), msgtype))


def describe_engine(engine: Any) -> dict[str, str]:
    """Name, precision, backend and file hash of what really runs."""
    manifest = engine.manifest
    return {
        "name": manifest.name,
        "precision": engine.precision,
        "backend": engine.backend,
        "sha256": manifest.files[engine.precision].sha256,
    }


def _provenance(graph: Graph, summary: ReplaySummary) -> dict[str, str]:
    values = {"frames": str(summary.frames), "processed": str(summary.processed)}
    for task, model in sorted(summary.models.items()):
        values[f"model.{task}"] = " ".join(model.values())
    for node, counts in sorted(summary.counts.items()):
        for name, value in sorted(counts.items()):
            values[f"count.{node}.{name}"] = str(value)
    return values
