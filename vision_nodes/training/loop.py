"""The one training loop, for every task.

Read `train` from top to bottom: set up, resume, then per epoch train, average, validate, keep the best.
A run directory holds `last.pt` (everything needed to go on), `best.pt` (averaged weights of the best
validation), `history.csv` and `curves.png`.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, Subset

from vision_nodes.errors import TrainingError
from vision_nodes.training.checkpoint import load_weights, read_checkpoint, write_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.dropout import add_dropout
from vision_nodes.training.ema import update_average
from vision_nodes.training.report import RunReport
from vision_nodes.training.sampler import EpochSampler
from vision_nodes.training.schedule import (
    apply_freeze,
    learning_rate_factor,
    parameter_groups,
    set_learning_rate,
)
from vision_nodes.training.task import Samples, TrainingTask

logger = logging.getLogger(__name__)


class DivergedError(TrainingError):
    """The loss is not finite: these settings lead nowhere."""


@dataclass
class Progress:
    """Where a run stands; part of every checkpoint."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch already learnt
    step: int = 0  # optimiser steps in all
    best: float | None = None
    validations_since_best: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Run:
    """The live objects of one run."""

    task: TrainingTask
    config: TrainingConfig
    directory: Path
    fabric: Fabric
    network: nn.Module  # raw weights; `model` is the same, wrapped for devices
    averaged: nn.Module
    model: Any
    optimiser: Any
    loader: Any
    sampler: EpochSampler
    validation: Samples
    report: RunReport
    batches: int  # per epoch
    progress: Progress = field(default_factory=Progress)
    saved_at: float = field(default_factory=time.monotonic)


def train(
    task: TrainingTask, config: TrainingConfig, directory: Path, resume: bool = False, overfit: int = 0
) -> dict[str, float]:
    """Train and return the metrics of the best validation.

    Args:
        directory: where checkpoints and curves go; made if absent.
        resume: go on from `last.pt` there, if it exists.
        overfit: > 0 trains and validates on that many training samples: the loss must go to about 0.

    Raises:
        TrainingError: no data, a loss that is not finite, no memory, or a foreign checkpoint.
    """
    run = _set_up(task, config, directory, overfit)
    if resume and (directory / "last.pt").exists():
        _restore(run)
    with run.report:
        while run.progress.epoch < config.epochs:
            losses = _train_epoch(run)
            metrics = _validate(run)
            _finish_epoch(run, losses, metrics)
            if config.patience and run.progress.validations_since_best >= config.patience:
                logger.info(
                    "stopped early: no better %s in %d validations", task.metric_name, config.patience
                )
                break
    best = read_checkpoint(directory / "best.pt", config.task)["metrics"]
    run.report.finish(run.progress.history, task.metric_name, best)
    return dict(best)


def _set_up(task: TrainingTask, config: TrainingConfig, directory: Path, overfit: int) -> Run:
    if config.accelerator in ("auto", "cpu"):
        torch.set_num_threads(config.threads)
    fabric = Fabric(accelerator=config.accelerator, devices=config.devices, precision=config.precision)
    fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)
    training: Any = task.train_dataset()
    validation: Samples = task.val_dataset()
    if overfit:
        training = validation = Subset(training, range(min(overfit, len(training))))
    if len(training) == 0:
        raise TrainingError("training samples", "an empty data set", "check the data folder in the config")
    # channels last doubles the speed of convolutions on a CPU and suits tensor cores
    network = _channels_last(task.network())
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    add_dropout(network, config.dropout)
    optimiser = torch.optim.AdamW(parameter_groups(network, config), lr=config.learning_rate)
    model, optimiser = fabric.setup(network, optimiser)
    sampler = EpochSampler(len(training), config.seed, fabric.global_rank, fabric.world_size)
    loader: Any = DataLoader(
        training,
        config.batch,
        sampler=sampler,
        num_workers=config.workers,
        collate_fn=task.collate,
        drop_last=len(training) // fabric.world_size > config.batch,
    )
    loader = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    report = RunReport(directory, enabled=fabric.is_global_zero)
    objects = (network, averaged.to(fabric.device), model, optimiser, loader, sampler, validation, report)
    return Run(task, config, directory, fabric, *objects, batches=len(loader))


