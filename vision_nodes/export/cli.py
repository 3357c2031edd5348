"""The verb `export`; `quantize` and `verify` are in export/int8_cli.py."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import ConfigError
from vision_nodes.export.half import add_half
from vision_nodes.export.int8_cli import (
    add_quantize_arguments,
    add_verify_arguments,
    run_quantize,
    run_verify,
)
from vision_nodes.export.measure import measure
from vision_nodes.export.release import release_fp32
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import CONFIG_DIR, TrainingConfig, read_config
from vision_nodes.training.registry import TASKS, make_task

DEVELOPMENT = "pictures held out of the training split"
MODELS = Path(__file__).resolve().parents[2] / "models"


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vision-nodes export`."""
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", help="best.pt of a run; with --fp16 also the manifest of a model"
    )
    parser.add_argument("--initial", choices=sorted(TASKS), help="export the transferred weights instead")
    parser.add_argument("--fp16", action="store_true", help="also derive half-precision files for TensorRT")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder for the .onnx and .yaml")


def run_export(arguments: argparse.Namespace) -> int:
    """Write the FP32 model, check it against torch, measure it on the development split."""
    if arguments.fp16 and arguments.checkpoint is not None and arguments.checkpoint.suffix == ".yaml":
        add_half(Manifest.read(arguments.checkpoint)).write(arguments.checkpoint)
        return 0
    if (arguments.checkpoint is None) == (arguments.initial is None):
        raise ConfigError("a checkpoint or --initial TASK", "both or none", "give exactly one")
    if arguments.initial:
        config = read_config(CONFIG_DIR / f"{arguments.initial}.yaml")
        task = make_task(config)
        network = task.network()
    else:
        state = read_checkpoint(arguments.checkpoint)
        config = shipped_description(state["config"])
        task = make_task(config)
        network = task.network()
        load_weights(network, state["network"], str(arguments.checkpoint))
    arguments.models.mkdir(parents=True, exist_ok=True)
    manifest, differences = release_fp32(task, network.eval(), config, arguments.models)
    path = arguments.models / f"{manifest.name}.yaml"
    if arguments.fp16:
        add_half(Manifest.read(path)).write(path)
    accuracy = measure(path, task, "fp32", task.val_dataset(), getattr(task, "development", DEVELOPMENT))
    _show(f"{manifest.name} fp32", {f"torch - onnx, {k}": v for k, v in differences.items()} | accuracy)
    return 0


def shipped_description(stored: dict[str, Any]) -> TrainingConfig:
    """A checkpoint's settings, with the model description of today's shipped config."""
    values = {**stored, "input_wh": tuple(stored["input_wh"])}
    path = CONFIG_DIR / f"{stored['task']}.yaml"
    if path.is_file():
        values["model"] = read_config(path).model
    return TrainingConfig(**values)


def _show(title: str, figures: dict[str, float]) -> None:
    table = Table("figure", "value", title=title)
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


def main() -> int:
    """`python -m vision_nodes.export.cli export|quantize|verify ...`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    add_export_arguments(verbs.add_parser("export"))
    add_quantize_arguments(verbs.add_parser("quantize"))
    add_verify_arguments(verbs.add_parser("verify"))
    arguments = parser.parse_args()
    run = {"export": run_export, "quantize": run_quantize, "verify": run_verify}[arguments.verb]
    return run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
