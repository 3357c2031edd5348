"""Learning rate, weight decay groups and freezing as functions of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from vision_nodes.errors import ConfigError
from vision_nodes.training.config import TrainingConfig


def learning_rate_factor(step: int, steps: int, warmup: int, final: float) -> float:
    """Linear warm-up from 0 to 1, then a half cosine down to `final` (Loshchilov & Hutter 2017)."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(network: nn.Module, config: TrainingConfig) -> list[dict[str, object]]:
    """One group per (learning-rate scale, weight decay); biases and norm gains (1-D) do not decay."""
    names = [name for name, _ in network.named_parameters()]
    for prefix in (*config.learning_rate_scale, *config.freeze):
        if not any(name.startswith(prefix) for name in names):
            raise ConfigError("a prefix of parameter names", prefix, f"parameters begin {names[:3]}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        scales = [s for prefix, s in config.learning_rate_scale.items() if name.startswith(prefix)]
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((scales[0] if scales else 1.0, decay), []).append(parameter)
    return [
        {"params": params, "weight_decay": decay, "scale": scale, "lr": config.learning_rate * scale}
        for (scale, decay), params in groups.items()
    ]


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set every group to `rate` times its own scale."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]


def apply_freeze(network: nn.Module, freeze: dict[str, int], epoch: int) -> None:
    """Parameters under a prefix learn only from the given epoch on."""
    for name, parameter in network.named_parameters():
        until = [epochs for prefix, epochs in freeze.items() if name.startswith(prefix)]
        parameter.requires_grad_(not until or epoch >= max(until))
