"""Equal say for every head over a shared encoder.

Losses of different tasks have different units, so their gradients differ by orders of magnitude and the loudest
one decides what the encoder learns. As in the loss balancer of EnCodec (Defossez et al., 2022), each head's
gradient is divided by the running mean of its norm where it enters the shared features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DECAY = 0.95  # of the running mean of the norm, per batch


class _Rescale(torch.autograd.Function):
    """Identity forwards; backwards the gradient is handed to `balance`."""

    @staticmethod
    def forward(ctx: Any, balance: GradientBalance, level: int, feature: Tensor) -> Tensor:
        ctx.balance, ctx.level = balance, level
        return feature.view_as(feature)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.balance.rescale(ctx.level, gradients[0])


class GradientBalance:
    """One head's entrance to the shared features.

    Args:
        weight: norm that the head's gradient has on average; heads with equal weights have equal say.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._norms: dict[int, Tensor] = {}

    def __call__(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The same maps; what flows back through them is rescaled."""
        if not any(feature.requires_grad for feature in features):
            return features  # the encoder is frozen, or nobody learns
        return tuple(_Rescale.apply(self, level, feature) for level, feature in enumerate(features))

    def rescale(self, level: int, gradient: Tensor) -> Tensor:
        """`gradient` of one map, divided by the running mean of its norm."""
        norm = gradient.detach().float().norm()
        before = self._norms.get(level, norm)
        self._norms[level] = DECAY * before + (1 - DECAY) * norm
        return gradient * (self.weight / (self._norms[level] + 1e-12)).to(gradient.dtype)
