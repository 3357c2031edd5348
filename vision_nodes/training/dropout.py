"""Dropout from the config: on the outputs of named modules, while they train."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from vision_nodes.errors import ConfigError


def add_dropout(network: nn.Module, dropout: dict[str, float]) -> None:
    """Drop outputs of modules: whole channels of maps, single numbers elsewhere (Srivastava et al., 2014).

    A hook does it, so that weights keep their names and a network in eval mode, which is validated and
    exported, is the same with and without.

    Args:
        dropout: name of a module as in ``network.named_modules()`` -> probability.

    Raises:
        ConfigError: no such module, or a probability outside [0, 1).
    """
    modules = dict(network.named_modules())
    for name, probability in dropout.items():
        if name not in modules or not name:
            have = ", ".join(list(modules)[1:6])
            raise ConfigError("a module's name in dropout", repr(name), f"choose one, such as {have}")
        if not 0 <= probability < 1:
            raise ConfigError(
                f"0 <= dropout of {name} < 1", str(probability), "correct dropout in the config"
            )
        modules[name].register_forward_hook(_hook(probability))


def _hook(probability: float) -> Any:
    def drop(module: nn.Module, _: object, output: object) -> object:
        if not module.training or not isinstance(output, torch.Tensor):
            return None  # keeps the output
        by_channel = functional.dropout2d if output.ndim == 4 else functional.dropout
        return by_channel(output, probability)

    return drop
