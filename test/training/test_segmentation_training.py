"""Pseudo labels, their storage and the segmentation metric; a few pictures learnt by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")

from torch import nn

from vision_nodes.networks.mosaic import ADE_CLASSES
from vision_nodes.tasks.classes import GENERAL_CLASSES, UNLABELLED
from vision_nodes.training.checkpoint import read_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.loop import train
from vision_nodes.training.pseudo_labels import correct_by_boxes, mapping_matrix, read_pseudo_labels
from vision_nodes.training.segmentation import SegmentationTask, class_iou
from vision_nodes.training.segmentation_sample import to_sample

ID = GENERAL_CLASSES.index


def test_every_teacher_class_but_other_has_one_counterpart() -> None:
    columns = mapping_matrix().sum(axis=0)
    assert columns[ADE_CLASSES.index("other")] == 0
    assert (np.delete(columns, ADE_CLASSES.index("other")) == 1).all()


def test_a_bus_taken_for_a_building_becomes_a_vehicle_where_its_box_is() -> None:
    labels = np.full((40, 60), ID("building"), np.uint8)
    labels[:, 50:] = ID("sky")
    confidence = np.full((40, 60), 0.5, np.float32)
    correct_by_boxes(labels, confidence, np.array([[10.0, 10.0, 58.0, 30.0]], np.float32), ["bus"])
    assert labels[20, 30] == ID("vehicle") and confidence[20, 30] == pytest.approx(0.8)
    assert labels[20, 53] == ID("sky")  # what is no facade stays
    assert labels[5, 30] == ID("building") and labels[11, 30] == ID("building")  # outside, and at the rim


def test_people_nobody_drew_are_doubted() -> None:
    labels = np.full((20, 20), ID("person"), np.uint8)
    correct_by_boxes(labels, np.ones((20, 20), np.float32), np.array([[0.0, 0.0, 9.0, 19.0]]), ["person"])
    assert labels[10, 5] == ID("person") and labels[10, 15] == UNLABELLED
    labels = np.full((20, 20), ID("person"), np.uint8)
    correct_by_boxes(labels, np.ones((20, 20), np.float32), np.zeros((0, 4)), [])
    assert (labels == UNLABELLED).all()


def test_stored_planes_come_back(tmp_path: Path) -> None:
    labels = np.array([[1, 255], [16, 0]], np.uint8)
    confidence = np.array([[0, 128], [255, 7]], np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.hstack([labels, confidence]))
    for expected, have in zip((labels, confidence), read_pseudo_labels(tmp_path / "a.png")):
        np.testing.assert_array_equal(expected, have)


def test_class_iou_by_hand() -> None:
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    np.testing.assert_allclose(class_iou(confusion), [6 / 9, 3 / 6, np.nan])


def test_unaugmented_sample_is_a_plain_stretch() -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    labels = np.zeros((30, 40), np.uint8)
    labels[:, 20:] = 5
    sample = to_sample(image, labels, np.full_like(labels, 255), (80, 60), None)
    assert sample["labels"].shape == (60, 80)
    assert sample["labels"][30, 38] == 0 and sample["labels"][30, 41] == 5
    assert (sample["confidence"] == 255).all()


class SmallSegmentation(SegmentationTask):
    """The real loss, metric and graph over eight random 32 x 32 pictures and a small network."""

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 32, 5, 2, 2), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU())
        return nn.Sequential(nn.BatchNorm2d(3), *layers, nn.Conv2d(32, len(GENERAL_CLASSES), 1))

    def train_dataset(self) -> list[dict[str, torch.Tensor]]:
        rng = np.random.default_rng(2)
        samples = []
        for _ in range(8):
            labels = np.kron(rng.integers(0, 17, (2, 2)), np.ones((16, 16), int)).astype(np.uint8)
            image = np.stack([labels * 15, 255 - labels * 9, (labels % 5) * 50], axis=2)
            samples.append(to_sample(image, labels, np.full_like(labels, 255), (32, 32), None))
        return samples

    val_dataset = train_dataset


def test_overfit_drives_the_loss_to_nothing(tmp_path: Path) -> None:
    options = {"data": "", "masks": ""}
    config = TrainingConfig(
        "segmentation", epochs=80, batch=8, learning_rate=0.02, weight_decay=0.0, ema_decay=0.0,
        input_wh=(32, 32), validate_every=80, accelerator="cpu", options=options,
    )  # fmt: skip
    metrics = train(SmallSegmentation(config), config, tmp_path, overfit=8)
    history = read_checkpoint(tmp_path / "last.pt")["progress"]["history"]
    assert history[0]["loss_total"] > 1.5 and history[-1]["loss_total"] < 0.12
    assert metrics["agreement"] > 0.95
