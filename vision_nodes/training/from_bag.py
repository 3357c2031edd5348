"""``vision-nodes train depth --from-bag BAG``: read, fine-tune, report before and after, export."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vision_nodes.engine.manifest import DepthSpec, InputSpec, Manifest, ModelFile, Training
from vision_nodes.errors import ConfigError, ModelError
from vision_nodes.networks.depth import DepthExport
from vision_nodes.training.bag_clip import BagScale, Clip, read_clip
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.depth_bag import BagDepthTask, pretrained
from vision_nodes.training.depth_data import FX_CANONICAL, MAX_M
from vision_nodes.training.loop import train

logger = logging.getLogger(__name__)
START = Path("runs/depth/best.pt")


def add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    """What only `train depth --from-bag` takes."""
    group = parser.add_argument_group("depth from your own bag, without labels")
    group.add_argument("--from-bag", type=Path, metavar="BAG", help="bag with one moving, calibrated camera")
    group.add_argument("--topic", default="", help="image topic, when the bag has several cameras")
    scale = group.add_mutually_exclusive_group()
    scale.add_argument("--depth-topic", default="", help="metres from a registered depth camera")
    scale.add_argument("--wheels-topic", default="", help="metres from nav_msgs/Odometry of the wheels")
    scale.add_argument("--camera-height", type=float, default=0.0, help="metres above the floor in view")


def run_from_bag(arguments: argparse.Namespace, config: TrainingConfig, directory: Path) -> int:
    """Fine-tune; 0 when done. Writes `best.pt`, `<name>.onnx` and `<name>.yaml` into the run directory."""
    if arguments.task != "depth":
        raise ConfigError(
            "task depth with --from-bag", arguments.task, "vision-nodes train depth --from-bag BAG"
        )
    scale = BagScale(arguments.depth_topic, arguments.wheels_topic, arguments.camera_height)
    start = arguments.start or START
    clip = _clip(arguments, config, directory, scale)
    figures = fine_tune(config, clip, start, directory, arguments.resume)
    show_change(*figures)
    return 0


def fine_tune(
    config: TrainingConfig, clip: Clip, start: Path, directory: Path, resume: bool = False
) -> tuple[dict[str, float], dict[str, float]]:
    """Train on the clip and export; the figures of the unseen end of the bag before and after.

    Raises:
        TrainingError: there is no motion to learn from, no pre-trained network, or as `train`.
    """
    task = BagDepthTask(config, clip, start)
    task.train_dataset()  # no motion is said before anything is computed
    unseen = task.report_dataset()
    before = task.evaluate(pretrained(start).eval(), unseen)
    train(task, config, directory, resume)
    network = pretrained(start)
    load_weights(network, read_checkpoint(directory / "best.pt", "depth")["network"], "best.pt")
    after = task.evaluate(network.eval(), unseen)
    _export(task, network, config, directory, after)
    return before, after


def show_change(before: dict[str, float], after: dict[str, float]) -> None:
    """The table at the end."""
    table = Table("on the unseen end of the bag", "before", "after")
    for name, value in before.items():
        table.add_row(name, f"{value:.4f}", f"{after[name]:.4f}")
    Console().print(table)
    if after["error"] >= before["error"]:
        Console().print("no gain on unseen frames: keep the model you have")


def predictor(start: Path) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The pre-trained network as `read_clip` asks it: metres per px of focal length, and confidence."""
    graph = DepthExport(pretrained(start)).eval()

    @torch.no_grad()
    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        depth, confidence = graph(torch.from_numpy(np.ascontiguousarray(image))[None])
        fx = FX_CANONICAL * image.shape[1] / 256
        return depth[0].numpy() / np.float32(fx), confidence[0].numpy()

    return predict


def _clip(arguments: argparse.Namespace, config: TrainingConfig, directory: Path, scale: BagScale) -> Clip:
    kept = directory / "clip.npz"
    if arguments.resume and kept.exists():
        return Clip.load(kept)
    clip = read_clip(
        arguments.from_bag, config.input_wh, predictor(arguments.start or START), scale, arguments.topic
    )
    posed = int(np.isfinite(clip.poses[:, 0, 0]).sum())
    logger.info("%d frames, %d with a pose, %d landmarks", len(clip.images), posed, len(clip.landmarks))
    clip.save(kept)
    return clip


def _export(
    task: BagDepthTask,
    network: torch.nn.Module,
    config: TrainingConfig,
    directory: Path,
    after: dict[str, float],
) -> None:
    """Model file and manifest in the run directory, weights in full precision: half of it costs metres at 80 m."""
    from vision_nodes.export.onnx import export_onnx, output_specs, parity
    from vision_nodes.export.release import FLOAT_TOLERANCE, sample_images

    card = dict(config.model)
    path = directory / f"{card['name']}.onnx"
    module: Any = task.export_module(network).eval()
    export_onnx(module, module.output_names, config.input_wh, path)
    worst = max(parity(module, path, sample_images(task, 4)).values())
    if not worst <= FLOAT_TOLERANCE:
        path.unlink()
        raise ModelError(f"torch and ONNX within {FLOAT_TOLERANCE}", f"{worst:.4g}", "report the network")
    training = Training(tuple(card.pop("data")), config.seed, card.pop("command"), card.pop("init"))
    figures: dict[str, float | str] = {name: round(value, 4) for name, value in after.items()}
    manifest = Manifest(
        task="depth",
        files={"fp32": ModelFile.of(path)},
        input=InputSpec(config.input_wh),
        outputs=output_specs(path),
        training=training,
        accuracy={"fp32": {**figures, "on": "the unseen end of the bag"}},
        depth=DepthSpec(fx_canonical=FX_CANONICAL * config.input_wh[0] / 256, max_m=MAX_M),
        **card,
    )
    manifest.write(directory / f"{manifest.name}.yaml")
    Console(stderr=True).print(f"run it with --model depth={directory / manifest.name}.yaml")
