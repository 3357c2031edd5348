"""The fused task: every picture carries every label, and it learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from vision_nodes.engine.models import list_models
from vision_nodes.networks.fused import HEADS, FusedNetwork
from vision_nodes.networks.gradient_balance import GradientBalance
from vision_nodes.networks.nanodet import NanoDetPlus
from vision_nodes.tasks.classes import GENERAL_CLASSES, UNLABELLED
from vision_nodes.training.coco import ROBOT_CLASSES
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.fused import FusedTask
from vision_nodes.training.loop import train

SIZE_WH = (128, 128)
needs_teachers = pytest.mark.skipif(
    not {"depth", "place"} <= {manifest.name for manifest in list_models()}, reason="no teachers in models/"
)


def picture(number: int) -> np.ndarray:
    """(96, 128, 3) uint8 with a dark box in front of a bright wall above a floor."""
    rng = np.random.default_rng(number)
    image = cv2.GaussianBlur(rng.integers(90, 200, (96, 128, 3), dtype=np.uint8), (0, 0), 3)
    image[60:] //= 2
    image[30:80, 20 + 5 * number : 60 + 5 * number] = (20, 40, 160)
    return image


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options over a COCO-style set of six pictures with masks, and two files of rendered views."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    images, annotations = [], []
    for i in range(6):
        cv2.imwrite(str(folder / f"{i}.png"), picture(i))
        labels = np.full((96, 128), GENERAL_CLASSES.index("wall"), np.uint8)
        labels[60:] = GENERAL_CLASSES.index("floor")
        cv2.imwrite(str(tmp_path / "masks" / f"{i}.png"), np.hstack([labels, np.full_like(labels, 250)]))
        images.append({"id": i, "file_name": f"{i}.png", "width": 128, "height": 96})
        box = {
            "id": i,
            "image_id": i,
            "category_id": 1,
            "iscrowd": 0,
            "area": 2000,
            "bbox": [20 + 5 * i, 30, 40, 50],
        }
        annotations.append(box)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(ROBOT_CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "train.json").write_text(json.dumps(content))
    (tmp_path / "train.txt").write_text("\n".join(f"images/train/{i}.png" for i in range(6)))
    (tmp_path / "rooms").mkdir()
    for i in range(2):
        views = {
            "images": np.stack([cv2.resize(picture(i), (256, 192))] * 2),
            "depth": np.full((2, 96, 128), 2.0 + i, np.float16),
            "fx": np.full(2, 220.0, np.float32),
        }
        np.savez(tmp_path / "rooms" / f"{i}.npz", **views)
    return {
        "detection": {"data": str(tmp_path / "train.json"), "dev_images": 2, "candidates": 20},
        "segmentation": {"masks": str(tmp_path / "masks"), "dev_images": 2},
        "depth": {"rooms": str(tmp_path / "rooms"), "worlds": "", "dev_rooms": 1, "dev_worlds": 0},
        "place": {"pictures": str(tmp_path / "train.txt"), "worlds": "", "loops": "", "dev_pictures": 2},
        "rendered_views": 2,
    }


class SmallTask(FusedTask):
    """Without the public weights, which a test must not need."""

    def network(self) -> FusedNetwork:
        torch.manual_seed(1)
        return FusedNetwork(len(ROBOT_CLASSES), len(GENERAL_CLASSES), self.config.input_wh)


def settings(options: dict[str, Any], **changes: Any) -> TrainingConfig:
    base = TrainingConfig("fused", epochs=1, batch=3, input_wh=SIZE_WH, accelerator="cpu", options=options)
    return replace(base, **changes)


@needs_teachers
def test_every_sample_carries_every_label(data: dict[str, Any]) -> None:
    task = SmallTask(settings(data))
    samples = task.train_dataset()
    # 6 pictures less 2 of detection's and 2 of place's development sets (which may be the same), 2 renderings
    assert 4 <= len(samples) <= 6
    batch = task.collate([samples[i] for i in range(len(samples))])
    assert batch["depth"].shape[1:] == (64, 64) and batch["labels"].shape[1:] == (128, 128)
    norms = batch["descriptor"].norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-4)
    rendered = samples[len(samples) - 1]
    assert rendered["ignored"].all() and (rendered["labels"] == UNLABELLED).all()
    assert rendered["depth"].float().std() < 0.3 and rendered["depth"].max() > 1
    losses = task.loss(task.network(), batch)
    assert set(losses) == {"total", *HEADS} and all(torch.isfinite(loss) for loss in losses.values())


@needs_teachers
def test_trains_validates_all_heads_and_resumes(data: dict[str, Any], tmp_path: Path) -> None:
    figures = train(SmallTask(settings(data)), settings(data), tmp_path / "run")
    assert {"score", "detection_ap", "segmentation_miou", "depth_abs_rel", "place_score"} <= set(figures)
    longer = settings(data, epochs=2)
    train(SmallTask(longer), longer, tmp_path / "run", resume=True)
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 3


@needs_teachers
def test_learns_two_samples_by_heart(data: dict[str, Any], tmp_path: Path) -> None:
    options = {**data, "augment": False, "weights": {"detection": 0.3, "place": 4.0}}
    config = settings(
        options, epochs=25, learning_rate=4e-3, warmup_epochs=1.0, ema_decay=0.0, validate_every=25
    )
    before = SmallTask(config).evaluate(SmallTask(config).network(), SmallTask(config).train_dataset())
    after = train(SmallTask(config), config, tmp_path, overfit=2)
    assert after["segmentation"] < 0.3 * before["segmentation"]
    assert after["place"] < 0.3 * before["place"] and after["depth"] < before["depth"] - 0.3


def test_only_the_asked_heads_are_computed() -> None:
    network = FusedNetwork(3, 4, SIZE_WH).eval()
    with torch.no_grad():
        everything = network(torch.rand(1, 3, 128, 128) * 255)
        assert set(everything) == {*HEADS, "log_scale"}
        assert set(network(torch.rand(1, 3, 128, 128) * 255, ("place",))) == {"place"}


def test_encoder_and_detection_are_those_of_the_detector() -> None:
    torch.manual_seed(0)
    detector = NanoDetPlus(3).eval()
    network = FusedNetwork(3, 4, SIZE_WH).eval()
    network.detector.load_state_dict(detector.state_dict())
    tensor = torch.rand(1, 3, 128, 128) * 255
    with torch.no_grad():
        assert torch.allclose(network(tensor, ("detection",))["detection"], detector(tensor), atol=1e-5)


def test_balance_gives_every_head_the_same_say() -> None:
    feature = torch.randn(4, 8, requires_grad=True)
    for gain in (1e-3, 1e3):
        balance = GradientBalance(weight=2.0)
        feature.grad = None
        (gain * balance((feature,))[0].square()).sum().backward()
        assert float(feature.grad.norm()) == pytest.approx(2.0, rel=1e-3)
