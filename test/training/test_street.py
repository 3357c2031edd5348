"""CamVid, its split by time, the street task's loss and augmentation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vision_nodes.errors import TrainingError
from vision_nodes.export.release import release_fp32
from vision_nodes.training.camvid import GAP, CamVid, read_pairs, split_by_time, towards_rare
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.segmentation import class_iou
from vision_nodes.training.segmentation_loss import lovasz_softmax
from vision_nodes.training.street import StreetTask
from vision_nodes.training.weather import dusk, haze, low_sun, rain, shadow, weather

CONFIG = TrainingConfig("street", input_wh=(64, 48), options={"crop_wh": [48, 32]})


def make_camvid(folder: Path, frames: int = 24, value: int = 3) -> Path:
    lines = []
    rng = np.random.default_rng(0)
    for recording in ("A", "B"):
        for number in range(frames):
            name = f"{recording}_{number:03d}"
            image = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
            labels = np.full((48, 64), value, np.uint8)
            labels[20:24, 40:42] = 2
            cv2.imwrite(str(folder / f"{name}.png"), image)
            cv2.imwrite(str(folder / f"{name}_l.png"), labels)
            lines.append(f"{name}.png {name}_l.png")
    (folder / "train.txt").write_text("\n".join(lines))
    return folder


def test_split_leaves_a_gap_in_time(tmp_path: Path) -> None:
    pairs = read_pairs(make_camvid(tmp_path), "train")
    training, development = (split_by_time(pairs, development=flag) for flag in (False, True))
    assert len(development) == 2 * 3
    assert len(training) == 48 - 2 * (3 + 2 * GAP)
    seen = {path.name[:5] for path, _ in training}
    for path, _ in development:
        recording, number = path.stem.split("_")
        for offset in range(-GAP, GAP + 1):
            assert f"{recording}_{int(number) + offset:03d}" not in seen


def test_missing_list_and_strange_label(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="list of picture"):
        read_pairs(tmp_path, "train")
    pairs = read_pairs(make_camvid(tmp_path, 2, value=11), "train")
    with pytest.raises(TrainingError, match="labels below 11"):
        CamVid(pairs, CONFIG, augment=False)[0]
    with pytest.raises(TrainingError, match="pictures of"):
        CamVid(read_pairs(make_camvid(tmp_path, 2), "train"), TrainingConfig("street"), augment=False)[0]


def test_augmented_samples_follow_seed_and_epoch(tmp_path: Path) -> None:
    data = CamVid(read_pairs(make_camvid(tmp_path), "train"), CONFIG, augment=True)
    first, again = data[3], data[3]
    assert first["image"].shape == (32, 48, 3)
    assert set(first["labels"].unique().tolist()) <= {2, 3, 255}
    assert torch.equal(first["image"], again["image"])
    data.set_epoch(1)
    assert not torch.equal(first["image"], data[3]["image"])


def test_rare_pixel_lands_inside_the_crop() -> None:
    labels = np.zeros((48, 64), np.uint8)
    labels[3, 60] = 10
    for seed in range(8):
        rng = np.random.default_rng(seed)
        matrix = towards_rare(np.diag([3.0, 3.0, 1.0]), labels, (48, 32), rng)
        x, y, _ = matrix @ [60, 3, 1]
        assert 0 <= x < 48
        assert 0 <= y < 32


def test_lovasz_of_hard_answers_is_one_minus_mean_iou() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.integers(0, 4, (2, 9, 7)))
    found = torch.from_numpy(np.where(rng.random((2, 9, 7)) < 0.6, truth, rng.integers(0, 5, (2, 9, 7))))
    hot = torch.nn.functional.one_hot(found, 5).permute(0, 3, 1, 2).float()
    confusion = np.zeros((5, 5), int)
    np.add.at(confusion, (truth.numpy().ravel(), found.numpy().ravel()), 1)
    expected = 1 - np.nanmean(class_iou(confusion))
    assert float(lovasz_softmax(hot, truth, 255)) == pytest.approx(expected, abs=1e-6)
    assert float(lovasz_softmax(hot, torch.full_like(truth, 255), 255)) == 0


def test_weather_changes_the_picture_in_its_own_way() -> None:
    image = np.random.default_rng(0).integers(40, 200, (60, 80, 3)).astype(np.uint8)
    before = image.copy()
    rng = np.random.default_rng(1)
    for effect in (haze, rain, dusk, shadow, low_sun):
        changed = effect(image, rng)
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert (changed != image).any()
    assert np.array_equal(image, before)
    assert dusk(image, rng).mean() < image.mean()
    assert shadow(image, rng).mean() < image.mean()
    assert low_sun(image, rng).mean() > image.mean()
    assert haze(image, rng).std() < image.std()
    same = [weather(image, np.random.default_rng(5)) for _ in range(2)]
    assert np.array_equal(*same)


class SmallStreet(StreetTask):
    """The real loss, metric and graph over made-up recordings, with two convolutions."""

    def network(self) -> torch.nn.Module:
        torch.manual_seed(0)
        layers = (torch.nn.Conv2d(3, 8, 5, 4, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 11, 1))
        return torch.nn.Sequential(*layers)


def test_loss_falls_and_the_model_ships_as_a_segmentation_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "camvid").mkdir()
    make_camvid(tmp_path / "camvid")
    monkeypatch.setenv("VISION_NODES_DATA", str(tmp_path))
    card = {"name": "small_street", "description": "d", "licence": "Apache-2.0", "label": "research", "source": "s",
            "command": "c", "init": "i", "data": [{"name": "n", "licence": "l", "use": "u"}]}  # fmt: skip
    options = {"data": "camvid", "crop_wh": [48, 32]}
    task = SmallStreet(TrainingConfig("street", input_wh=(64, 48), options=options, model=card))
    network, data = task.network(), task.train_dataset()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    values, before = [], task.evaluate(network.eval(), task.val_dataset())
    for epoch in range(24):
        losses = task.loss(network, task.collate([data[i] for i in range(epoch % 8, len(data), 8)]))
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
        values.append(float(losses["total"].detach()))
    assert min(values[-3:]) < 0.7 * values[0]
    manifest, differences = release_fp32(task, network.eval(), task.config, tmp_path)
    assert (manifest.task, manifest.label) == ("segmentation", "research")
    assert manifest.class_names == task.class_names
    assert differences["labels"] <= 0.02
    figures = task.evaluate(network, task.val_dataset())
    assert figures["iou_road"] > max(0.5, before["iou_road"])
