"""Cross-validation and hyperparameter search on a tiny regression: right, resumable, and clear about mistakes."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from rich.console import Console
from torch import nn
from torch.utils.data import ConcatDataset

from vision_nodes.errors import ConfigError, TrainingError
from vision_nodes.training.config import TrainingConfig, read_config
from vision_nodes.training.dropout import add_dropout
from vision_nodes.training.folds import cross_validate, fold_indices, show_folds
from vision_nodes.training.loop import train
from vision_nodes.training.search_space import check_space, write_config


class Points(torch.utils.data.Dataset):
    """(x, slope x) pairs with noise that is the sample's own."""

    def __init__(self, count: int, slope: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(count)
        self.x = torch.rand(count, 1, generator=generator)
        self.y = slope * self.x + 0.05 * torch.randn(count, 1, generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "y": self.y[index], "index": torch.tensor(index)}


class LineTask:
    """Fits a line; counts what it does in `log`."""

    metric_name, higher_is_better = "mae", False
    log: list[str]

    def __init__(self, config: TrainingConfig, log: list[str] | None = None, kill_at: int = 0) -> None:
        self.config, self.log, self.kill_at = config, log if log is not None else [], kill_at

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        self.log.append("network")
        return nn.Linear(1, 1)

    def train_dataset(self) -> torch.utils.data.Dataset:
        return Points(30)

    def val_dataset(self) -> Points:
        return Points(11)

    def collate(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.log.append("loss")
        if self.kill_at and self.log.count("loss") == self.kill_at:
            raise KeyboardInterrupt
        return {"total": (network(batch["x"]) - batch["y"]).square().mean()}

    def evaluate(self, network: nn.Module, dataset: Points) -> dict[str, float]:
        batch = self.collate([dataset[i] for i in range(len(dataset))])
        self.log.append(f"held out {sorted(batch['index'].tolist())}")
        return {"mae": float((network(batch["x"]) - batch["y"]).abs().mean()), "count": float(len(dataset))}


def settings(**changes: object) -> TrainingConfig:
    base = {"task": "line", "epochs": 3, "batch": 5, "learning_rate": 0.05, "accelerator": "cpu"}
    return TrainingConfig(**{**base, "ema_decay": 0.0, **changes})  # type: ignore[arg-type]


def test_every_sample_is_held_out_once() -> None:
    sources = ConcatDataset([Points(10), Points(7)])
    folds = [fold_indices(sources, fold, 3) for fold in range(3)]
    assert sorted(index for fold in folds for index in fold) == list(range(17))
    for fold in folds:  # a range of each source
        assert min(fold) < 10 <= max(fold)
    with pytest.raises(ConfigError, match="fewer --folds"):
        fold_indices(sources, 0, 8)


def test_cross_validation_learns_the_others_and_scores_the_fold(tmp_path: Path) -> None:
    log: list[str] = []
    results = cross_validate(settings(), tmp_path, 3, lambda config: LineTask(config, log))
    assert [row["count"] for row in results] == [10.0] * 3
    assert f"held out {list(range(10))}" in log and f"held out {list(range(20, 30))}" in log
    assert log.count("loss") == 3 * 3 * 4  # folds, epochs, batches of 20 samples
    assert len((tmp_path / "folds.csv").read_text().splitlines()) == 4
    console = Console(record=True, width=100)
    show_folds(results, "mae", console)
    text = console.export_text()
    assert f"{mean(row['mae'] for row in results):.4f} ±" in text and "fold 3" in text


def test_a_killed_cross_validation_repeats_no_finished_fold(tmp_path: Path) -> None:
    whole = cross_validate(settings(), tmp_path / "whole", 3, LineTask)
    log: list[str] = []
    with pytest.raises(KeyboardInterrupt):  # in the second fold, second epoch
        cross_validate(settings(), tmp_path / "cut", 3, lambda c: LineTask(c, log, kill_at=18))
    log.clear()
    resumed = cross_validate(settings(), tmp_path / "cut", 3, lambda c: LineTask(c, log))
    assert log.count("network") == 2 and log.count("loss") == 8 + 12  # the rest of one fold, then the third
    assert resumed == whole


def test_folds_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    cross_validate(settings(), tmp_path, 2, LineTask)
    with pytest.raises(ConfigError, match="choose another --run"):
        cross_validate(settings(learning_rate=0.01), tmp_path, 2, LineTask)
    with pytest.raises(ConfigError, match="2 folds"):
        cross_validate(settings(), tmp_path, 1, LineTask)


SPACE = {"learning_rate": {"low": 1e-4, "high": 0.3, "log": True}, "batch": [5, 10]}


def test_search_finds_a_better_learning_rate_and_writes_it(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from vision_nodes.training.search import finished_trials, open_study, search

    start = settings(learning_rate=1e-4, search=SPACE)
    before = train(LineTask(start), start, tmp_path / "before")["mae"]
    path = search(start, tmp_path / "search", 8, LineTask)
    best = read_config(path)
    assert best.search == {} and best.epochs == 3 and best.batch in (5, 10)
    after = train(LineTask(best), best, tmp_path / "after")["mae"]
    assert after < 0.7 * before
    study = open_study(start, tmp_path / "search", higher_is_better=False)
    assert len(finished_trials(study)) == 8 and study.best_value == pytest.approx(after)


def test_search_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from vision_nodes.training.search import finished_trials, open_study, search

    config = settings(search=SPACE, epochs=4)
    log: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        search(config, tmp_path, 3, lambda c: LineTask(c, log, kill_at=45))
    search(config, tmp_path, 3, LineTask)
    study = open_study(config, tmp_path, higher_is_better=False)
    assert {path.name for path in tmp_path.glob("trial_*")} == {"trial_0", "trial_1", "trial_2"}
    assert len(finished_trials(study)) == 3 and len(study.trials) == 4
    by_directory = {trial.number: trial.user_attrs["directory"] for trial in study.trials}
    twice = [n for n, name in by_directory.items() if list(by_directory.values()).count(name) == 2]
    assert study.trials[twice[0]].params == study.trials[twice[1]].params
    log.clear()
    search(config, tmp_path, 3, lambda c: LineTask(c, log))
    assert "loss" not in log  # nothing left to do


def test_search_prunes_and_survives_divergence(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from vision_nodes.training.search import open_study, search

    rates = [0.05, 0.04, 0.06, 1e-6, 1e30]
    config = settings(epochs=6, search={"learning_rate": rates})
    search(config, tmp_path, 12, LineTask)
    study = open_study(config, tmp_path, higher_is_better=False)
    states = {trial.state.name for trial in study.trials if trial.params["learning_rate"] == 1e-6}
    assert "PRUNED" in states or not states
    assert read_config(tmp_path / "best.yaml").learning_rate in rates[:3]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rat": [1, 2]}, "learning_rat"),
        ({"learning_rate": {"low": 1.0, "high": 0.1}}, "low < high"),
        ({"learning_rate": {"low": "1e-4", "high": 0.1}}, "learning_rate"),
        ({"learning_rate": {"low": 0.0, "high": 0.1, "log": True}}, "log"),
        ({"batch": [4]}, "choices"),
        ({"batch": {"low": 1, "high": 4, "stepp": 1}}, "batch"),
    ],
)
def test_a_space_that_is_none_is_refused(space: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_space(space)


def test_search_reaches_into_options(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from vision_nodes.training.search_space import suggest

    config = settings(options={"weights": {"place": 1.0, "depth": 2.0}, "keep": 3})
    space = {"options.weights.place": [4.0, 5.0], "epochs": {"low": 2, "high": 6, "step": 2}}
    trial = optuna.trial.FixedTrial({"options.weights.place": 5.0, "epochs": 4})
    chosen = suggest(trial, config, space)
    assert chosen.options == {"weights": {"place": 5.0, "depth": 2.0}, "keep": 3} and chosen.epochs == 4
    write_config(tmp_path / "x.yaml", chosen)
    assert read_config(tmp_path / "x.yaml") == chosen


def test_a_search_without_any_figure_says_so(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from vision_nodes.training.search import search

    with pytest.raises(TrainingError, match="narrow `search`"):
        search(settings(search={"learning_rate": [1e30, 1e31]}, gradient_clip=1e30), tmp_path, 2, Poisoned)


class Poisoned(LineTask):
    """Its loss is never finite."""

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"total": network(batch["x"]).sum() * float("nan")}


def test_dropout_acts_while_training_only() -> None:
    network = nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 64))
    names = list(network.state_dict())
    add_dropout(network, {"1": 0.5})
    assert list(network.state_dict()) == names
    x = torch.ones(1, 4)
    assert 10 < int((network.train()(x) == 0).sum()) < 54
    assert int((network.eval()(x) == 0).sum()) == 0
    for wrong in ({"2": 0.5}, {"": 0.1}, {"1": 1.0}):
        with pytest.raises(ConfigError):
            add_dropout(network, wrong)


def test_tensorboard_logs_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(LineTask(settings()), settings(), tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("mae")] == [1, 2, 3]


def test_a_missing_tensorboard_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import sys

    from vision_nodes.training import report

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr(report, "_told", False)
    for name in ("a", "b"):
        train(LineTask(settings()), settings(epochs=1), tmp_path / name)
    said = [record for record in caplog.records if "TensorBoard" in record.message]
    assert len(said) == 1
