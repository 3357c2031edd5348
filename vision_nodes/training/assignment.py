"""Task-aligned assignment of locations to true boxes (Feng et al., TOOD, ICCV 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ALPHA, BETA = 1.0, 6.0  # weights of score and overlap in the alignment


@dataclass(frozen=True)
class Assignment:
    """Per location: the true box it answers for (-1 = background) and the score it should have."""

    truth: Tensor  # (A,) int64
    quality: Tensor  # (A,) float32 in [0, 1]; 0 for background


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4), (M, 4) xyxy -> (N, M)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return overlap / (area_a[:, None] + area_b - overlap).clamp(min=1e-9)


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, places: Tensor, truth_boxes: Tensor, truth_classes: Tensor, top: int = 10
) -> Assignment:
    """Choose for every true box the `top` locations inside it that already predict it best.

    Args:
        scores: (A, C) predicted, in [0, 1].
        boxes: (A, 4) predicted.
        places: (A, 3) x, y, stride.
        truth_boxes: (M, 4); truth_classes: (M,) int64.

    Returns:
        A location wanted by several boxes goes to the one it overlaps most. The best location of each box
        has its IoU as quality, the others less in proportion to their alignment.
    """
    count = len(scores)
    if len(truth_boxes) == 0:
        device = scores.device
        return Assignment(torch.full((count,), -1, device=device), torch.zeros(count, device=device))
    x, y = places[:, None, 0], places[:, None, 1]
    sides = (x - truth_boxes[:, 0], y - truth_boxes[:, 1], truth_boxes[:, 2] - x, truth_boxes[:, 3] - y)
    inside = torch.stack(sides).amin(0) > 0
    # a box between locations still needs one: the nearest
    centres = (truth_boxes[:, :2] + truth_boxes[:, 2:]) / 2
    nearest = (places[:, None, :2] - centres).square().sum(-1).argmin(0)
    lonely = ~inside.any(0)
    inside[nearest[lonely], lonely.nonzero()[:, 0]] = True
    iou = pairwise_iou(boxes, truth_boxes)
    alignment = (scores[:, truth_classes].pow(ALPHA) * iou.pow(BETA) + 1e-12) * inside
    chosen = torch.zeros_like(inside)
    best = alignment.topk(min(top, count), dim=0)
    chosen.scatter_(0, best.indices, best.values > 0)
    overlap = torch.where(chosen, iou, torch.full_like(iou, -1.0))
    value, truth = overlap.max(1)
    positive = value >= 0
    columns = torch.arange(iou.shape[1], device=iou.device)
    aligned = torch.where(chosen & (columns == truth[:, None]), alignment, alignment * 0)
    peak = aligned.amax(0).clamp(min=1e-12)
    peak_iou = torch.where(aligned > 0, iou, iou * 0).amax(0)
    quality = (aligned / peak * peak_iou).amax(1)
    return Assignment(torch.where(positive, truth, -1), torch.where(positive, quality, quality * 0))
