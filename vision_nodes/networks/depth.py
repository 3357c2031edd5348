"""Metric depth at a canonical focal length, with its own uncertainty.

A picture alone fixes depth divided by focal length, not depth: the network answers for one canonical
camera and the runtime multiplies by fx / fx_canonical (the argument of Metric3D, Yin et al., ICCV 2023). A
global branch says how large the scene is, the decoder how it is shaped; depth is their product. The scale of
a Laplace distribution of log depth is predicted beside it (Kendall & Gal, NeurIPS 2017).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from vision_nodes.networks.mobilenet_v2 import MobileNetV2, load_imagenet

TRUNK_DEPTH = 16
TAPS = (3, 6, 13, 16)  # strides 4, 8, 16, 32
MIN_M, MAX_M = 0.1, 80.0
LOG_TOLERANCE = math.log(1.25)  # confidence = probability of being within 25 %
SIZE_DROPOUT = 0.1
UPSCALE = 2  # from stride 4 to the output at half the input


class SeparableBlock(nn.Module):
    """Depthwise 3x3 and pointwise convolution, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return self.layers(x)


class DepthNetwork(nn.Module):
    """Picture -> log depth and its Laplace scale at half resolution.

    Args:
        widths: decoder channels at strides 32, 16, 8, 4.
        imagenet: start the trunk from the public ImageNet weights.
    """

    def __init__(self, widths: tuple[int, ...] = (128, 96, 64, 64), imagenet: bool = True) -> None:
        super().__init__()
        self.trunk = MobileNetV2(TRUNK_DEPTH, TAPS)
        if imagenet:
            load_imagenet(self.trunk)
        taps = self.trunk.tap_channels[::-1]
        self.lateral = nn.ModuleList([nn.Conv2d(c, w, 1) for c, w in zip(taps, widths)])
        self.descend = nn.ModuleList([nn.Conv2d(a, b, 1) for a, b in pairwise(widths)])
        self.fuse = nn.ModuleList([nn.Sequential(SeparableBlock(w, w), SeparableBlock(w, w)) for w in widths])
        self.context = nn.Linear(taps[0], widths[0])
        self.size = nn.Sequential(nn.Linear(taps[0], 64), nn.ReLU(), nn.Linear(64, 1))
        self.head = nn.Conv2d(widths[-1], 2 * UPSCALE**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.size[-1].bias, math.log(3.0))

    def forward(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) float32 RGB 0..255, sides multiples of 32.

        Returns:
            log depth (B, H / 2, W / 2), log metres for the canonical camera, and the log of its Laplace scale.
        """
        maps = self.trunk(tensor / 127.5 - 1.0)[::-1]
        pooled = maps[0].mean(dim=(2, 3))
        x = self.lateral[0](maps[0]) + self.context(pooled)[:, :, None, None]
        x = self.fuse[0](x)
        for lateral, descend, fuse, skip in zip(self.lateral[1:], self.descend, self.fuse[1:], maps[1:]):
            x = functional.interpolate(descend(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = fuse(x + lateral(skip))
        out = functional.pixel_shuffle(self.head(x), UPSCALE)
        # a size that hangs on few features is lost when int8 rounds them
        pooled = functional.dropout(pooled, SIZE_DROPOUT, self.training)
        log_depth = out[:, 0] + self.size(pooled)[:, :, None]
        return log_depth, out[:, 1].clamp(-4.0, 2.0) - 1.0


def confidence_from_scale(log_scale: torch.Tensor) -> torch.Tensor:
    """Probability under the predicted Laplace distribution that depth is right within 25 %."""
    return 1 - torch.exp(-LOG_TOLERANCE * torch.exp(-log_scale))


class DepthExport(nn.Module):
    """The deployable graph: `image` uint8 (B, H, W, 3) RGB -> `depth` (B, H / 2, W / 2) float32 metres at the
    canonical focal length, `confidence` of the same shape in [0, 1]."""

    output_names = ("depth", "confidence")

    def __init__(self, network: DepthNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        log_depth, log_scale = self.network(image.float().permute(0, 3, 1, 2))
        depth = torch.exp(log_depth.clamp(math.log(MIN_M), math.log(MAX_M)))
        return depth, confidence_from_scale(log_scale)
