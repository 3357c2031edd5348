"""Hyperparameter search with optuna: a space in the config, trials in the run directory, the best as a config."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vision_nodes.errors import TrainingError
from vision_nodes.training.checkpoint import read_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.loop import DivergedError, train
from vision_nodes.training.search_space import check_space, default_space, suggest, write_config
from vision_nodes.training.task import Samples, TrainingTask

logger = logging.getLogger(__name__)
MakeTask = Callable[[TrainingConfig], TrainingTask]
DIRECTORY, DIVERGED = "directory", "diverged"  # user attributes of a trial


class ReportingTask:
    """A task that tells optuna every validation and stops a trial that is worse than its peers."""

    def __init__(self, task: TrainingTask, trial: Any, done: int) -> None:
        self.task, self._trial, self._step = task, trial, done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def evaluate(self, network: Any, dataset: Samples) -> dict[str, float]:
        """The task's metrics. Raises optuna.TrialPruned when the trial is not worth going on."""
        import optuna

        metrics = self.task.evaluate(network, dataset)
        self._trial.report(metrics[self.task.metric_name], self._step)
        self._step += 1
        if self._trial.should_prune():
            raise optuna.TrialPruned
        return metrics


def search(config: TrainingConfig, directory: Path, trials: int, make: MakeTask) -> Path:
    """Run trials until `trials` are over (in all, also those of earlier calls); returns the best one's config.

    A trial that was killed is taken up where its checkpoint is.

    Args:
        directory: gets `trials.log` (optuna's journal), `trial_0` and so on, `best.yaml`.

    Raises:
        ConfigError: `search` in the config is no space.
        TrainingError: no trial ended with a figure.
    """
    import optuna

    space = config.search or default_space(config)
    check_space(space)
    directory.mkdir(parents=True, exist_ok=True)
    study = open_study(config, directory, make(config).higher_is_better)
    _take_up_killed(study)

    def objective(trial: Any) -> float:
        where = directory / trial.user_attrs.get(DIRECTORY, f"trial_{len(_latest(study))}")
        trial.set_user_attr(DIRECTORY, where.name)
        chosen = suggest(trial, config, space)
        where.mkdir(parents=True, exist_ok=True)
        task = make(chosen)
        reporting: Any = ReportingTask(task, trial, _validations(where, task))
        try:
            return train(reporting, chosen, where, resume=True)[task.metric_name]
        except DivergedError:
            trial.set_user_attr(DIVERGED, True)
            raise

    left = trials - len(finished_trials(study))
    if left > 0:
        study.optimize(objective, n_trials=left, catch=(DivergedError,))
    if not any(trial.value is not None for trial in _completed(study)):
        raise TrainingError("a trial that ends with a figure", "none", "narrow `search` in the config")
    best = suggest(optuna.trial.FixedTrial(study.best_params), config, space)
    write_config(directory / "best.yaml", best)
    return directory / "best.yaml"


def open_study(config: TrainingConfig, directory: Path, higher_is_better: bool) -> Any:
    """The study whose journal lies in `directory`; a new one where there is none."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=config.task,
        storage=JournalStorage(JournalFileBackend(str(directory / "trials.log"))),
        direction="maximize" if higher_is_better else "minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
        load_if_exists=True,
    )
    # a study that goes on must not draw the numbers of its first trials again
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials), n_startup_trials=5)
    return study


def finished_trials(study: Any) -> list[Any]:
    """Trials that are over for good: complete, pruned or diverged, not those that were interrupted."""
    from optuna.trial import TrialState

    good = (TrialState.COMPLETE, TrialState.PRUNED)
    return [t for t in _latest(study) if t.state in good or DIVERGED in t.user_attrs]


def show_trials(study: Any, metric: str, console: Console | None = None) -> None:
    """The table at the end: every trial with its choices, the best one bold."""
    trials = _latest(study)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    table = Table("trial", "state", metric, *names)
    for trial in trials:
        best = trial.number == study.best_trial.number
        figure = "" if trial.value is None else f"{trial.value:.4f}"
        state = "diverged" if DIVERGED in trial.user_attrs else trial.state.name.lower()
        cells = [
            f"{trial.params[name]:.4g}"
            if isinstance(trial.params.get(name), float)
            else str(trial.params.get(name, ""))
            for name in names
        ]
        table.add_row(
            trial.user_attrs.get(DIRECTORY, ""), state, figure, *cells, style="bold" if best else ""
        )
    (console or Console()).print(table)


def _completed(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    return [trial for trial in study.trials if trial.state == TrialState.COMPLETE]


def _latest(study: Any) -> list[Any]:
    """The last trial of every directory: one that was interrupted is followed by the one that went on."""
    return list(
        {
            trial.user_attrs[DIRECTORY]: trial for trial in study.trials if DIRECTORY in trial.user_attrs
        }.values()
    )


def _take_up_killed(study: Any) -> None:
    """Ask again for the trials that a kill or an error interrupted, in their directories."""
    from optuna.trial import TrialState

    over = {trial.number for trial in finished_trials(study)}
    for trial in _latest(study):
        if trial.number not in over and trial.params:
            if trial.state == TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL)
            where = trial.user_attrs[DIRECTORY]
            logger.info("%s goes on", where)
            study.enqueue_trial(trial.params, user_attrs={DIRECTORY: where})


def _validations(directory: Path, task: TrainingTask) -> int:
    """How many validations a run in `directory` has behind it."""
    if not (directory / "last.pt").is_file():
        return 0
    history = read_checkpoint(directory / "last.pt")["progress"]["history"]
    return sum(task.metric_name in row for row in history)
