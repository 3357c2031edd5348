"""The verbs `export`, `quantize` and `verify`."""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.table import Table
from torch.utils.data import Subset

from vision_nodes.engine.manifest import Manifest, ModelFile
from vision_nodes.errors import ConfigError, ModelError
from vision_nodes.export.calibration import read_calibration, write_description
from vision_nodes.export.measure import OnnxGraph, measure, time_file
from vision_nodes.export.quantize import choose_recipe, quantize
from vision_nodes.export.release import release_fp32
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import CONFIG_DIR, TrainingConfig, read_config
from vision_nodes.training.registry import TASKS, make_task

DEVELOPMENT = "pictures held out of the training split"
MODELS = Path(__file__).resolve().parents[2] / "models"


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vision-nodes export`."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="best.pt of a run")
    parser.add_argument("--initial", choices=sorted(TASKS), help="export the transferred weights instead")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder for the .onnx and .yaml")


def run_export(arguments: argparse.Namespace) -> int:
    """Write the FP32 model, check it against torch, measure it on the development split."""
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
    accuracy = measure(path, task, "fp32", task.val_dataset(), DEVELOPMENT)
    _show(f"{manifest.name} fp32", {f"torch - onnx, {k}": v for k, v in differences.items()} | accuracy)
    return 0


def shipped_description(stored: dict[str, Any]) -> TrainingConfig:
    """A checkpoint's settings, with the model description of today's shipped config."""
    values = {**stored, "input_wh": tuple(stored["input_wh"])}
    path = CONFIG_DIR / f"{stored['task']}.yaml"
    if path.is_file():
        values["model"] = read_config(path).model
    return TrainingConfig(**values)


def add_quantize_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vision-nodes quantize`."""
    parser.add_argument("model", type=Path, help="manifest of the FP32 model, models/NAME.yaml")
    parser.add_argument("--calibration", type=Path, required=True, metavar="DIR", help="folder of pictures")
    parser.add_argument("--pictures", type=int, default=32, help="how many of them (default 32)")
    parser.add_argument("--score-pictures", type=int, default=100, help="held-out pictures per trial")
    parser.add_argument(
        "--accept-loss", action="store_true", help="keep a file that loses more than the gate"
    )


def run_quantize(arguments: argparse.Namespace) -> int:
    """Write `<name>_int8.onnx`, its calibration description, and its measured accuracy."""
    path = arguments.model
    manifest = Manifest.read(path)
    task = make_task(read_config(CONFIG_DIR / f"{manifest.task}.yaml"))
    held_out = task.val_dataset()
    few: Any = Subset(
        cast(Any, held_out), range(0, len(held_out), max(1, len(held_out) // arguments.score_pictures))
    )
    sign = 1 if task.higher_is_better else -1

    def score(file: Path, precision: str = "int8") -> float:
        return sign * task.evaluate_graph(OnnxGraph(file, precision), few)[task.metric_name]

    images, files = read_calibration(arguments.calibration, manifest.input, arguments.pictures)
    source = manifest.file_for("fp32")
    reference = score(source, "fp32")
    allowed = loss_allowed(manifest.task, reference)
    recipe, best = choose_recipe(source, images, score, reference - allowed)
    if best < reference - allowed and not arguments.accept_loss:
        received = f"{sign * best:.4f} against {sign * reference:.4f}"
        raise ModelError(f"INT8 within {allowed:.4f} of FP32", received, "more pictures, or --accept-loss")
    target = source.with_name(f"{manifest.name}_int8.onnx")
    quantize(source, target, images, recipe)
    description = path.parent.parent / "calibration" / f"int8_{manifest.name}.yaml"
    write_description(description, manifest.name, arguments.calibration, files, asdict(recipe))
    replace(manifest, files={**manifest.files, "int8": ModelFile.of(target)}).write(path)
    _show(f"{manifest.name} int8", measure(path, task, "int8", held_out, DEVELOPMENT))
    return 0


def _show(title: str, figures: dict[str, float]) -> None:
    table = Table("figure", "value", title=title)
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


def loss_allowed(task: str, reference: float) -> float:
    """The gate: one point of mAP, mIoU or R@1; 2 % of a depth error."""
    return 0.02 * abs(reference) if task == "depth" else 0.01


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vision-nodes verify`."""
    parser.add_argument("model", type=Path, help="manifest, models/NAME.yaml")


def run_verify(arguments: argparse.Namespace) -> int:
    """All precisions on the same held-out pictures; 1 when one loses more than the gate."""
    manifest = Manifest.read(arguments.model)
    task = make_task(read_config(CONFIG_DIR / f"{manifest.task}.yaml"))
    held_out = task.val_dataset()
    blank = np.zeros(manifest.input.shape[1:], np.uint8)
    rows, passed = [], True
    for precision in manifest.files:
        file = manifest.file_for(precision)
        value = task.evaluate_graph(OnnxGraph(file, precision), held_out)[task.metric_name]
        rows.append((precision, value, time_file(file, blank)))
        loss = (rows[0][1] - value) * (1 if task.higher_is_better else -1)
        passed &= loss <= loss_allowed(manifest.task, rows[0][1])
    table = Table("precision", task.metric_name, "ONNX Runtime ms", "OpenVINO ms", title=manifest.name)
    for precision, value, times in rows:
        table.add_row(precision, f"{value:.4f}", *(f"{time:.1f}" for time in times.values()))
    Console().print(table)
    return 0 if passed else 1


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
