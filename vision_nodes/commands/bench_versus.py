"""``vision-nodes bench --versus``: our container beside what a user would put together instead, in one run."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.evaluation.bench import COMPLETION_TOPICS, ResourceSampler, evaluate_run
from vision_nodes.nodes.container import TASKS
from vision_nodes.nodes.live import LiveSession, running_container, running_processes

PLAIN_TORCH = "vision_nodes.commands.plain_torch_node"
SATURATING_HZ = 30.0  # more than any of them can answer: what comes out is what they can do


@dataclass(frozen=True)
class Contender:
    """One way to run the five tasks."""

    name: str
    what: str
    commands: tuple[tuple[str, ...], ...] = ()  # a process each; none = our container
    parameters: tuple[str, ...] = ()
    shared_memory: bool = True
    tasks: tuple[str, ...] = TASKS  # whose nodes say on /diagnostics that they are active

    def start(self) -> AbstractContextManager[Any]:
        """The running graph; its value is the process, or the list of processes."""
        if not self.commands:
            return running_container(TASKS, self.parameters)
        return running_processes(self.commands, self.parameters, shared_memory=self.shared_memory)


def contenders() -> tuple[Contender, ...]:
    """Ours first; the others are compared with it."""
    cores = os.cpu_count() or 1
    ours = tuple((f"vision_nodes.nodes.{name}_node",) for name in ("preprocess", *TASKS))
    found = [
        Contender("container", "one process, as shipped"),
        Contender(
            "separate_processes",
            f"one process per node, ONNX Runtime with {cores} threads each, default Fast DDS",
            ours,
            ("backend:=onnxruntime", f"threads:={cores}"),
            shared_memory=False,
        ),
    ]
    if find_spec("torch") is not None:
        plain = tuple((PLAIN_TORCH, task) for task in ("detection", "segmentation", "depth", "place"))
        odometry = tuple(
            command for command in ours if "preprocess" in command[0] or "odometry" in command[0]
        )
        what = "the same networks in plain torch, a process and a conversion each; our odometry"
        found.append(Contender("plain_torch", what, plain + odometry, shared_memory=False))
    return tuple(found)


def measure_versus(bag: Path, repeats: int, console: Console) -> dict[str, Any]:
    """Frames per second that all per-frame tasks answer when the camera sends more than they can take.

    The contenders take turns, so that a noisy minute of the machine meets all of them.

    Returns:
        name -> {rate_hz (median), rates_hz, cpu_ms, p50_ms}, and "ratio": name -> ours divided by its rate.
    """
    runs: dict[str, list[dict[str, float]]] = {one.name: [] for one in contenders()}
    for turn in range(repeats):
        for one in contenders():
            console.print(f"{one.name}, turn {turn + 1} of {repeats} ...")
            runs[one.name].append(_saturate(one, bag))
    report: dict[str, Any] = {}
    for name, values in runs.items():
        report[name] = {key: statistics.median(v[key] for v in values) for key in values[0]}
        report[name]["rates_hz"] = [v["rate_hz"] for v in values]
    ours = report["container"]["rate_hz"]
    report["ratio"] = {
        name: ours / report[name]["rate_hz"] if report[name]["rate_hz"] else None
        for name in runs
        if name != "container"
    }
    return report


def _saturate(one: Contender, bag: Path) -> dict[str, float]:
    camera = find_camera_topics(BagReader(bag).topics())
    with one.start() as running, LiveSession(shared_memory=one.shared_memory) as session:
        processes = running if isinstance(running, list) else [running]
        session.wait_until_active(processes[0])
        samplers = [ResourceSampler(process.pid) for process in processes]
        recording = session.play(bag, SATURATING_HZ)
        result = evaluate_run(recording.messages, camera.image, SATURATING_HZ, TASKS, samplers[0])
        cpu_ms = sum(sampler.cpu_ms() for sampler in samplers)
    answered = min(result.answered.values())
    return {
        "rate_hz": answered * SATURATING_HZ / max(result.sent, 1),
        "cpu_ms": cpu_ms / max(answered, 1),
        "p50_ms": result.latency_ms["frame"].get("p50", float("nan")),
    }


def print_versus(report: dict[str, Any], console: Console) -> None:
    """The comparison as a table."""
    table = Table(
        title=f"all {len(COMPLETION_TOPICS)} per-frame tasks and places, camera at {SATURATING_HZ:g} Hz",
        title_justify="left",
    )
    for column in ("", "answered Hz", "of each turn", "ours ÷ this", "p50 ms", "CPU ms per answered frame"):
        table.add_column(column)
    for one in contenders():
        values = report[one.name]
        ratio = report["ratio"].get(one.name)
        table.add_row(
            f"{one.name}: {one.what}",
            f"{values['rate_hz']:.1f}",
            _listed(values["rates_hz"]),
            "-" if ratio is None else f"{ratio:.2f}",
            f"{values['p50_ms']:.0f}",
            f"{values['cpu_ms']:.0f}",
        )
    console.print(table)


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)
