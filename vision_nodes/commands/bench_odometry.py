"""``vision-nodes bench odometry INPUT...``: accuracy, consistency and CPU time of odometry alone, without ROS."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from vision_nodes.camera.model import CameraModel
from vision_nodes.config import replace_checked
from vision_nodes.datatypes import DepthMap
from vision_nodes.engine.loader import open_engine
from vision_nodes.errors import ConfigError
from vision_nodes.evaluation.odometry_baseline import baseline_figures
from vision_nodes.evaluation.odometry_inputs import OdometryInput, load_input
from vision_nodes.evaluation.odometry_run import DepthSource, figures_of_run, run_odometry
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import DepthEstimator

SHOWN = {
    "baseline_ate_sim3_m": ("OpenCV ATE m", 1, ".3f"),
    "tracked_fraction": ("tracked %", 100, ".1f"),
    "ate_sim3_m": ("ATE Sim3 m", 1, ".3f"),
    "ate_sim3_percent": ("% of path", 1, ".2f"),
    "scale_error": ("scale err %", 100, ".1f"),
    "rotation_drift_deg_per_m": ("deg/m", 1, ".3f"),
    "anees": ("ANEES/6", 1, ".2f"),
    "cpu_p50_ms": ("p50 ms", 1, ".1f"),
    "cpu_p95_ms": ("p95 ms", 1, ".1f"),
    "cpu_keyframe_p50_ms": ("keyframe ms", 1, ".1f"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs, runs and settings."""
    parser.add_argument("inputs", nargs="+", help="sequence folders, street:SEED or indoor:SEED")
    parser.add_argument("--runs", type=int, default=1, help="runs per input; all but the first add noise")
    parser.add_argument("--frames", type=int, help="use the first frames only")
    parser.add_argument("--depth", choices=("none", "sensor", "network"), default="none", help="scale from")
    parser.add_argument(
        "--baseline", action="store_true", help="also plain OpenCV, with true step lengths given"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="odometry setting")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "vision_nodes_drives")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all runs")


def run(args: argparse.Namespace) -> int:
    """Run every input and print the medians with the spread."""
    cv2.setNumThreads(1)
    settings = settings_of(args.set, args.depth)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in args.inputs:
        source = load_input(name, args.frames, args.cache)
        depth = depth_source(source, args.depth)
        runs = []
        for seed in range(args.runs):
            noisy = source.noisy(seed)
            answer = run_odometry(noisy, settings, depth, sensor=args.depth == "sensor")
            runs.append(figures_of_run(noisy, answer))
            if args.baseline:
                runs[-1] |= baseline_figures(noisy)
        rows[source.name] = runs
    Console(width=240).print(_table(rows, args.runs))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def settings_of(changes: list[str], depth: str) -> OdometrySettings:
    """Settings from NAME=VALUE words; ConfigError for a word that is none."""
    defaults = OdometrySettings()
    values: dict[str, Any] = {} if depth == "none" else {"scale": "from_depth"}
    for word in changes:
        name, equals, text = word.partition("=")
        if not equals or not hasattr(defaults, name):
            raise ConfigError("NAME=VALUE of an odometry setting", repr(word), "see docs/odometry.md")
        kind = type(getattr(defaults, name))
        values[name] = text.lower() in ("true", "1") if kind is bool else kind(text)
    return replace_checked(defaults, values)


def depth_source(source: OdometryInput, kind: str) -> DepthSource | None:
    """Where a frame's depth comes from: the input's depth camera, or the depth network."""
    if kind == "none":
        return None
    if kind == "sensor":
        return lambda frame: source.depths.get(frame.stamp_ns)
    estimator = DepthEstimator(open_engine("depth"))

    def estimate(frame: Frame) -> tuple[DepthMap, CameraModel]:
        answer = estimator.estimate(frame)
        camera = frame.scaled_camera((answer.depth_m.shape[1], answer.depth_m.shape[0]))
        assert camera is not None
        return answer, camera

    return estimate


def _table(rows: dict[str, list[dict[str, Any]]], runs: int) -> Table:
    spread = f", median of {runs} runs (least to most)" if runs > 1 else ""
    table = Table(title=f"odometry{spread}", title_justify="left")
    table.add_column("input")
    shown = {k: v for k, v in SHOWN.items() if any(k in r for runs in rows.values() for r in runs)}
    for heading, _, _ in shown.values():
        table.add_column(heading, justify="right")
    for name, results in rows.items():
        cells = []
        for key, (_, factor, style) in shown.items():
            values = [factor * r[key] for r in results if r.get(key) is not None]
            text = format(np.median(values), style) if values else "-"
            if len(values) > 1:
                text += f" ({format(min(values), style)} to {format(max(values), style)})"
            cells.append(text)
        table.add_row(name, *cells)
    return table
