"""``vision-nodes train TASK --qat EPOCHS``: INT8 by fine-tuning, released only within the gate."""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from vision_nodes.engine.manifest import Manifest, ModelFile
from vision_nodes.errors import ConfigError, ModelError
from vision_nodes.export.calibration import read_calibration
from vision_nodes.export.cli import MODELS, shipped_description
from vision_nodes.export.gate import record
from vision_nodes.export.measure import OnnxGraph, processor, time_file
from vision_nodes.export.qat import export_quantized, train_quantized
from vision_nodes.export.scorer import make_scorer
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.registry import make_task

SCORED = 100  # held-out pictures that decide


def run_qat(arguments: argparse.Namespace, directory: Path) -> int:
    """Fine-tune `runs/TASK/best.pt` with fake quantization; 0 when the INT8 file was released.

    Raises:
        ConfigError: no calibration pictures were named.
        ModelError: the file loses more than the gate; it stays in the run directory.
    """
    if arguments.calibration is None:
        raise ConfigError("--calibration DIR with --qat", "none", "name a folder of pictures")
    start = arguments.start or Path("runs") / arguments.task / "best.pt"
    state = read_checkpoint(start, arguments.task)
    config = shipped_description(state["config"]).overriding(epochs=arguments.qat)
    path = MODELS / f"{config.model.get('name', arguments.task)}.yaml"
    manifest = Manifest.read(path)
    task = make_task(config)
    network = task.network()
    load_weights(network, state["network"], str(start))
    images = read_calibration(arguments.calibration, manifest.input, 32).images
    fake, _ = train_quantized(task, network.eval(), images, config, directory)
    target = directory / f"{manifest.name}_int8.onnx"
    export_quantized(task, fake, images, config, target)
    scorer = make_scorer(manifest, (task, ""), images, SCORED)
    reference = scorer.score(manifest.file_for("fp32"), "fp32", True)
    verdict = scorer.verdict(manifest, "int8", reference, scorer.score(target, "int8", True))
    said = f"INT8 {verdict.value:.4f}, FP32 {reference:.4f} ({scorer.metric}); the gate allows {verdict.allowed:.4f}"
    if not verdict.passed:
        raise ModelError(
            f"a loss of at most {verdict.allowed:.4f}", said, f"more epochs; the file is {target}"
        )
    record(_released(manifest, path, target, task, scorer.on), verdict, accept_loss=False).write(path)
    Console().print(said)
    return 0


def _released(manifest: Manifest, path: Path, built: Path, task: object, on: str) -> Manifest:
    """The manifest with the INT8 file, which is copied beside it; figures of all held-out pictures."""
    target = path.parent / built.name
    temporary = target.with_suffix(".partial")
    shutil.copy(built, temporary)
    os.replace(temporary, target)
    values = task.evaluate_graph(OnnxGraph(target, "int8"), task.val_dataset())
    figures = {name: round(value, 4) for name, value in values.items()}
    times = time_file(target, np.zeros(manifest.input.shape[1:], np.uint8))
    return replace(
        manifest,
        files={**manifest.files, "int8": ModelFile.of(target)},
        accuracy={**manifest.accuracy, "int8": {**figures, "on": on}},
        time_ms={**manifest.time_ms, "int8": {**times, "on": processor()}},
    )
