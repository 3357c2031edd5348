"""Place losses against hand-computed values."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from vision_nodes.training.place_loss import masked_log_depth_loss, multi_similarity_loss, overlap_loss


def unit(angle: float) -> list[float]:
    return [math.cos(angle), math.sin(angle)]


def test_by_hand_for_two_places():
    # a, b of place 0; c of place 1. cos(ab) = .8, cos(ac) = .9, cos(bc) = cos(arccos .8 + arccos .9)
    a, b, c = 0.0, math.acos(0.8), -math.acos(0.9)
    descriptors = torch.tensor([unit(a), unit(b), unit(c)])
    bc = math.cos(b - c)
    pull = [math.log1p(math.exp(-2 * 0.3)) / 2, math.log1p(math.exp(-2 * 0.3)) / 2 * (0.8 < bc + 0.1)]
    push = [
        math.log1p(math.exp(40 * 0.4)) / 40,
        math.log1p(math.exp(40 * (bc - 0.5))) / 40 * (bc > 0.8 - 0.1),
        math.log1p(0.0) / 40,  # c has no positive: no negative of it is near one
    ]
    loss = float(multi_similarity_loss(descriptors, torch.tensor([0, 0, 1])))
    assert loss == pytest.approx((sum(pull) + sum(push)) / 3, abs=1e-5)


def test_separated_places_cost_nothing():
    descriptors = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert float(multi_similarity_loss(descriptors, torch.tensor([0, 0, 1, 1]))) == 0


def test_the_bank_brings_negatives_and_positives():
    descriptors = torch.tensor([[1.0, 0.0]])
    places = torch.tensor([0])
    assert float(multi_similarity_loss(descriptors, places)) == 0
    bank = (torch.tensor([[0.6, 0.8], [0.8, 0.6]]), torch.tensor([0, 1]))
    expected = math.log1p(math.exp(-2 * 0.1)) / 2 + math.log1p(math.exp(40 * 0.3)) / 40
    assert float(multi_similarity_loss(descriptors, places, bank)) == pytest.approx(expected, abs=1e-5)


def test_gradient_pulls_together_and_pushes_apart():
    raw = torch.tensor([[1.0, 0.2], [1.0, -0.4], [1.0, 0.3]], requires_grad=True)
    places = torch.tensor([0, 0, 1])

    def loss() -> torch.Tensor:
        return multi_similarity_loss(torch.nn.functional.normalize(raw, dim=1), places)

    before = loss()
    before.backward()
    with torch.no_grad():
        raw -= 0.05 * raw.grad
    assert float(loss()) < float(before)


def test_depth_counts_only_where_known():
    log_depth = torch.tensor([[[0.0, 3.0]]])
    assert float(masked_log_depth_loss(log_depth, torch.tensor([[[math.e, 0.0]]]))) == pytest.approx(1.0)
    assert float(masked_log_depth_loss(log_depth, torch.zeros(1, 1, 2))) == 0


def test_overlap_loss_of_certain_pairs_is_the_loss_of_places():
    descriptors = torch.nn.functional.normalize(torch.randn(8, 5), dim=1)
    places = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3])
    shared = (places[:, None] == places[None, :]).float()
    torch.testing.assert_close(overlap_loss(descriptors, shared), multi_similarity_loss(descriptors, places))


def test_pairs_that_share_a_little_teach_nothing():
    descriptors = torch.tensor([unit(0.0), unit(0.3), unit(1.4)])
    shared = torch.eye(3)
    shared[0, 1] = shared[1, 0] = 0.3  # alike, and neither one place nor two
    assert float(overlap_loss(descriptors, shared)) == 0
    shared[0, 1] = shared[1, 0] = 0.6
    shared[0, 2] = shared[2, 0] = 0.0
    assert float(overlap_loss(descriptors, shared)) == 0  # right by more than the margin
    shared[0, 2] = shared[2, 0] = 0.7
    assert float(overlap_loss(descriptors, shared)) > 0  # overlaps, but looks least alike
