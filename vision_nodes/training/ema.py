"""Exponential moving average of weights: what is validated and exported."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move `averaged` towards `network`; a young average (small `step`) follows faster, 0 copies."""
    decay = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    current = network.state_dict()
    for name, value in averaged.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name].detach().to(value.dtype), 1 - decay)
        else:
            value.copy_(current[name])