def _channels_last(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network


def _train_epoch(run: Run) -> dict[str, float]:
    """One pass over the training data; returns mean losses."""
    config, progress = run.config, run.progress
    apply_freeze(run.network, config.freeze, progress.epoch)
    run.sampler.start(progress.epoch, progress.batch * config.batch)
    dataset = run.loader.dataset
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(progress.epoch)
    run.model.train()
    sums: dict[str, float] = {}
    count = 0
    run.report.start_epoch(progress.epoch, config.epochs, run.batches)
    for count, batch in enumerate(run.loader, 1):
        for name, value in _step(run, batch).items():
            sums[name] = sums.get(name, 0.0) + value
        progress.batch += 1
        progress.step += 1
        run.report.advance(progress.batch, sums["total"] / count)
        if time.monotonic() - run.saved_at > 60 * config.checkpoint_minutes:
            _save(run)
    return {name: value / count for name, value in sums.items()}


def _step(run: Run, batch: Any) -> dict[str, float]:
    """Forward, backward, update, average; returns the losses."""
    config, progress = run.config, run.progress
    warmup = max(1, int(config.warmup_epochs * run.batches))
    steps = config.epochs * run.batches
    factor = learning_rate_factor(progress.step, steps, warmup, config.final_learning_rate)
    set_learning_rate(run.optimiser, config.learning_rate * factor)
    with _memory_explained():
        losses = run.task.loss(run.model, batch)
        if not torch.isfinite(losses["total"]):
            values = {name: float(value.detach()) for name, value in losses.items()}
            where = f"epoch {progress.epoch + 1}, batch {progress.batch + 1}: {values}"
            raise DivergedError("a finite loss", where, f"lower learning_rate; last good is {run.directory}")
        run.optimiser.zero_grad()
        run.fabric.backward(losses["total"])
        run.fabric.clip_gradients(run.model, run.optimiser, max_norm=config.gradient_clip)
        run.optimiser.step()
    update_average(run.averaged, run.network, config.ema_decay, progress.step)
    return {name: float(value.detach()) for name, value in losses.items()}


def _validate(run: Run) -> dict[str, float]:
    """Metrics of the averaged weights; empty when this epoch is not validated."""
    epoch = run.progress.epoch + 1
    if epoch % run.config.validate_every and epoch != run.config.epochs:
        return {}
    with torch.no_grad(), _memory_explained():
        return run.task.evaluate(run.averaged.eval(), run.validation)


@contextmanager
def _memory_explained() -> Iterator[None]:
    """Turns out-of-memory errors, which torch raises in several types, into one that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        raise TrainingError("enough memory", str(error)[:200], "lower batch or input_wh") from error


def _finish_epoch(run: Run, losses: dict[str, float], metrics: dict[str, float]) -> None:
    """Count, keep the best, save, report."""
    progress, task = run.progress, run.task
    progress.epoch, progress.batch = progress.epoch + 1, 0
    row = {"epoch": float(progress.epoch), **{f"loss_{k}": v for k, v in losses.items()}, **metrics}
    progress.history.append(row)
    if metrics:
        metric = metrics[task.metric_name]
        sign = 1 if task.higher_is_better else -1
        better = progress.best is None or sign * metric > sign * progress.best
        progress.validations_since_best = 0 if better else progress.validations_since_best + 1
        if better:
            progress.best = metric
            _write(run, "best.pt", {"network": run.averaged.state_dict(), "metrics": metrics})
    _save(run)
    run.report.epoch_done(progress.history)


def _save(run: Run) -> None:
    state = {
        "network": run.network.state_dict(),
        "averaged": run.averaged.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "progress": asdict(run.progress),
    }
    _write(run, "last.pt", state)
    run.saved_at = time.monotonic()


def _write(run: Run, name: str, state: dict[str, Any]) -> None:
    if run.fabric.is_global_zero:
        config = {**asdict(run.config), "input_wh": list(run.config.input_wh)}
        write_checkpoint(run.directory / name, {"config": config, "epoch": run.progress.epoch, **state})
    run.fabric.barrier()


def _restore(run: Run) -> None:
    path = run.directory / "last.pt"
    state = read_checkpoint(path, run.config.task)
    load_weights(run.network, state["network"], str(path))
    load_weights(run.averaged, state["averaged"], str(path))
    run.optimiser.load_state_dict(state["optimiser"])
    run.progress = Progress(**state["progress"])
    logger.info("resumed at epoch %d, batch %d", run.progress.epoch + 1, run.progress.batch)
