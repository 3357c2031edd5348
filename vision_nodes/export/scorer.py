"""How good one file of a model is: by the task's metric on the chain's pictures, else by agreement with FP32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch.utils.data import Subset

from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import ModelError, VisionNodesError
from vision_nodes.export.agreement import ALLOWED, agreement
from vision_nodes.export.gate import Verdict, check_task, judge
from vision_nodes.export.measure import OnnxGraph
from vision_nodes.training.config import CONFIG_DIR, read_config
from vision_nodes.training.registry import make_task
from vision_nodes.training.task import TrainingTask


@dataclass(frozen=True)
class Scorer:
    """Scores files and says what the gate makes of it.

    Attributes:
        metric: name of the figure.
        on: what it is measured on, in words.
        task: of the training chain; None = agreement with the model's own FP32 file.
        score: (file, precision, all pictures or a few) -> value.
    """

    metric: str
    on: str
    higher_is_better: bool
    score: Callable[[Path, str, bool], float]
    task: TrainingTask | None = None

    def verdict(self, manifest: Manifest, precision: str, reference: float, value: float) -> Verdict:
        """The gate: of the task's metric, or of agreement, which allows for what rounding does to good files."""
        if self.task is not None:
            return judge(precision, (reference, value), manifest.task, self.higher_is_better)
        return Verdict(precision, value, reference - value, ALLOWED[manifest.task])


def task_of(manifest: Manifest) -> tuple[TrainingTask | None, str]:
    """The chain's task that can score this model, by its own config where one names it; else None and why.

    A model with other classes, or a machine without the labelled pictures, has none.
    """
    configs = {path.stem: path for path in CONFIG_DIR.glob("*.yaml")}
    path = configs.get(manifest.name, configs.get(manifest.task))
    if path is None:
        return None, f"no training config for {manifest.task}"
    try:
        task = make_task(read_config(path))
        why_not = check_task(manifest, tuple(getattr(task, "class_names", ())))
        if not why_not and len(task.val_dataset()) == 0:
            why_not = "no held-out pictures"
    except VisionNodesError as error:
        return None, str(error)
    return (None, why_not) if why_not else (task, "")


def make_scorer(
    manifest: Manifest, task: tuple[TrainingTask | None, str], pictures: list[np.ndarray], few: int
) -> Scorer:
    """By the task's metric on pictures held out of the training split, else by agreement on `pictures`.

    Args:
        task: from `task_of`.
        pictures: (H, W, 3) uint8 RGB of the input size, best ones that calibrate nothing.
        few: pictures per trial of the task's metric.

    Raises:
        ModelError: agreement is to be measured, and there are no pictures.
    """
    chain = task[0]
    if chain is None:
        return _by_agreement(manifest, pictures, task[1])
    held_out = chain.val_dataset()
    steps = range(0, len(held_out), max(1, len(held_out) // few))
    sets: dict[bool, Any] = {True: held_out, False: Subset(cast(Any, held_out), steps)}

    def score(file: Path, precision: str, full: bool) -> float:
        return float(chain.evaluate_graph(OnnxGraph(file, precision), sets[full])[chain.metric_name])

    on = getattr(chain, "development", "pictures held out of the training split")
    return Scorer(chain.metric_name, on, chain.higher_is_better, score, chain)


def _by_agreement(manifest: Manifest, pictures: list[np.ndarray], why: str) -> Scorer:
    if not pictures:
        raise ModelError(f"pictures to compare {manifest.name} on: {why}", "none", "--calibration DIR|BAG")
    reference: list[dict[str, np.ndarray]] = []

    def outputs(file: Path, precision: str) -> list[dict[str, np.ndarray]]:
        graph = OnnxGraph(file, precision)
        return [
            dict(zip(graph.output_names, (np.array(v) for v in graph.run(image[None])))) for image in pictures
        ]

    def score(file: Path, precision: str, full: bool) -> float:
        if not reference:
            reference.extend(outputs(manifest.file_for("fp32"), "fp32"))
        return float(
            np.mean([agreement(manifest.task, a, b) for a, b in zip(reference, outputs(file, precision))])
        )

    on = f"{len(pictures)} of the calibration source's pictures, against its own FP32 file ({why})"
    return Scorer("agreement", on, True, score)
