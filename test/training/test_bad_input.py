"""What goes wrong with data, memory, disks and processes: one clear error, and nothing half-written."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn

from vision_nodes.errors import TrainingError
from vision_nodes.training.checkpoint import read_checkpoint, write_checkpoint
from vision_nodes.training.coco import ROBOT_CLASSES, CocoBoxes
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.images import read_gray, read_rgb
from vision_nodes.training.loop import train

GOOD = {
    "images": [{"id": 1, "file_name": "1.jpg", "width": 8, "height": 8}],
    "categories": [{"id": i + 1, "name": name} for i, name in enumerate(ROBOT_CLASSES)],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "iscrowd": 0}],
}


def spoiled(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(GOOD)[:-20], "whole COCO annotation"),
        ("[]", "whole COCO annotation"),
        (json.dumps({"images": []}), "whole COCO annotation"),
        (spoiled(annotations=[{**GOOD["annotations"][0], "category_id": 99}]), "category 99"),
        (spoiled(annotations=[{**GOOD["annotations"][0], "image_id": 7}]), "image 7"),
        (spoiled(categories=GOOD["categories"][1:], annotations=[]), "person"),
    ],
)
def test_annotations_that_are_damaged(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(TrainingError, match=message):
        CocoBoxes(tmp_path / "train.json")


def test_good_annotations_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(GOOD))
    assert len(CocoBoxes(tmp_path / "train.json").boxes(0)[0]) == 1


def test_a_missing_or_cut_picture_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    for read in (read_rgb, read_gray):
        for path in (cut, tmp_path / "none.png"):
            with pytest.raises(TrainingError, match=path.name):
                read(path)


class Sum:
    """Learns one number; `hungry` asks for more memory than there is, while it learns or while it is scored."""

    metric_name, higher_is_better = "error", False

    def __init__(self, hungry: str = "", pause_s: float = 0.0) -> None:
        self.hungry, self.pause_s = hungry, pause_s

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(1, 1)

    def train_dataset(self) -> list[dict[str, torch.Tensor]]:
        return [{"x": torch.tensor([float(i)])} for i in range(8)]

    def val_dataset(self) -> list[dict[str, torch.Tensor]]:
        return self.train_dataset()

    def collate(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([sample["x"] for sample in samples])}

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        time.sleep(self.pause_s)
        if self.hungry == "loss":
            torch.empty(1 << 58)
        return {"total": (network(batch["x"]) - batch["x"]).square().mean()}

    def evaluate(self, network: nn.Module, dataset: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        if self.hungry == "evaluate":
            np.empty(1 << 58)
        return {"error": float((network(self.collate(dataset)["x"])).mean())}


def settings(**changes: Any) -> TrainingConfig:
    return TrainingConfig("sum", **{"epochs": 2, "batch": 4, "accelerator": "cpu", **changes})


@pytest.mark.parametrize("where", ["loss", "evaluate"])
def test_out_of_memory_says_what_to_lower(where: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"memory.*lower batch or input_wh"):
        train(Sum(where), settings(), tmp_path)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"weights": torch.zeros(10)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # writes beyond fail, as on a full disk
    try:
        with pytest.raises(TrainingError, match="free disk space, then --resume"):
            write_checkpoint(path, {"weights": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_checkpoint(path)["weights"].shape == (10,)
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_kill_9_and_resume_loses_less_than_an_epoch(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from test_bad_input import Sum, settings, train;"
        "train(Sum(pause_s=0.15), settings(epochs=200), pathlib.Path(sys.argv[2]))"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    history = tmp_path / "history.csv"
    try:
        while not (history.exists() and len(history.read_text().splitlines()) > 3):
            assert run.poll() is None, "the training ended by itself"
            time.sleep(0.05)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    finished = len(history.read_text().splitlines()) - 1
    done = read_checkpoint(tmp_path / "last.pt")["progress"]
    assert done["epoch"] in (finished, finished + 1)
    train(Sum(), settings(epochs=done["epoch"] + 2), tmp_path, resume=True)
    epochs = [row["epoch"] for row in read_checkpoint(tmp_path / "last.pt")["progress"]["history"]]
    assert epochs == list(range(1, done["epoch"] + 3))
    assert not list(tmp_path.glob("*.partial"))
