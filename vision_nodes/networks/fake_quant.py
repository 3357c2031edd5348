"""Fake quantization in the placement of export/quantize.py: what the INT8 file will compute, with gradients.

Inputs of convolutions and fully connected layers: symmetric int8 per tensor, the range learned with the weights
(Esser et al., Learned Step Size Quantization, ICLR 2020). Weights: symmetric int8 per output channel, range = the
largest one. Nothing between a convolution and its ReLU, biases in float.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vision_nodes.errors import ModelError

LOW, HIGH = -128, 127


def round_through(x: Tensor) -> Tensor:
    """Rounded; the gradient passes as if it were not."""
    return x + (x.round() - x).detach()


class InputQuantizer(nn.Module):
    """One tensor's range; layers that read the same tensor share it."""

    def __init__(self, largest: float) -> None:
        super().__init__()
        scale = max(2 * largest, 1e-8) / (HIGH - LOW)  # as ONNX Runtime's min-max calibration
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    @property
    def scale(self) -> Tensor:
        """Size of one step."""
        return self.log_scale.exp()

    def forward(self, x: Tensor) -> Tensor:
        """The nearest value that int8 can say."""
        return round_through((x / self.scale).clamp(LOW, HIGH)) * self.scale


class QuantizedLayer(nn.Module):
    """A `Conv2d` or `Linear` (or a subclass) with int8 input and weights."""

    def __init__(self, layer: nn.Module, quantizer: InputQuantizer) -> None:
        super().__init__()
        self.layer, self.quantizer = layer, quantizer

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        weight = self.layer.get_parameter("weight")
        return functional_call(self.layer, {"weight": quantized_weight(weight)}, (self.quantizer(x),))


def quantized_weight(weight: Tensor) -> Tensor:
    """Every output channel (the first axis) rounded to 255 steps of its own."""
    largest = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-12)
    scale = (largest / HIGH).view(-1, *[1] * (weight.ndim - 1))
    return round_through(weight / scale) * scale


def fold_batch_norms(network: nn.Module) -> None:
    """Batch norm behind a convolution becomes part of it, in place, as the export does.

    Raises:
        ModelError: a batch norm stands elsewhere.
    """
    for parent in list(network.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        for index in range(len(parent) - 1):
            first, second = parent[index], parent[index + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                parent[index] = fuse_conv_bn_eval(first.eval(), second.eval())
                parent[index + 1] = nn.Identity()
    left = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    if left:
        raise ModelError("batch norm right behind its convolution", left[0], "QAT cannot fold this network")


@torch.no_grad()
def quantize_layers(network: nn.Module, graph: nn.Module, images: Tensor, excluded: frozenset[str]) -> None:
    """Wrap the convolutions and fully connected layers of `network`, in place, with ranges as observed.

    Args:
        graph: what contains the network and takes `images` (B, H, W, 3) uint8.
        excluded: names of layers that stay in float.
    """
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and name not in excluded
    }
    seen: dict[str, Tensor] = {}
    largest: dict[str, float] = {}
    hooks = []
    for name, module in layers.items():

        def look(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            seen[name] = inputs[0]
            largest[name] = max(largest.get(name, 0.0), float(inputs[0].abs().max()))

        hooks.append(module.register_forward_pre_hook(look))
    graph.eval()
    for image in images:
        graph(image[None])
    for hook in hooks:
        hook.remove()
    quantizers: dict[int, InputQuantizer] = {}
    for name, tensor in seen.items():  # a layer that never runs, such as a training aid, stays as it is
        quantizer = quantizers.setdefault(id(tensor), InputQuantizer(largest[name]))
        _replace(network, name, QuantizedLayer(layers[name], quantizer))


def quantized_layers(network: nn.Module) -> Iterator[tuple[str, QuantizedLayer]]:
    """The wrapped layers by the names they have without the wrapping."""
    for name, module in network.named_modules():
        if isinstance(module, QuantizedLayer):
            yield name, module


def without_quantizers(network: nn.Module) -> nn.Module:
    """A copy with the plain layers in place again, the weights as learned."""
    plain = copy.deepcopy(network)
    for name, module in list(quantized_layers(plain)):
        _replace(plain, name, module.layer)
    return plain


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)
