"""Losses that learn a teacher's opinion."""

from __future__ import annotations

import pytest
import torch

from vision_nodes.errors import ModelError
from vision_nodes.networks.weights import find_weights
from vision_nodes.training.detection_distillation import distillation_loss
from vision_nodes.training.pseudo_labels import WEIGHTS
from vision_nodes.training.segmentation_teacher import CropTeacher


def test_detector_agreeing_with_its_teacher_has_no_box_loss_and_no_gradient() -> None:
    torch.manual_seed(0)
    taught = torch.randn(2, 50, 3 + 32)
    same = taught.clone().requires_grad_()
    distillation_loss(same, taught, 3).backward()
    assert same.grad is not None
    assert same.grad.abs().max() < 1e-6
    other = torch.randn(2, 50, 3 + 32)
    assert distillation_loss(other, taught, 3) > distillation_loss(taught, taught, 3)


def test_following_the_gradient_leads_to_the_teacher() -> None:
    torch.manual_seed(0)
    taught = 3 * torch.randn(1, 20, 2 + 32)
    raw = torch.zeros_like(taught, requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        distillation_loss(raw, taught, 2).backward()
        optimiser.step()
    assert (raw[..., :2].sigmoid() - taught[..., :2].sigmoid()).abs().mean() < 0.05


def test_crop_teacher_measures_divergence_from_itself() -> None:
    try:
        find_weights(WEIGHTS)
    except ModelError:
        pytest.skip("no public weights here")
    torch.manual_seed(0)
    teacher = CropTeacher()
    images = torch.rand(1, 3, 96, 128) * 255
    taught = teacher.probabilities(images, (24, 32))
    assert taught.shape == (1, 17, 24, 32)
    assert (taught.sum(1) <= 1 + 1e-5).all()
    nothing = torch.zeros(1, 24, 32, dtype=torch.bool)
    agreeing = (taught / taught.sum(1, keepdim=True)).clamp(min=1e-9).log()
    assert float(teacher.divergence(agreeing, images, nothing)) == pytest.approx(0, abs=1e-4)
    assert teacher.divergence(torch.zeros_like(taught), images, nothing) > 0.01
    assert teacher.divergence(torch.zeros_like(taught), images, ~nothing) == 0
