"""MobileNetEdgeTPU 1.0 (Google, Apache-2.0): a trunk of plain Conv + ReLU for transfer learning.

Rebuilt from the published facts, batch norm folded; module names follow the stored tensors. Early blocks
expand with full 3x3 convolutions, later ones with 1x1 and depthwise (inverted residuals).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vision_nodes.networks.mosaic import same_padding

# (inputs, hidden, outputs, kernel, stride, fused 3x3 expansion, residual) of expanded_conv_1 ..
BLOCKS = (
    (16, 128, 32, 3, 2, True, False), *[(32, 128, 32, 3, 1, True, True)] * 3,
    (32, 256, 48, 3, 2, True, False), *[(48, 192, 48, 3, 1, True, True)] * 3,
    (48, 384, 96, 3, 2, False, False), *[(96, 384, 96, 3, 1, False, True)] * 3,
    (96, 768, 96, 3, 1, False, False), *[(96, 384, 96, 3, 1, False, True)] * 3,
    (96, 768, 160, 5, 2, False, False), *[(160, 640, 160, 5, 1, False, True)] * 3,
    (160, 1280, 192, 3, 1, False, False),
)  # fmt: skip
STRIDE_BLOCKS = {4: 4, 8: 8, 16: 16, 32: 20}  # stride -> last block that keeps it


class Block(nn.Module):
    """One fused block or inverted residual."""

    def __init__(self, spec: tuple[int, int, int, int, int, bool, bool]) -> None:
        super().__init__()
        inputs, hidden, outputs, self.kernel, self.stride, self.fused, self.residual = spec
        if self.fused:
            self.expand = nn.Conv2d(inputs, hidden, self.kernel, self.stride)
        else:
            self.expand = nn.Conv2d(inputs, hidden, 1)
            self.depthwise = nn.Conv2d(hidden, hidden, self.kernel, self.stride, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        if self.fused:
            hidden = functional.relu(self.expand(same_padding(x, self.kernel, self.stride)))
        else:
            hidden = functional.relu(self.expand(x))
            hidden = functional.relu(self.depthwise(same_padding(hidden, self.kernel, self.stride)))
        y = self.project(hidden)
        return x + y if self.residual else y


class EdgeTpuTrunk(nn.Module):
    """Feature maps of `tensor` (B, 3, H, W) float32 RGB 0..255, sides multiples of the last stride.

    Args:
        blocks: how many of the 21 blocks to build; 16 reach stride 16 with 1.2 M parameters.
    """

    def __init__(self, blocks: int = 21) -> None:
        super().__init__()
        self.blocks = blocks
        self.Conv = nn.Conv2d(3, 32, 3, 2)
        self.expanded_conv = nn.ModuleDict({"project": nn.Conv2d(32, 16, 1)})
        for number in range(1, blocks + 1):
            setattr(self, f"expanded_conv_{number}", Block(BLOCKS[number - 1]))

    def forward(self, tensor: Tensor) -> dict[int, Tensor]:
        """Stride -> features: 4 (32 channels), 8 (48), 16 (96), 32 (160); `0` -> the last block's output."""
        x = functional.relu(self.Conv(same_padding(tensor / 127.5 - 1, 3, 2)))
        x = self.expanded_conv["project"](x)
        features = {}
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"expanded_conv_{number}")(x)
            for stride, last in STRIDE_BLOCKS.items():
                if number == last:
                    features[stride] = x
        return {**features, 0: x}


class EdgeTpuClassifier(nn.Module):
    """The whole ImageNet network, to prove the trunk: (B, 3, H, W) -> (B, 1001), 0 = background."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = EdgeTpuTrunk()
        self.Conv_1 = nn.Conv2d(192, 1280, 1)
        self.Logits = nn.ModuleDict({"Conv2d_1c_1x1": nn.Conv2d(1280, 1001, 1)})

    def forward(self, tensor: Tensor) -> Tensor:
        """Logits."""
        x = functional.relu(self.Conv_1(self.trunk(tensor)[0])).mean((2, 3), keepdim=True)
        return self.Logits["Conv2d_1c_1x1"](x).flatten(1)


def trunk_tensors(stored: dict[str, torch.Tensor], blocks: int = 21) -> dict[str, torch.Tensor]:
    """Those of the stored tensors that a trunk of `blocks` blocks has."""
    names = {name for name, _ in EdgeTpuTrunk(blocks).named_parameters()}
    return {name: value for name, value in stored.items() if name in names}
