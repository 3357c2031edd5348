"""Measure the graph as a user runs it: in its own process, fed over the middleware."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from vision_nodes.bags.reader import BagMessage
from vision_nodes.engine.loader import open_engine
from vision_nodes.messages.from_ros import stamp_ns
from vision_nodes.messages.typestore import build_typestore

# One message of this topic per frame says that the task has answered; places answer per keyframe.
COMPLETION_TOPICS = {
    "detection": "/detections",
    "segmentation": "/segmentation/mask",
    "depth": "/depth/camera_info",
    "odometry": "/odometry/state",
}
MB = 1024 * 1024


@dataclass(frozen=True)
class RateResult:
    """What happened at one camera rate."""

    rate_hz: float
    sent: int
    answered: dict[str, int]  # task -> frames answered
    latency_ms: dict[str, dict[str, float]]  # task -> p50, p95, p99; "frame" = the last result due
    cpu_ms: float  # CPU of the container process per frame, children (solvers) not included
    memory_mb: float  # peak resident memory of the container with its children

    @property
    def drops(self) -> float:
        """Share of frames that some task did not answer."""
        return 1.0 - min(self.answered.values()) / self.sent if self.answered else 1.0


@dataclass
class ResourceSampler:
    """CPU and peak memory of a process and its children."""

    pid: int
    peak_mb: float = 0.0
    _begin: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._process = psutil.Process(self.pid)
        self._begin = self._cpu_s()

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def sample(self) -> None:
        """Note the memory now."""
        processes = [self._process, *self._process.children(recursive=True)]
        # USS counts what is this process's alone: pages that solvers share with it are not counted twice.
        total = sum(process.memory_full_info().uss for process in processes if process.is_running())
        self.peak_mb = max(self.peak_mb, total / MB)

    def cpu_ms(self) -> float:
        """CPU milliseconds since construction."""
        return (self._cpu_s() - self._begin) * 1e3


def evaluate_run(
    messages: Sequence[BagMessage],
    camera_topic: str,
    rate_hz: float,
    tasks: Sequence[str],
    sampler: ResourceSampler,
) -> RateResult:
    """Latencies and drops of one recorded run."""
    sent, results = _by_stamp(messages, camera_topic)
    latencies: dict[str, list[float]] = {task: [] for task in tasks if task in COMPLETION_TOPICS}
    frame_latencies = []
    for stamp, sent_ns in sent.items():
        arrivals = {task: results.get((COMPLETION_TOPICS[task], stamp)) for task in latencies}
        for task, arrival in arrivals.items():
            if arrival is not None:
                latencies[task].append((arrival - sent_ns) * 1e-6)
        if all(arrivals.values()):
            frame_latencies.append((max(a for a in arrivals.values() if a) - sent_ns) * 1e-6)
    summary = {task: percentiles(values) for task, values in latencies.items()}
    summary["frame"] = percentiles(frame_latencies)
    answered = {task: len(values) for task, values in latencies.items()}
    return RateResult(
        rate_hz, len(sent), answered, summary, sampler.cpu_ms() / max(len(sent), 1), sampler.peak_mb
    )


def _by_stamp(
    messages: Sequence[BagMessage], camera_topic: str
) -> tuple[dict[int, int], dict[tuple[str, int], int]]:
    """Image stamp -> sending clock, and (topic, stamp) -> arrival clock, ns."""
    store = build_typestore()
    sent: dict[int, int] = {}
    results: dict[tuple[str, int], int] = {}
    for message in messages:
        if message.topic == camera_topic:
            sent[_header_stamp(message.data)] = message.log_time_ns
        elif message.topic in COMPLETION_TOPICS.values():
            stamp = stamp_ns(store.deserialize_cdr(message.data, message.msgtype).header)  # type: ignore[attr-defined]
            results[message.topic, stamp] = message.log_time_ns
    return sent, results


def _header_stamp(data: bytes) -> int:
    """Stamp of a little-endian CDR message that begins with std_msgs/Header; spares decoding the image."""
    seconds, nanoseconds = np.frombuffer(data, "<i4", 1, 4)[0], np.frombuffer(data, "<u4", 1, 8)[0]
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 of a sample; empty when there is none."""
    if not values:
        return {}
    return {f"p{q}": float(np.percentile(values, q)) for q in (50, 95, 99)}


def measure_networks(models: dict[str, str], repeats: int = 15) -> dict[str, dict[str, Any]]:
    """Task -> wall and CPU time of one inference, ms, medians, each engine alone on the machine.

    CPU time is the whole process's, so that engines with threads of their own are counted fully.
    """
    result: dict[str, dict[str, Any]] = {}
    for task, model in models.items():
        with open_engine(model) as engine:
            image = np.random.default_rng(0).integers(0, 255, (*engine.input_hw, 3), dtype=np.uint8)
            walls, cpus = [], []
            for _ in range(repeats):
                wall, cpu = time.perf_counter(), time.process_time()
                engine.infer(image)
                walls.append((time.perf_counter() - wall) * 1e3)
                cpus.append((time.process_time() - cpu) * 1e3)
            result[task] = {
                "wall_ms": statistics.median(walls),
                "cpu_ms": statistics.median(cpus),
                "model": engine.manifest.name,
                "precision": engine.precision,
                "backend": engine.backend,
            }
    return result


def stages_of(messages: Sequence[BagMessage]) -> dict[str, dict[str, float]]:
    """Node -> numeric values of its last diagnostics in a recording."""
    store = build_typestore()
    nodes: dict[str, dict[str, float]] = {}
    for message in messages:
        if message.topic != "/diagnostics":
            continue
        for status in store.deserialize_cdr(message.data, message.msgtype).status:  # type: ignore[attr-defined]
            values = {}
            for pair in status.values:
                try:
                    values[pair.key] = float(pair.value)
                except ValueError:
                    continue
            nodes[status.name.split("/")[-1]] = values
    return nodes


ALGORITHMS = (("odometry_node", "track"), ("detection_node", "track"))


def split_cpu(run: RateResult, stages: dict[str, dict[str, float]]) -> dict[str, float]:
    """Where one frame's CPU went, ms: networks, algorithms (tracking, verification), everything else.

    Networks and algorithms are the thread times of the nodes' own stages while the graph ran (engines run in
    the calling thread); overhead is what remains of the process: decode, remap, message building, transport,
    Python. With more than one thread per engine the pool's share counts as overhead.
    """

    def per_frame(node: str, stage: str) -> float:
        values = stages.get(node, {})
        share = min(values.get(f"{stage}_n", 0.0) / max(run.sent, 1), 1.0)
        return share * values.get(f"{stage}_cpu_ms", 0.0)

    network = sum(per_frame(node, "network") for node in stages)
    algorithms = sum(per_frame(node, stage) for node, stage in ALGORITHMS)
    algorithms += per_frame("place_node", "total") - per_frame("place_node", "network")
    return {
        "total_ms": run.cpu_ms,
        "networks_ms": network,
        "algorithms_ms": algorithms,
        "overhead_ms": run.cpu_ms - network - algorithms,
    }


def default_bag(folder: Path, seconds: float) -> Path:
    """A rendered drive to measure on; made once per folder."""
    from vision_nodes.simulation.drive import write_drive_bag
    from vision_nodes.simulation.world import World

    path = folder / f"bench_{seconds:g}s.mcap"
    if not path.exists():
        write_drive_bag(path, World.street(0), rate_hz=15.0, duration_s=seconds)
    return path
