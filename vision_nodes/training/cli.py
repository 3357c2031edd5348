"""The verb `train`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import cv2
from rich.console import Console

from vision_nodes.errors import ConfigError
from vision_nodes.training.config import CONFIG_DIR, TrainingConfig, read_config
from vision_nodes.training.folds import cross_validate, show_folds
from vision_nodes.training.from_bag import add_bag_arguments, run_from_bag
from vision_nodes.training.loop import train
from vision_nodes.training.registry import TASKS, make_task


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vision-nodes train`."""
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--config", type=Path, help="YAML settings (default: the shipped model's)")
    parser.add_argument("--run", type=Path, help="run directory (default: runs/TASK)")
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    parser.add_argument("--overfit", type=int, default=0, metavar="N", help="learn N samples by heart")
    parser.add_argument("--epochs", type=int, help="instead of the config's")
    parser.add_argument("--start", type=Path, help="checkpoint to begin with (--qat, --from-bag)")
    add_bag_arguments(parser)
    parser.add_argument("--calibration", type=Path, metavar="DIR", help="pictures for the ranges of --qat")
    several = parser.add_mutually_exclusive_group()
    several.add_argument(
        "--qat", type=int, metavar="EPOCHS", help="fine-tune for INT8, with fake quantization"
    )
    several.add_argument("--folds", type=int, metavar="K", help="cross-validate over the training split")
    several.add_argument(
        "--search", type=int, metavar="N", help="N trials over the config's `search` (optuna)"
    )


def run_train(arguments: argparse.Namespace) -> int:
    """Train; 0 when done. Errors are `VisionNodesError`."""
    name = "depth_bag" if arguments.from_bag else arguments.task
    config = read_config(arguments.config or CONFIG_DIR / f"{name}.yaml")
    if config.task != arguments.task:
        raise ConfigError(f"a config of task {arguments.task}", config.task, "choose another --config")
    if arguments.epochs:
        config = config.overriding(epochs=arguments.epochs)
    if arguments.overfit:
        config = config.overriding(options={**config.options, "augment": False})
    directory = arguments.run or Path("runs") / name
    directory.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)  # the loader's and torch's threads would fight OpenCV's
    if arguments.qat is not None:
        from vision_nodes.export.qat_cli import run_qat

        return run_qat(arguments, arguments.run or Path("runs") / f"{name}_qat")
    if arguments.from_bag:
        return run_from_bag(arguments, config, directory)
    task = make_task(config)
    if hasattr(task, "prepare"):  # data that a task makes for itself, once
        task.prepare()
    if arguments.folds is not None:
        show_folds(cross_validate(config, directory / "folds", arguments.folds, make_task), task.metric_name)
    elif arguments.search is not None:
        _search(config, directory / "search", arguments.search)
    else:
        train(task, config, directory, arguments.resume, arguments.overfit)
    return 0


def _search(config: TrainingConfig, directory: Path, trials: int) -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "the package optuna", "not installed", "pip install 'vision_nodes[search]'"
        ) from error
    from vision_nodes.training.search import open_study, search, show_trials

    best = search(config, directory, trials, make_task)
    task = make_task(config)
    show_trials(open_study(config, directory, task.higher_is_better), task.metric_name)
    Console(stderr=True).print(f"best settings: {best}; train them with --config {best}")


def main() -> int:
    """`python -m vision_nodes.training.cli TASK ...`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    add_train_arguments(parser)
    return run_train(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
