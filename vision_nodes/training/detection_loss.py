"""Losses of the detector: quality focal, generalised IoU and distribution focal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vision_nodes.networks.nanodet import BINS


def quality_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Quality focal loss (Li et al., NeurIPS 2020), elementwise, beta = 2; `target` in [0, 1]."""
    error = (target - logits.sigmoid()).abs()
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * error.square()


def generalised_iou_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """1 - GIoU (Rezatofighi et al., CVPR 2019) of (N, 4) and (N, 4) xyxy -> (N,)."""
    overlap_low, hull_low = (
        torch.maximum(predicted[:, :2], truth[:, :2]),
        torch.minimum(predicted[:, :2], truth[:, :2]),
    )
    overlap_high = torch.minimum(predicted[:, 2:], truth[:, 2:])
    hull_high = torch.maximum(predicted[:, 2:], truth[:, 2:])
    overlap = (overlap_high - overlap_low).clamp(min=0).prod(-1)
    hull = (hull_high - hull_low).clamp(min=0).prod(-1).clamp(min=1e-6)
    area = (predicted[:, 2:] - predicted[:, :2]).prod(-1) + (truth[:, 2:] - truth[:, :2]).prod(-1)
    union = (area - overlap).clamp(min=1e-6)
    return 1 - overlap / union + (hull - union) / hull


def distribution_focal(bins: Tensor, places: Tensor, truth: Tensor) -> Tensor:
    """Distribution focal loss: mass on the two bins around the true distance.

    Args:
        bins: (N, 32) logits; places: (N, 3) x, y, stride; truth: (N, 4) xyxy px.

    Returns:
        (N,) mean over the four sides.
    """
    xy, stride = places[:, :2], places[:, 2:]
    distances = torch.cat((xy - truth[:, :2], truth[:, 2:] - xy), 1) / stride
    distances = distances.clamp(0, BINS - 1 - 0.01)
    low = distances.floor().long()
    fraction = distances - low
    logs = bins.view(-1, 4, BINS).log_softmax(-1)
    at_low = logs.gather(-1, low[..., None])[..., 0]
    at_high = logs.gather(-1, low[..., None] + 1)[..., 0]
    return -(at_low * (1 - fraction) + at_high * fraction).mean(1)
