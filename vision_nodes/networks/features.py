"""Dense describers for `FeatureGraph`: XFeat's weights at a smaller size, and a student that can be trained.

Where XFeat's time goes was measured per layer (640x480, one thread, ONNX Runtime, 52 ms): convolutions 31 ms, most
of them at stride 4 and 8; its decoding 18 ms. At 0.7 of the size the convolutions take half.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vision_nodes.networks.xfeat import BasicLayer, load_xfeat

DESCRIPTOR_DIM = 64
WIDTH = 48  # channels of the student at stride 8


class XFeatDescriber(nn.Module):
    """XFeat's descriptors and reliability (see `Describer`). Raises ModelError without the public weights.

    Args:
        size_wh: the picture it looks at; multiples of 32.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        super().__init__()
        self.size_wh = size_wh
        self.network = load_xfeat()

    def describe(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """See `Describer`."""
        return self.network.fuse(*self.network.pyramid(gray))


class FeatureNetwork(nn.Module):
    """Student of XFeat: no layers of many pixels and few channels, 48 channels at stride 8, one fusion layer."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        super().__init__()
        self.size_wh = size_wh
        basic = BasicLayer
        self.stem = nn.Sequential(basic(1, 16, 5, 2), basic(16, 32, 3, 2))
        self.stage8 = nn.Sequential(basic(32, WIDTH, 3, 2), basic(WIDTH, WIDTH))
        self.stage16 = nn.Sequential(basic(WIDTH, 64, 3, 2), basic(64, 64), basic(64, 64))
        self.stage32 = nn.Sequential(basic(64, 128, 3, 2), basic(128, 128))
        self.lateral16, self.lateral32 = nn.Conv2d(64, WIDTH, 1), nn.Conv2d(128, WIDTH, 1)
        self.fusion = basic(WIDTH, WIDTH)
        self.descriptor = nn.Conv2d(WIDTH, DESCRIPTOR_DIM, 1)
        self.reliability = nn.Sequential(basic(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, 1, 1))

    def describe(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """See `Describer`; sides multiples of 32."""
        return self(gray)[:2]

    def forward(self, gray: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 1, H, W) -> descriptors, reliability, and for training the maps at stride 16 and 32."""
        fine = self.stage8(self.stem(gray))
        middle = self.stage16(fine)
        coarse = self.stage32(middle)
        context = _enlarge(self.lateral16(middle), 2) + _enlarge(self.lateral32(coarse), 4)
        fused = self.fusion(functional.relu(fine + context))
        return self.descriptor(fused), torch.sigmoid(self.reliability(fused)), middle, coarse


def new_student(size_wh: tuple[int, int]) -> FeatureNetwork:
    """Coarse layers of XFeat, all else fresh. Raises ModelError without the public weights."""
    network, xfeat = FeatureNetwork(size_wh), load_xfeat()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    for ours, theirs in (
        *zip(network.stage16[1:], xfeat.block4[1:]),
        *zip(network.stage32, xfeat.block5[:2]),
    ):
        ours.load_state_dict(theirs.state_dict())
    return network


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)
