"""``vision-nodes build MODEL``: the TensorRT engine of a model for this GPU."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from vision_nodes.engine.loader import build_engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="name, name:precision or manifest path")


def run(args: argparse.Namespace) -> int:
    """Build each into the cache, with progress; an error names what is missing."""
    columns = (TextColumn("{task.description:40}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for model in args.models:
            task = progress.add_task(model, total=1.0)

            def show(what: str, done: float, task: TaskID = task) -> None:
                progress.update(task, completed=done, description=what)

            with build_engine(model, on_build=show) as engine:
                progress.update(task, completed=1.0, description=f"{model}: {engine.precision}")
    return 0
