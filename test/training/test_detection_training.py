"""Assignment, losses and augmentation of the detector, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from vision_nodes.networks.nanodet import BINS, decode_boxes, locations
from vision_nodes.training.assignment import assign, pairwise_iou
from vision_nodes.training.augmentation import (
    GeometryRange,
    photometric,
    random_geometry,
    warp_boxes,
    warp_image,
    warp_labels,
)
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.detection import DetectionTask
from vision_nodes.training.detection_loss import distribution_focal, generalised_iou_loss, quality_focal

BOXES = torch.tensor([[10.0, 12.0, 60.0, 70.0], [70.0, 20.0, 76.0, 26.0], [64.0, 64.0, 96.0, 96.0]])
CLASSES = torch.tensor([0, 3, 3])


class FreeOutputs(nn.Module):
    """A 'network' whose raw outputs are its parameters: only the loss shapes them."""

    def __init__(self, places: int, classes: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(1, places, classes + 4 * BINS))
        self.raw.data[..., :classes] = -2

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.raw


def batch(boxes: torch.Tensor, classes: torch.Tensor, ignored: torch.Tensor) -> dict[str, torch.Tensor]:
    owner = torch.zeros(len(classes), dtype=torch.int64)
    image = torch.zeros(1, 96, 96, 3, dtype=torch.uint8)
    return {"image": image, "boxes": boxes, "classes": classes, "ignored": ignored, "owner": owner}


def test_minimising_the_loss_puts_the_boxes_where_they_are() -> None:
    task = DetectionTask(TrainingConfig(task="detection", input_wh=(96, 96), options={"data": ""}))
    network = FreeOutputs(len(task.places), len(task.class_names))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.3)
    data = batch(BOXES, CLASSES, torch.zeros(3, dtype=torch.bool))
    for _ in range(250):
        optimiser.zero_grad()
        loss = task.loss(network, data)
        loss["total"].backward()
        optimiser.step()
    assert float(loss["giou"].detach()) < 0.02 and float(loss["focal"].detach()) < 0.02
    raw = network.raw.detach()[0]
    best = (raw[:, : len(task.class_names)].amax(1).sigmoid() > 0.5).nonzero()[:, 0]
    found = decode_boxes(raw[best, len(task.class_names) :], task.places[best])
    overlap = pairwise_iou(found, BOXES).amax(0)
    assert (overlap > 0.9).all(), overlap


def test_ignored_regions_ask_for_nothing() -> None:
    task = DetectionTask(TrainingConfig(task="detection", input_wh=(96, 96), options={"data": ""}))
    everywhere = torch.tensor([[-1.0, -1.0, 97.0, 97.0]])
    network = FreeOutputs(len(task.places), len(task.class_names))
    loss = task.loss(network, batch(everywhere, torch.tensor([0]), torch.tensor([True])))
    assert float(loss["total"].detach()) == 0
    loss = task.loss(network, batch(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).bool()))
    assert float(loss["focal"].detach()) > 0  # an empty picture teaches background
    assert float(loss["giou"].detach()) == 0


def test_assignment_gives_every_box_a_location_and_the_best_its_iou() -> None:
    places = locations(96, 96)
    predicted = torch.cat((places[:, :2] - 20, places[:, :2] + 20), 1)
    scores = torch.full((len(places), 4), 0.3)
    match = assign(scores, predicted, places, BOXES, CLASSES, top=5)
    iou = pairwise_iou(predicted, BOXES)
    for truth in range(3):
        own = match.truth == truth
        assert own.any(), truth
        assert float(match.quality[own].max()) == pytest.approx(float(iou[own, truth].max()), abs=1e-5)
    assert (match.quality[match.truth < 0] == 0).all()


def test_losses_at_known_points() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    b = torch.tensor([[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 3.0, 1.0]])
    # apart by one unit: IoU 0, hull 3, union 2
    torch.testing.assert_close(generalised_iou_loss(a, b), torch.tensor([0.0, 1 + 1 / 3]))
    logits, target = torch.tensor([0.0, 3.0]), torch.tensor([0.5, 1.0])
    expected = torch.tensor([0.0, (1 - torch.sigmoid(torch.tensor(3.0))) ** 2 * np.log1p(np.exp(-3))])
    torch.testing.assert_close(quality_focal(logits, target), expected.float(), atol=1e-6, rtol=1e-4)
    bins = torch.full((1, 4, BINS), -30.0)
    bins[:, :, 2] = bins[:, :, 3] = 0.0  # half the mass each
    place, truth = torch.tensor([[40.0, 40.0, 8.0]]), torch.tensor([[20.0, 20.0, 60.0, 60.0]])
    torch.testing.assert_close(
        distribution_focal(bins.view(1, -1), place, truth), torch.tensor([np.log(2)]).float()
    )
    assert decode_boxes(bins.view(1, -1), place)[0].tolist() == pytest.approx([20, 20, 60, 60])


def test_locations_cover_sides_that_64_does_not_divide() -> None:
    places = locations(416, 416)
    assert len(places) == 52**2 + 26**2 + 13**2 + 7**2
    assert places[52 + 1].tolist() == [8, 8, 8] and places[-1].tolist() == [384, 384, 64]


def test_picture_mask_and_boxes_move_together() -> None:
    image = np.zeros((80, 120, 3), np.uint8)
    image[30:50, 40:80] = 255
    labels = (image[..., 0] > 0).astype(np.uint8)
    rng = np.random.default_rng(4)
    limits = GeometryRange(shear=0.0, rotation_rad=0.0, zoom=(0.8, 1.2))
    for _ in range(10):
        matrix = random_geometry(rng, (120, 80), (96, 96), limits)
        box = warp_boxes(np.array([[40, 30, 80, 50]], np.float32), matrix)[0]
        ys, xs = np.nonzero(warp_image(image, matrix, (96, 96))[..., 0] > 200)
        extent = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(np.clip(box, 0, 96), extent, atol=1.5)
        mask = warp_labels(labels, matrix, (96, 96)) == 1
        assert abs(int(mask.sum()) - len(xs)) < 0.12 * len(xs)


def test_photometric_keeps_shape_and_is_reproducible() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    for seed in range(12):
        first, second = (photometric(image, np.random.default_rng(seed)) for _ in range(2))
        assert first.shape == image.shape and first.dtype == np.uint8
        np.testing.assert_array_equal(first, second)
    assert warp_boxes(np.zeros((0, 4), np.float32), np.eye(3)).shape == (0, 4)
