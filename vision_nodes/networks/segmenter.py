"""The `general` segmenter: MOSAIC's shape at 4:3, its 32 outputs merged into our classes.

Plain Conv + ReLU (no squeeze-excite, no hard-swish), so INT8 costs little. The pyramid's pools follow the
feature map, so that each covers the same share of the picture as in the public network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vision_nodes.errors import ModelError
from vision_nodes.networks.mosaic import Mosaic

POOLS = {(24, 18): (6, 3, 2), (32, 24): (8, 4, 2), (24, 16): (8, 4, 2), (32, 32): (8, 4, 2)}


class Segmenter(nn.Module):
    """`tensor` (B, 3, H, W) float32 RGB 0..255 -> (B, K, H / 4, W / 4) logits."""

    def __init__(self, classes: int, input_wh: tuple[int, int]) -> None:
        super().__init__()
        grid = (input_wh[0] // 16, input_wh[1] // 16)
        if grid not in POOLS or input_wh[0] % 16 or input_wh[1] % 16:
            sizes = sorted((16 * w, 16 * h) for w, h in POOLS)
            raise ModelError(f"an input size among {sizes}", str(input_wh), "correct input_wh")
        self.body = Mosaic(pools=POOLS[grid])
        self.merge = nn.Conv2d(32, classes, 1)

    def forward(self, tensor: Tensor) -> Tensor:
        """See the class."""
        return self.merge(self.body(tensor))

    @torch.no_grad()
    def start_from(self, teacher: dict[str, Tensor], mapping: Tensor) -> None:
        """Begin as the teacher: its weights, and an output row per class that adds its members' logits.

        Args:
            mapping: (K, 32) of 0 and 1. A class without members begins unlikely.
        """
        self.body.load_state_dict(teacher)
        self.merge.weight.copy_(mapping[:, :, None, None])
        self.merge.bias.copy_(torch.where(mapping.sum(1) > 0, 0.0, -4.0))
