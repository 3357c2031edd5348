"""K-fold cross-validation over a task's training data: how much a figure depends on the split."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from torch.utils.data import ConcatDataset, Subset

from vision_nodes.engine.fields import write_atomically
from vision_nodes.errors import ConfigError
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.loop import train
from vision_nodes.training.task import Samples, TrainingTask

logger = logging.getLogger(__name__)
MakeTask = Callable[[TrainingConfig], TrainingTask]
RESULT = "fold.json"


class FoldTask:
    """A task that validates on one fold of its training data and learns the others; the rest is the task's.

    Folds are ranges of neighbours, not single samples: views of one room are neighbours, and a room that is on
    both sides would flatter the figure. Every source of a mixture is divided by itself.

    Args:
        task: with its augmentation. plain: the same task without.
    """

    def __init__(self, task: TrainingTask, plain: TrainingTask, fold: int, folds: int) -> None:
        self.task, self.fold, self.folds = task, fold, folds
        self._plain = plain.train_dataset()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def train_dataset(self) -> Samples:
        """Samples outside the fold; sources that only exist with augmentation are always learnt."""
        dataset = self.task.train_dataset()
        held_out = set(fold_indices(self._plain, self.fold, self.folds))
        return EpochSubset(dataset, [i for i in range(len(dataset)) if i not in held_out])

    def val_dataset(self) -> Samples:
        """The fold, as it is."""
        return Subset(self._plain, fold_indices(self._plain, self.fold, self.folds))


class EpochSubset(Subset[Any]):
    """A subset that hands the epoch on."""

    def __init__(self, dataset: Any, indices: list[int]) -> None:
        super().__init__(dataset, indices)

    def set_epoch(self, epoch: int) -> None:
        """Other random numbers from here on, where the data set has any."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)


def fold_indices(dataset: Samples, fold: int, folds: int) -> list[int]:
    """Indices of fold number `fold` (from 0): one range of every source.

    Raises:
        ConfigError: a source has fewer samples than there are folds.
    """
    parts = dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]
    indices: list[int] = []
    start = 0
    for part in parts:
        count = len(part)
        if count < folds:
            raise ConfigError(f"at least {folds} training samples per source", str(count), "fewer --folds")
        edges = np.linspace(0, count, folds + 1).round().astype(int) + start
        indices += range(edges[fold], edges[fold + 1])
        start += count
    return indices


def cross_validate(
    config: TrainingConfig, directory: Path, folds: int, make: MakeTask
) -> list[dict[str, float]]:
    """Train one network per fold; a fold that is finished is not repeated, one that was killed goes on.

    Args:
        directory: gets `fold_1` and so on, and `folds.csv`.

    Returns:
        Metrics of the best checkpoint of every fold.

    Raises:
        ConfigError: fewer than 2 folds, or finished folds of other settings in `directory`.
    """
    if folds < 2:
        raise ConfigError("2 folds or more", str(folds), "raise --folds")
    plain = replace(config, options={**config.options, "augment": False})
    results = []
    for fold in range(folds):
        where = directory / f"fold_{fold + 1}"
        done = finished(where, config, folds)
        if done is None:
            logger.info("fold %d of %d", fold + 1, folds)
            where.mkdir(parents=True, exist_ok=True)
            task = FoldTask(make(config), make(plain), fold, folds)
            done = train(task, config, where, resume=True)
            content = {"settings": fingerprint(config, folds), "metrics": done}
            write_atomically(where / RESULT, json.dumps(content, indent=1).encode())
        results.append(done)
    _write_table(directory / "folds.csv", results)
    return results


def finished(directory: Path, config: TrainingConfig, folds: int) -> dict[str, float] | None:
    """Metrics of a finished fold, None when it is not. Raises ConfigError as `cross_validate`."""
    path = directory / RESULT
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    if content["settings"] != fingerprint(config, folds):
        raise ConfigError(f"folds of these settings in {directory.parent}", "others", "choose another --run")
    metrics: dict[str, float] = content["metrics"]
    return metrics


def fingerprint(config: TrainingConfig, folds: int) -> str:
    """Hash of everything that a fold's figure depends on."""
    text = json.dumps({**asdict(config), "folds": folds}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def show_folds(results: list[dict[str, float]], metric: str, console: Console | None = None) -> None:
    """The table at the end: every metric per fold, mean and sample standard deviation."""
    table = Table("metric", *[f"fold {i + 1}" for i in range(len(results))], "mean ± spread")
    names = [name for name in results[0] if all(name in row for row in results)]
    for name in sorted(names, key=lambda name: name != metric):
        values = [row[name] for row in results]
        cells = [f"{value:.4f}" for value in values]
        style = "bold" if name == metric else ""
        table.add_row(name, *cells, f"{mean(values):.4f} ± {stdev(values):.4f}", style=style)
    (console or Console()).print(table)


def _write_table(path: Path, results: list[dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for row in results for name in row))
    lines = [",".join(["fold", *names])]
    for number, row in enumerate(results, 1):
        lines.append(",".join([str(number), *[str(row.get(name, "")) for name in names]]))
    write_atomically(path, ("\n".join(lines) + "\n").encode())
