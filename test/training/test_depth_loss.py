"""Depth losses against hand-computed values."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from vision_nodes.training.depth import depth_errors
from vision_nodes.training.depth_loss import gradient_loss, laplace_loss, sized_things_loss


def test_laplace_by_hand():
    log_depth = torch.tensor([[[1.0, 5.0]]])
    target = torch.tensor([[[0.5, 0.0]]])
    log_scale = torch.log(torch.tensor([[[0.25, 1.0]]]))
    known = torch.tensor([[[True, False]]])
    assert float(laplace_loss(log_depth, log_scale, target, known)) == pytest.approx(2 + math.log(0.25))


def test_laplace_is_least_where_the_scale_is_the_mean_error():
    target, known = torch.zeros(1, 1, 1000), torch.ones(1, 1, 1000, dtype=torch.bool)
    log_depth = torch.distributions.Laplace(0.0, 0.3).sample((1, 1, 1000))
    mean = log_depth.abs().mean()
    losses = [
        float(laplace_loss(log_depth, torch.log(b).expand(1, 1, 1000), target, known))
        for b in (0.5 * mean, mean, 2 * mean)
    ]
    assert losses[1] == min(losses)


def test_nothing_known_costs_nothing():
    nothing = torch.zeros(1, 4, 4, dtype=torch.bool)
    values = torch.randn(1, 4, 4)
    assert float(laplace_loss(values, values, values + 1, nothing)) == 0
    assert float(gradient_loss(values, values * 2, nothing)) == 0


def test_gradient_ignores_a_constant_factor():
    target, known = torch.randn(1, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
    assert float(gradient_loss(target + 0.8, target, known)) == pytest.approx(0, abs=1e-6)


def test_gradient_by_hand_at_one_scale():
    log_depth = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    target, known = torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)
    assert float(gradient_loss(log_depth, target, known, scales=1)) == pytest.approx(1.0)


def test_things_of_known_size():
    log_depth = torch.full((2, 8, 8), math.log(2.0))
    boxes = torch.zeros(2, 3, 5)
    boxes[0, 0] = torch.tensor([0.2, 0.2, 0.8, 0.8, 2.0 * math.exp(0.5)])
    boxes[1, 2] = torch.tensor([0.2, 0.2, 0.8, 0.8, 2.1])  # within the slack
    assert float(sized_things_loss(log_depth, boxes)) == pytest.approx((0.5 - 0.15) / 2, rel=1e-5)
    assert float(sized_things_loss(log_depth, torch.zeros(2, 3, 5))) == 0


def test_a_thing_is_measured_in_its_core():
    log_depth = torch.full((1, 16, 16), math.log(9.0))
    log_depth[:, 6:10, 6:10] = math.log(2.0)
    boxes = torch.tensor([[[0.25, 0.25, 0.75, 0.75, 2.0]]])
    assert float(sized_things_loss(log_depth, boxes, core=0.3)) == 0


def test_errors_by_hand():
    import numpy as np

    errors = depth_errors(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert errors["abs_rel"] == pytest.approx(1.0)
    assert errors["abs_rel_median"] == pytest.approx(0.0)
    assert errors["delta_1"] == 0.0
