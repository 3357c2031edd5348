"""``vision-nodes replay BAG OUT.mcap``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.errors import ConfigError
from vision_nodes.nodes.container import TASKS
from vision_nodes.nodes.replay import ReplaySummary, replay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Bag, output, choice of camera, tasks and parameters."""
    parser.add_argument("bag", type=Path, help="bag folder, .mcap or .db3")
    parser.add_argument("out", type=Path, metavar="OUT.mcap")
    parser.add_argument("--topic", default="", help="image topic, when the bag has several cameras")
    parser.add_argument("--task", action="append", choices=TASKS, help="run only this task (repeatable)")
    parser.add_argument(
        "--model", action="append", default=[], metavar="TASK=NAME[:PRECISION]", help="model of a task"
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NODE.NAME=VALUE",
        help="node parameter, e.g. odometry_node.base_frame=''",
    )
    parser.add_argument(
        "--keep-images", action="store_true", help="copy the camera topics into the results bag"
    )


def run(args: argparse.Namespace) -> int:
    """Replay with a progress bar, then a table."""
    parameters = parse_parameters(args.model, args.param)
    reader = BagReader(args.bag)
    camera = find_camera_topics(reader.topics(), args.topic)
    total = sum(1 for message in reader.messages([camera.image]))
    columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("replay", total=total)
        summary = replay(
            args.bag,
            args.out,
            tasks=args.task or TASKS,
            topic=args.topic,
            parameters=parameters,
            keep_images=args.keep_images,
            on_frame=lambda n: progress.update(task, completed=n),
        )
    print_summary(summary, args.out)
    return 0


def parse_parameters(models: list[str], parameters: list[str]) -> dict[str, dict[str, Any]]:
    """``task=name:precision`` and ``node.name=value`` (YAML values) -> node -> parameter -> value."""
    parsed: dict[str, dict[str, Any]] = {}
    for text in models:
        task, equals, model = text.partition("=")
        if not equals or task not in TASKS or task == "odometry":
            raise ConfigError(
                "--model TASK=NAME[:PRECISION]", repr(text), f"tasks: {', '.join(TASKS)} without odometry"
            )
        parsed.setdefault(f"{task}_node", {})["model"] = model
    for text in parameters:
        name, equals, value = text.partition("=")
        node, dot, parameter = name.partition(".")
        if not (equals and dot):
            raise ConfigError(
                "--param NODE.NAME=VALUE", repr(text), "e.g. detection_node.score_threshold=0.5"
            )
        parsed.setdefault(node, {})[parameter] = yaml.safe_load(value)
    return parsed


def print_summary(summary: ReplaySummary, out: Path) -> None:
    """Per node: results, drops, times, and what really ran."""
    table = Table(title=f"{out}: {summary.processed} of {summary.frames} frames", title_justify="left")
    for column in ("node", "results", "rejected", "failed", "p50 ms", "p95 ms", "model"):
        table.add_column(column, justify="left" if column in ("node", "model") else "right")
    for node, counts in summary.counts.items():
        total = summary.stages.get(node, {}).get("total", {})
        model = summary.models.get(node.removesuffix("_node"), {})
        table.add_row(
            node,
            str(counts.get("published", 0)),
            str(counts.get("rejected", 0)),
            str(counts.get("failed", 0)),
            f"{total.get('p50_ms', float('nan')):.1f}",
            f"{total.get('p95_ms', float('nan')):.1f}",
            " ".join(model.get(key, "") for key in ("name", "precision", "backend")),
        )
    console = Console()
    console.print(table)
    if summary.problem:
        console.print(summary.problem)
