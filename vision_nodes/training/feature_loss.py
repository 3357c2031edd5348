"""Losses of local features: agree with the teacher, match oneself across views, know what is reliable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NEAR_PX = 6.0  # closer points are neither right nor wrong for each other


def transfer(homographies: Tensor, xy: Tensor) -> Tensor:
    """(B, N, 2) px through (B, 3, 3)."""
    ones = torch.ones_like(xy[..., :1])
    moved = torch.cat([xy, ones], -1) @ homographies.transpose(1, 2)
    return moved[..., :2] / moved[..., 2:].clamp(min=1e-6)


def choose_points(rank: Tensor, count: int, random_share: float) -> Tensor:
    """(B, count, 2) px: random ones among the strongest of (B, H, W) `rank`, and some from anywhere."""
    b, height, width = rank.shape
    anywhere = int(count * random_share)
    peak = functional.max_pool2d(rank[:, None], 3, 1, 1)[:, 0]
    maxima = torch.where(rank >= peak, rank, torch.zeros_like(rank)).flatten(1)
    strong = torch.topk(maxima, min(2 * (count - anywhere), maxima.shape[1]), dim=1).indices
    order = torch.rand(strong.shape, device=rank.device).argsort(1)[:, : count - anywhere]
    index = strong.gather(1, order)
    points = torch.stack([index % width, torch.div(index, width, rounding_mode="floor")], -1).float()
    size = torch.tensor([width - 1.0, height - 1.0], device=rank.device)
    return torch.cat([points, torch.rand(b, anywhere, 2, device=rank.device) * size], 1)


def match_loss(a: Tensor, b: Tensor, xy_b: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """Both-way cross entropy of the similarity of N true pairs (the dual softmax of LoFTR and XFeat).

    Args:
        a, b: (B, N, D) unit descriptors; row i of both shows one point.
        xy_b: (B, N, 2) px of the points in the second view.
        valid: (B, N) bool: seen in both views.
    """
    similarity = a @ b.transpose(1, 2) / temperature
    same = torch.eye(a.shape[1], dtype=torch.bool, device=a.device)[None]
    near = (torch.cdist(xy_b, xy_b) < NEAR_PX) & ~same
    excluded = near | ~valid[:, :, None] | ~valid[:, None, :]
    similarity = similarity.masked_fill(excluded & ~same, -1e4)
    target = torch.arange(a.shape[1], device=a.device).expand(a.shape[0], -1)
    losses = [
        functional.cross_entropy(s, target, reduction="none")
        for s in (similarity, similarity.transpose(1, 2))
    ]
    return ((losses[0] + losses[1]) * valid).sum() / (2 * valid.sum()).clamp(min=1)


def cosine_loss(student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of 1 - cosine over (..., D), weighted by (...)."""
    distance = 1 - functional.cosine_similarity(student, teacher, dim=-1)
    return distance.mean() if weight is None else (distance * weight).sum() / weight.sum().clamp(min=1)


def relative_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean squared difference of (B, C, h, w) over the teacher's mean square."""
    return (ours - theirs).square().mean() / theirs.square().mean().clamp(min=1e-9)
