"""Losses of the depth network; everything is in log metres."""

from __future__ import annotations

import torch
from torch.nn import functional


def laplace_loss(
    log_depth: torch.Tensor, log_scale: torch.Tensor, target: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Mean negative log-likelihood of a Laplace distribution, without its constant log 2.

    Args:
        log_depth, log_scale, target: (B, H, W).
        known: (B, H, W) bool; 0 is returned where nothing is known.
    """
    loss = (log_depth - target).abs() * torch.exp(-log_scale) + log_scale
    return (loss * known).sum() / known.sum().clamp(min=1)


def gradient_loss(
    log_depth: torch.Tensor, target: torch.Tensor, known: torch.Tensor, scales: int = 3
) -> torch.Tensor:
    """Mean absolute difference of horizontal and vertical steps of log depth at several scales: edges and
    slopes whatever the scene's size (Li & Snavely, MegaDepth, CVPR 2018)."""
    error = (log_depth - target) * known
    weight = known.float()
    total = log_depth.new_zeros(())
    for scale in range(scales):
        for axis in (1, 2):
            step = torch.diff(error, dim=axis).abs()
            both = torch.minimum(
                weight.narrow(axis, 1, weight.shape[axis] - 1), weight.narrow(axis, 0, weight.shape[axis] - 1)
            )
            total = total + (step * both).sum() / both.sum().clamp(min=1)
        if scale < scales - 1:
            error, weight = error[:, ::2, ::2], weight[:, ::2, ::2]
    return total / scales


def sized_things_loss(
    log_depth: torch.Tensor, boxes: torch.Tensor, slack: float = 0.15, core: float = 0.5
) -> torch.Tensor:
    """Distance of the mean log depth in the core of each box from what its thing's size says.

    Args:
        log_depth: (B, H, W).
        boxes: (B, M, 5): x0 y0 x1 y1 as fractions of the sides, depth in metres; depth 0 = no box.
        slack: relative error forgiven, since people and chairs differ in size.
        core: share of the box's width and height that is averaged.

    Returns:
        Mean over boxes, 0 without any.
    """
    known = boxes[..., 4] > 0
    grid = torch.linspace(-0.5 * core, 0.5 * core, 5, device=boxes.device)
    centre = (boxes[..., 0:2] + boxes[..., 2:4]) / 2
    size = boxes[..., 2:4] - boxes[..., 0:2]
    ys, xs = torch.meshgrid(grid, grid, indexing="ij")
    offsets = torch.stack([xs, ys], dim=-1).reshape(1, 1, 25, 2)
    points = (centre[:, :, None] + offsets * size[:, :, None]) * 2 - 1
    values = functional.grid_sample(log_depth[:, None], points, align_corners=False, padding_mode="border")
    difference = values[:, 0].median(dim=-1).values - torch.log(boxes[..., 4].clamp(min=1e-3))
    loss = functional.relu(difference.abs() - slack) * known
    return loss.sum() / known.sum().clamp(min=1)
