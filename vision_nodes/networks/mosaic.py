"""MOSAIC (Wang & Howard, arXiv 2112.11623): a mobile segmentation network, here the teacher.

Rebuilt from the published facts so that the Apache-2.0 MLPerf weights (ADE20K, 31 classes and `other`)
load; batch norm is folded, module names follow the stored tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# (inputs, hidden, outputs, kernel, stride, dilation, residual)
BLOCKS = (
    (32, 96, 32, 3, 2, 1, False), (32, 64, 32, 3, 1, 1, True), (32, 160, 64, 5, 2, 1, False),
    (64, 192, 64, 3, 1, 1, True), (64, 128, 64, 3, 1, 1, True), (64, 192, 64, 3, 1, 1, True),
    (64, 384, 128, 5, 2, 1, False), (128, 384, 128, 3, 1, 1, True), (128, 384, 128, 3, 1, 1, True),
    (128, 384, 128, 3, 1, 1, True), (128, 768, 160, 3, 1, 1, False), (160, 640, 160, 3, 1, 1, True),
    (160, 960, 192, 3, 1, 1, False), (192, 384, 96, 5, 1, 2, False), (96, 384, 96, 5, 1, 2, True),
    (96, 384, 96, 5, 1, 2, True),
)  # fmt: skip

ADE_CLASSES = (
    "other", "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass",
    "cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair",
    "car", "water", "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair",
)  # fmt: skip


def same_padding(x: Tensor, kernel: int, stride: int, dilation: int = 1) -> Tensor:
    """TensorFlow SAME padding for sides divisible by the stride: the odd pixel goes right and bottom."""
    total = dilation * (kernel - 1) + 1 - stride
    before = total // 2
    return functional.pad(x, (before, total - before, before, total - before))


def upsample_legacy(x: Tensor, factor: int) -> Tensor:
    """TensorFlow 1 bilinear: output i samples input i / factor, the last row and column repeat."""
    h, w = x.shape[-2:]
    x = functional.pad(x, (0, 1, 0, 1), mode="replicate")
    x = functional.interpolate(x, (h * factor + 1, w * factor + 1), mode="bilinear", align_corners=True)
    return x[..., :-1, :-1]


class Block(nn.Module):
    """Inverted residual; `forward` also returns the depthwise features that the decoder taps."""

    def __init__(self, spec: tuple[int, int, int, int, int, int, bool]) -> None:
        super().__init__()
        inputs, hidden, outputs, self.kernel, self.stride, self.dilation, self.residual = spec
        self.expand = nn.Conv2d(inputs, hidden, 1)
        self.depthwise = nn.Conv2d(
            hidden, hidden, self.kernel, self.stride, dilation=self.dilation, groups=hidden
        )
        self.project = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, H, W) -> (B, outputs, H / s, W / s), (B, hidden, H / s, W / s)."""
        hidden = functional.relu(self.expand(x))
        hidden = same_padding(hidden, self.kernel, self.stride, self.dilation)
        hidden = functional.relu(self.depthwise(hidden))
        y = self.project(hidden)
        return (x + y if self.residual else y), hidden


class Separable(nn.Module):
    """Depthwise and pointwise convolution, each with ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, kernel, padding=kernel // 2, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return functional.relu(self.pointwise(functional.relu(self.depthwise(x))))


class Pyramid(nn.ModuleDict):
    """One scale of the multi-kernel pyramid: half the channels through 3x3, half through 5x5.

    Sides that the pool does not divide are continued by their last row and column.
    """

    def __init__(self) -> None:
        super().__init__({"k3": Separable(224, 64, 3), "k5": Separable(224, 64, 5)})

    def forward(self, x: Tensor, pool: int) -> Tensor:
        """(B, 448, H, W) -> (B, 128, H, W)."""
        h, w = x.shape[-2:]
        missing = (-h % pool, -w % pool)
        if any(missing):
            x = functional.pad(x, (0, missing[1], 0, missing[0]), mode="replicate")
        a, b = functional.avg_pool2d(x, pool).chunk(2, 1)
        x = upsample_legacy(torch.cat((self["k3"](a), self["k5"](b)), 1), pool)
        return x[..., :h, :w] if any(missing) else x


class Mosaic(nn.Module):
    """`tensor` (B, 3, H, W) float32 RGB 0..255, sides multiples of 16 -> (B, 32, H / 4, W / 4) logits.

    The published labels are the arg max of `upsample_legacy(logits, 4)`; published sides are multiples of 128.

    Args:
        hidden: block number -> hidden channels, where they are fewer than published.
    """

    def __init__(self, pools: tuple[int, int, int] = (8, 4, 2), hidden: dict[int, int] | None = None) -> None:
        super().__init__()
        self.pools = pools
        self.stem = nn.Conv2d(3, 32, 3, 2)
        for i, spec in enumerate(BLOCKS):
            width = (hidden or {}).get(i, spec[1])
            setattr(self, f"block{i}", Block((spec[0], width, *spec[2:])))
        self.conv_1 = nn.Conv2d(96, 448, 1)
        self.spp0, self.spp1, self.spp2 = Pyramid(), Pyramid(), Pyramid()
        self.spp = nn.ModuleDict({"project": nn.Conv2d(832, 128, 1)})
        parts = {"conv": nn.Conv2d(320, 64, 1), "sep": Separable(64, 32, 3), "skip": nn.Conv2d(64, 32, 1)}
        self.dec = nn.ModuleDict(parts)

    def forward(self, tensor: Tensor) -> Tensor:
        """See the class."""
        x = functional.relu(self.stem(same_padding(tensor / 127.5 - 1, 3, 2)))
        taps = []
        for i in range(len(BLOCKS)):
            x, hidden = getattr(self, f"block{i}")(x)
            taps.append(hidden)
        x = functional.relu(self.conv_1(x))
        scales = [spp(x, pool) for spp, pool in zip((self.spp0, self.spp1, self.spp2), self.pools)]
        x = functional.relu(self.spp["project"](torch.cat((*scales, x), 1)))
        x = torch.cat((upsample_legacy(x, 2), taps[5]), 1)
        x = self.dec["sep"](functional.relu(self.dec["conv"](x)))
        return upsample_legacy(x, 2) + functional.relu(self.dec["skip"](taps[1]))
