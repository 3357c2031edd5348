"""MobileNetV2 (Sandler et al., CVPR 2018) without batch norm: a trunk for the depth and place networks.

The public ImageNet weights come with batch norm folded into the convolutions, so the trunk is plain
Conv + ReLU6 and quantizes without surprises. TensorFlow's SAME padding is kept (a stride-2 3x3 pads
right and bottom only), or the weights would see pictures shifted by one pixel.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vision_nodes.errors import ModelError
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors

WEIGHTS = "mobilenet_v2_imagenet/mobilenet_v2_fused_q8.npz"

# (output channels, stride) of the inverted residuals 1..17; the first has no expansion
BLOCKS = (
    (16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1),
    (96, 1), (96, 1), (96, 1), (160, 2), (160, 1), (160, 1), (320, 1),
)  # fmt: skip
EXPANSION = 6


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding for even input sides."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        k, s = self.kernel_size[0], self.stride[0]
        before, after = (k - s) // 2, k - s - (k - s) // 2
        if before == after:
            return functional.conv2d(x, self.weight, self.bias, s, before, 1, self.groups)
        x = functional.pad(x, (before, after, before, after))
        return functional.conv2d(x, self.weight, self.bias, s, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    """1x1 expand, 3x3 depthwise, 1x1 linear projection, with a residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = nn.Conv2d(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y = functional.relu6(self.expand(x)) if self.expand is not None else x
        y = self.project(functional.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Feature pyramid of the first `depth` blocks.

    Args:
        depth: 1..17, number of inverted residuals kept.
        taps: block numbers whose outputs are returned, ascending; the last is usually `depth`.
    """

    def __init__(self, depth: int = 16, taps: tuple[int, ...] = (3, 6, 13, 16)) -> None:
        super().__init__()
        if not (1 <= depth <= len(BLOCKS)) or list(taps) != sorted(taps) or max(taps) > depth:
            raise ModelError("ascending taps within 1..17", f"depth {depth}, taps {taps}", "see BLOCKS")
        self.taps = taps
        self.stem = SameConv(3, 32, 3, 2)
        channels = 32
        blocks = []
        for i, (outputs, stride) in enumerate(BLOCKS[:depth]):
            blocks.append(InvertedResidual(channels, outputs, stride, 1 if i == 0 else EXPANSION))
            channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.tap_channels = tuple(BLOCKS[t - 1][0] for t in taps)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) RGB scaled to -1..1, sides multiples of 32 -> one map per tap."""
        x = functional.relu6(self.stem(image))
        maps = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self.taps:
                maps.append(x)
        return maps


def imagenet_tensors(trunk: MobileNetV2) -> dict[str, torch.Tensor]:
    """Dequantised ImageNet weights under the parameter names of `trunk`.

    Raises:
        ModelError: ``mobilenet_v2_fused_q8.npz`` is not among the stored weights, or lacks a tensor.
    """
    path = find_weights(WEIGHTS)
    stored = read_tensors(path)
    prefixes = {"stem": "Conv2d_0_0"}
    prefixes |= {f"blocks.{i}": f"expanded_conv_{i + 1}" for i in range(len(trunk.blocks))}
    tensors = {}
    for name, _ in trunk.named_parameters():
        ours = "stem" if name.startswith("stem") else ".".join(name.split(".")[:2])
        theirs = prefixes[ours] + name[len(ours) :]
        if theirs not in stored:
            raise ModelError(f"tensor {theirs}", f"none in {path}", "use the file SOURCE.md describes")
        tensors[name] = stored[theirs]
    return tensors


def load_imagenet(trunk: MobileNetV2) -> None:
    """Fill `trunk` with the public ImageNet weights. Raises ModelError as `imagenet_tensors`."""
    load_tensors(trunk, imagenet_tensors(trunk), WEIGHTS)
