"""``vision-nodes demo``: render a drive, run the graph on it live, score the answers against the truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from vision_nodes.evaluation.preview import write_preview
from vision_nodes.evaluation.recording import read_recording
from vision_nodes.evaluation.report import write_report
from vision_nodes.evaluation.score import score_recording
from vision_nodes.nodes.live import LiveRecording, LiveSession, running_container
from vision_nodes.nodes.live_bag import write_results_bag
from vision_nodes.simulation.drive import write_drive_bag
from vision_nodes.simulation.world import World


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """World, length and pace of the drive."""
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="output folder (default demo_out)")
    parser.add_argument("--seed", type=int, default=0, help="which street")
    parser.add_argument("--duration", type=float, default=20.0, metavar="S", help="length of the drive")
    parser.add_argument("--rate", type=float, default=15.0, metavar="HZ", help="camera rate")


def run(args: argparse.Namespace) -> int:
    """Four steps: drive, live run, scores, pictures."""
    console = Console(stderr=True)
    args.out.mkdir(parents=True, exist_ok=True)
    drive, results = args.out / "drive.mcap", args.out / "results.mcap"
    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        frames = round(args.rate * args.duration)
        rendering = progress.add_task("render the drive", total=frames)
        write_drive_bag(
            drive,
            World.street(args.seed),
            rate_hz=args.rate,
            duration_s=args.duration,
            on_frame=lambda n: progress.update(rendering, completed=n),
        )
        recording = _run_live(drive, args.out / "container.log", progress, frames)
        scoring = progress.add_task("score and draw", total=4)
        write_results_bag(results, drive, recording)
        progress.advance(scoring)
        scores = score_recording(read_recording(results))
        (args.out / "metrics.json").write_text(json.dumps(scores.metrics, indent=2, allow_nan=False) + "\n")
        progress.advance(scoring)
        write_preview(scores, args.out / "preview.png")
        progress.advance(scoring)
        write_report(scores, args.out / "report.html")
        progress.advance(scoring)
    print_metrics(scores.metrics, args.out)
    return 0


def _run_live(drive: Path, log: Path, progress: Progress, frames: int) -> LiveRecording:
    starting: TaskID = progress.add_task("start the graph", total=1)
    with running_container(log=log) as process, LiveSession() as session:
        session.wait_until_active(process)
        progress.advance(starting)
        playing = progress.add_task("drive through the graph", total=frames)
        return session.play(drive, on_frame=lambda n: progress.update(playing, completed=n))


def print_metrics(metrics: dict[str, object], out: Path) -> None:
    """Two tables: what ran how fast, and how right it was."""
    console = Console()
    rates = Table(title=f"{out}: five answers from one camera", title_justify="left")
    for column in ("task", "results", "rate Hz", "latency p50 ms", "p95 ms", "model"):
        rates.add_column(column, justify="left" if column in ("task", "model") else "right")
    tasks: dict[str, dict[str, object]] = metrics["tasks"]  # type: ignore[assignment]
    for task, values in tasks.items():
        latency: dict[str, float] = values["latency_ms"]  # type: ignore[assignment]
        rates.add_row(
            task,
            str(values["results"]),
            _number(values["rate_hz"]),
            _number(latency["p50"]),
            _number(latency["p95"]),
            str(values.get("model", "")),
        )
    console.print(rates)
    scores = Table(title="accuracy against the exact truth", title_justify="left")
    scores.add_column("task")
    scores.add_column("figure")
    scores.add_column("value", justify="right")
    for task in ("detection", "segmentation", "depth", "odometry", "places"):
        section = metrics.get(task)
        for name, value in section.items() if isinstance(section, dict) else ():
            if isinstance(value, (int, float)) or value is None:
                scores.add_row(task, name, _number(value))
    console.print(scores)


def _number(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
