"""``vision-nodes bench``: rate, latency, CPU and memory of the whole graph, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.commands import bench_odometry, bench_places
from vision_nodes.commands.bench_versus import measure_versus, print_versus
from vision_nodes.evaluation.bench import (
    RateResult,
    ResourceSampler,
    default_bag,
    evaluate_run,
    measure_networks,
    split_cpu,
    stages_of,
)
from vision_nodes.nodes.container import TASKS
from vision_nodes.nodes.live import LiveSession, running_container

MODELS = {"detection": "detection", "segmentation": "segmentation", "depth": "depth", "place": "place"}
SUSTAINED_DROPS = 0.01  # a rate is sustained when every task answers all but this share of frames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Input, rates and output; ``bench odometry`` and ``bench places`` have their own."""
    what = parser.add_subparsers(dest="part", metavar="odometry | places")
    odometry = what.add_parser("odometry", help="odometry alone, without ROS")
    bench_odometry.add_arguments(odometry)
    places = what.add_parser("places", help="the keyframe index alone, at a stated size")
    bench_places.add_arguments(places)
    parser.add_argument("--bag", type=Path, help="bag to play (default: a rendered drive, 640x480)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each run")
    parser.add_argument("--rates", default="5,10,12.5,15,20,25,30", help="camera rates to try, Hz")
    parser.add_argument(
        "--versus",
        type=int,
        nargs="?",
        const=3,
        metavar="TURNS",
        help="also measure one process per node with default settings, in turns with ours (default 3)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")


def run(args: argparse.Namespace) -> int:
    """Networks alone, then the graph at rising rates until it drops frames."""
    if args.part == "odometry":
        return bench_odometry.run(args)
    if args.part == "places":
        return bench_places.run(args)
    console = Console(stderr=True)
    rates = [float(word) for word in args.rates.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        bag = args.bag or default_bag(Path(folder), args.seconds)
        console.print("networks, each alone ...")
        networks = measure_networks(MODELS)
        runs, stages = [], {}
        for rate in rates:
            console.print(f"graph at {rate:g} Hz ...")
            result, stages[rate] = _run_at(bag, rate)
            runs.append(result)
            if result.drops > 0.2:
                break
        versus = measure_versus(bag, args.versus, console) if args.versus else None
    report = summarise(runs, stages, networks)
    _print(report, runs, networks)
    if versus:
        report["versus"] = versus
        print_versus(versus, Console())
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _run_at(bag: Path, rate_hz: float) -> tuple[RateResult, dict[str, dict[str, float]]]:
    """One fresh container per rate, so that no rate inherits another's backlog or map."""
    reader = BagReader(bag)
    camera = find_camera_topics(reader.topics())
    with running_container() as process, LiveSession() as session:
        session.wait_until_active(process)
        sampler = ResourceSampler(process.pid)
        recording = session.play(bag, rate_hz, on_frame=lambda n: sampler.sample() if n % 15 == 0 else None)
        result = evaluate_run(recording.messages, camera.image, rate_hz, TASKS, sampler)
    return result, stages_of(recording.messages)


def summarise(
    runs: list[RateResult], stages: dict[float, dict[str, dict[str, float]]], networks: dict[str, Any]
) -> dict[str, Any]:
    """The JSON of a bench run."""
    sustained = [run for run in runs if run.drops < SUSTAINED_DROPS]
    best = max(sustained, key=lambda run: run.rate_hz) if sustained else runs[0]
    return {
        "rate_hz": best.rate_hz if sustained else 0.0,
        "latency_ms": best.latency_ms["frame"],
        "memory_mb": max(run.memory_mb for run in runs),
        "cpu_per_frame": split_cpu(runs[0], stages[runs[0].rate_hz]),
        "networks": networks,
        "runs": [{**asdict(run), "drops": run.drops} for run in runs],
        "stages": {str(rate): values for rate, values in stages.items()},
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
        },
    }


def _print(report: dict[str, Any], runs: list[RateResult], networks: dict[str, Any]) -> None:
    console = Console()
    table = Table(title="networks, one thread, alone", title_justify="left")
    for column in ("task", "model", "precision", "backend", "wall ms", "CPU ms"):
        table.add_column(column)
    for task, values in networks.items():
        times = (f"{values[key]:.1f}" for key in ("wall_ms", "cpu_ms"))
        table.add_row(task, values["model"], values["precision"], values["backend"], *times)
    console.print(table)
    table = Table(title="whole graph, five tasks, one container", title_justify="left")
    for column in ("camera Hz", "drops %", "p50 ms", "p95 ms", "CPU ms/frame", "peak MB"):
        table.add_column(column, justify="right")
    for run in runs:
        frame = run.latency_ms["frame"]
        values = (run.rate_hz, 100 * run.drops, frame.get("p50"), frame.get("p95"), run.cpu_ms, run.memory_mb)
        table.add_row(*("-" if value is None else f"{value:.1f}" for value in values))
    console.print(table)
    cpu = report["cpu_per_frame"]
    console.print(
        f"sustained {report['rate_hz']:g} Hz; CPU per frame {cpu['total_ms']:.1f} ms = networks "
        f"{cpu['networks_ms']:.1f} + algorithms {cpu['algorithms_ms']:.1f} + overhead {cpu['overhead_ms']:.1f}; "
        f"peak memory {report['memory_mb']:.0f} MB"
    )
