"""The loop on a tiny regression: it learns, resumes exactly, stops on NaN, and refuses bad input."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn

from vision_nodes.errors import ConfigError, TrainingError
from vision_nodes.training.checkpoint import load_weights, read_checkpoint, write_checkpoint
from vision_nodes.training.config import TrainingConfig, read_config
from vision_nodes.training.loop import train
from vision_nodes.training.sampler import EpochSampler
from vision_nodes.training.schedule import learning_rate_factor


class Points(torch.utils.data.Dataset):
    """(x, 2x - 1) pairs; a sample past `poison` is NaN."""

    def __init__(self, count: int, poison: int | None = None) -> None:
        self.count, self.poison = count, poison

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        x = torch.tensor([index / max(1, self.count - 1)])
        if self.poison is not None and index == self.poison:
            x = x * float("nan")
        return {"x": x, "y": 2 * x - 1}


class LineTask:
    """Fits a line; the metric is the mean absolute error."""

    metric_name, higher_is_better = "mae", False

    def __init__(self, count: int = 24, poison: int | None = None, kill_after: int | None = None) -> None:
        self.count, self.poison, self.kill_after, self.losses = count, poison, kill_after, 0

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))

    def train_dataset(self) -> Points:
        return Points(self.count, self.poison)

    def val_dataset(self) -> Points:
        return Points(5)

    def collate(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.losses += 1
        if self.kill_after is not None and self.losses > self.kill_after:
            raise KeyboardInterrupt
        return {"total": (network(batch["x"]) - batch["y"]).square().mean()}

    def evaluate(self, network: nn.Module, dataset: Points) -> dict[str, float]:
        errors = [float((network(s["x"]) - s["y"]).abs().mean()) for s in map(dataset.__getitem__, range(5))]
        return {"mae": sum(errors) / len(errors)}

    def export_module(self, network: nn.Module) -> nn.Module:
        return network


def settings(**changes: object) -> TrainingConfig:
    defaults = {"task": "line", "epochs": 6, "batch": 4, "learning_rate": 0.03, "weight_decay": 0.0}
    return TrainingConfig(**{**defaults, "ema_decay": 0.9, "accelerator": "cpu", **changes})


def test_learns_and_writes_curves(tmp_path: Path) -> None:
    metrics = train(LineTask(), settings(epochs=40), tmp_path)
    assert metrics["mae"] < 0.05
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 41


@pytest.mark.parametrize("kill_after", [12, 15])  # on an epoch's edge, and inside an epoch
def test_resume_after_kill_equals_an_unbroken_run(tmp_path: Path, kill_after: int) -> None:
    train(LineTask(), settings(), tmp_path / "whole")
    broken = settings(checkpoint_minutes=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(LineTask(kill_after=kill_after), broken, tmp_path / "broken")
    train(LineTask(), broken, tmp_path / "broken", resume=True)
    whole = read_checkpoint(tmp_path / "whole" / "last.pt")
    resumed = read_checkpoint(tmp_path / "broken" / "last.pt")
    for kind in ("network", "averaged"):
        for name, value in whole[kind].items():
            assert torch.equal(value, resumed[kind][name]), (kind, name)


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    train(LineTask(), settings(epochs=1), tmp_path)
    good = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"finite loss.*epoch 2, batch"):
        train(LineTask(poison=7), settings(epochs=2), tmp_path, resume=True)
    assert (tmp_path / "last.pt").read_bytes() == good


def test_early_stopping(tmp_path: Path) -> None:
    train(LineTask(), settings(epochs=200, patience=2, learning_rate=1e-9), tmp_path)
    assert len(read_checkpoint(tmp_path / "last.pt")["progress"]["history"]) < 20


def test_overfit_uses_few_samples(tmp_path: Path) -> None:
    task = LineTask(count=400)
    train(task, settings(epochs=3), tmp_path, overfit=8)
    assert task.losses == 3 * 2


def test_no_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="empty data set"):
        train(LineTask(count=0), settings(), tmp_path)


def test_frozen_parameters_do_not_move(tmp_path: Path) -> None:
    start = LineTask().network().state_dict()
    train(LineTask(), settings(freeze={"0.": 99}), tmp_path)
    end = read_checkpoint(tmp_path / "last.pt")["network"]
    assert torch.equal(start["0.weight"], end["0.weight"])
    assert not torch.equal(start["2.weight"], end["2.weight"])


def test_unknown_freeze_prefix_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        train(LineTask(), settings(freeze={"trunk": 1}), tmp_path)


def test_checkpoint_refuses_other_task_other_network_and_damage(tmp_path: Path) -> None:
    train(LineTask(), settings(epochs=1), tmp_path)
    path = tmp_path / "last.pt"
    with pytest.raises(TrainingError, match="task depth"):
        read_checkpoint(path, "depth")
    with pytest.raises(TrainingError, match="another network"):
        load_weights(nn.Linear(3, 3), read_checkpoint(path)["network"], "last.pt")
    shutil.copy(path, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TrainingError):
        read_checkpoint(tmp_path / "cut.pt")
    with pytest.raises(TrainingError, match="nothing at"):
        read_checkpoint(tmp_path / "none.pt")


def test_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pt", {"value": 1})
    with pytest.raises((TrainingError, AttributeError, TypeError)):
        write_checkpoint(tmp_path / "a.pt", {"value": lambda: 1})
    assert read_checkpoint(tmp_path / "a.pt")["value"] == 1


def test_config_refuses_unknown_keys_and_bad_values(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("task: detection\nbatchsize: 3\n")
    with pytest.raises(ConfigError, match="batchsize"):
        read_config(file)
    file.write_text("task: detection\nbatch: 0\n")
    with pytest.raises(ConfigError, match="batch > 0"):
        read_config(file)
    with pytest.raises(ConfigError, match="shipped configs"):
        read_config(tmp_path / "absent.yaml")


def test_sampler_deals_every_sample_once() -> None:
    samplers = [EpochSampler(10, seed=1, rank=rank, world=2) for rank in range(2)]
    for sampler in samplers:
        sampler.start(epoch=3)
    dealt = [index for sampler in samplers for index in sampler]
    assert sorted(dealt) == list(range(10))
    order = list(samplers[0])
    samplers[0].start(epoch=3, skip=2)
    assert list(samplers[0]) == order[2:]
    samplers[0].start(epoch=4)
    assert list(samplers[0]) != order


def test_learning_rate_schedule() -> None:
    factors = [learning_rate_factor(step, 100, 10, 0.1) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.55) and factors[100] == pytest.approx(0.1)
