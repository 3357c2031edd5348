"""Losses of segmentation beside cross entropy."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(probabilities: Tensor, labels: Tensor, ignored: int) -> Tensor:
    """The convex surrogate of 1 - mean IoU (Berman, Triki and Blaschko, CVPR 2018), over the classes present.

    Args:
        probabilities: (B, K, H, W), summing to 1 over K.
        labels: (B, H, W) int64; pixels with `ignored` do not count.

    Returns:
        Scalar in [0, 1]; 0 when nothing is labelled.
    """
    known = labels != ignored
    found = probabilities.permute(0, 2, 3, 1)[known]
    truth = labels[known]
    losses = []
    for value in truth.unique():
        positive = (truth == value).float()
        errors, order = (positive - found[:, value]).abs().sort(descending=True)
        hits = positive[order]
        intersection = hits.sum() - hits.cumsum(0)
        union = hits.sum() + (1 - hits).cumsum(0)
        jaccard = 1 - intersection / union
        steps = torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))
        losses.append(errors @ steps)
    return torch.stack(losses).mean() if losses else probabilities.sum() * 0
