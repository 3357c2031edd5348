"""Export, prove and describe: one checkpoint (or the initial weights) becomes `models/<name>.onnx` + `.yaml`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from vision_nodes.engine.manifest import InputSpec, Manifest, ModelFile, Training
from vision_nodes.errors import ModelError
from vision_nodes.export.onnx import export_onnx, output_specs, parity
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.task import TrainingTask

MAX_BYTES = 5_000_000
FLOAT_TOLERANCE = 2e-2  # absolute, in px, m or score: sums in another order, and near-ties in top-k
FLOAT_TOLERANCE_HALF = 0.5  # weights rounded to half precision; the task's metric decides
UNEQUAL_INTEGERS = 0.02  # share


def sample_images(task: TrainingTask, count: int) -> list[np.ndarray]:
    """Up to `count` held-out pictures of the task, spread over the set: (H, W, 3) uint8 of the input size."""
    data = task.val_dataset()
    chosen = np.unique(np.linspace(0, len(data) - 1, count).astype(int))
    return [np.ascontiguousarray(data[int(index)]["image"].numpy()) for index in chosen]


def release_fp32(
    task: TrainingTask, network: nn.Module, config: TrainingConfig, folder: Path
) -> tuple[Manifest, dict[str, float]]:
    """Write the FP32 file and its manifest; returns it and the parity with torch on held-out pictures.

    Weights go in as float16 behind a Cast where the file would pass the size limit otherwise. A task may
    offer `class_names`, `manifest_task` (where it differs from the config's task) and `manifest_fields()`, a dict of
    further manifest keys.

    Raises:
        ModelError: the file disagrees with torch, or is too large.
    """
    card = dict(config.model)
    path = folder / f"{card['name']}.onnx"
    module = task.export_module(network).eval()
    half = sum(p.numel() for p in module.parameters()) * 4 > 0.97 * MAX_BYTES
    export_onnx(module, module.output_names, config.input_wh, path, half)
    differences = parity(module, path, sample_images(task, 6))
    _require_parity(path, differences, half)
    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"at most {MAX_BYTES} bytes", f"{path.stat().st_size}", "use a smaller network")
    manifest = Manifest(
        task=getattr(task, "manifest_task", config.task),
        files={"fp32": ModelFile.of(path)},
        input=InputSpec(config.input_wh),
        outputs=output_specs(path),
        training=Training(tuple(card.pop("data")), config.seed, card.pop("command"), card.pop("init")),
        class_names=tuple(getattr(task, "class_names", ())),
        **getattr(task, "manifest_fields", dict)(),
        **card,
    )
    manifest.write(folder / f"{manifest.name}.yaml")
    return manifest, differences


def _require_parity(path: Path, differences: dict[str, float], half: bool) -> None:
    specs = output_specs(path)
    for name, difference in differences.items():
        is_float = specs[name].dtype == "float32"
        limit = (FLOAT_TOLERANCE_HALF if half else FLOAT_TOLERANCE) if is_float else UNEQUAL_INTEGERS
        if not difference <= limit:
            path.unlink()
            raise ModelError(
                f"torch and ONNX within {limit} on {name}", f"{difference:.4g}", "check the export"
            )
