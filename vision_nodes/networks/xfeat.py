"""XFeat local features (Potje et al., CVPR 2024): keypoints, scores and 64-D descriptors.

Re-implemented from the description in ``shared/weights/xfeat/SOURCE.md``; attribute names follow the stored tensors
(batch norm folded), so that they load strictly. Weights are Apache-2.0 (verlab/accelerated_features).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors

WEIGHTS = "xfeat/xfeat_fused_f32.npz"
CELL = 8  # px; stride of the descriptor map, side of a keypoint cell
MIN_HEAT = 0.05
NMS_PX = 5


class BasicLayer(nn.Module):
    """Convolution and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return self.layer(x)


class XFeat(nn.Module):
    """Picture -> dense maps."""

    def __init__(self) -> None:
        super().__init__()
        basic = BasicLayer
        self.block1 = nn.Sequential(basic(1, 4), basic(4, 8, 3, 2), basic(8, 8), basic(8, 24, 3, 2))
        self.skip1 = nn.Sequential(nn.AvgPool2d(4, 4), nn.Conv2d(1, 24, 1))
        self.block2 = nn.Sequential(basic(24, 24), basic(24, 24))
        self.block3 = nn.Sequential(basic(24, 64, 3, 2), basic(64, 64), basic(64, 64, 1))
        self.block4 = nn.Sequential(basic(64, 64, 3, 2), basic(64, 64), basic(64, 64))
        self.block5 = nn.Sequential(basic(64, 128, 3, 2), basic(128, 128), basic(128, 128), basic(128, 64, 1))
        self.block_fusion = nn.Sequential(basic(64, 64), basic(64, 64), nn.Conv2d(64, 64, 1))
        self.heatmap_head = nn.Sequential(basic(64, 64, 1), basic(64, 64, 1), nn.Conv2d(64, 1, 1))
        self.keypoint_head = nn.Sequential(
            basic(64, 64, 1), basic(64, 64, 1), basic(64, 64, 1), nn.Conv2d(64, CELL**2 + 1, 1)
        )

    def forward(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) float32 RGB 0..255, sides multiples of 32.

        Returns:
            Descriptor map (B, 64, H / 8, W / 8) not normalised; keypoint logits (B, 65, H / 8, W / 8), channel
            row * 8 + column of the pixel in its cell, last = none; reliability (B, 1, H / 8, W / 8) in 0..1.
        """
        gray = tensor.mean(dim=1, keepdim=True) / 255.0
        centred = gray - gray.mean(dim=(2, 3), keepdim=True)
        gray = centred / torch.sqrt((centred * centred).mean(dim=(2, 3), keepdim=True) + 1e-5)
        features, reliability = self.descriptors(gray)
        return features, self.keypoint_head(functional.pixel_unshuffle(gray, CELL)), reliability

    def descriptors(self, gray: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, H, W) normalised grey -> descriptor map and reliability as `forward` returns them."""
        return self.fuse(*self.pyramid(gray))

    def pyramid(self, gray: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, 1, H, W) -> 64 channels at stride 8, 64 at stride 16, 128 at stride 32."""
        x3 = self.block3(self.block2(self.block1(gray) + self.skip1(gray)))
        x4 = self.block4(x3)
        return x3, x4, self.block5[:3](x4)

    def fuse(self, x3: torch.Tensor, x4: torch.Tensor, x5: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pyramid -> descriptor map and reliability."""
        features = self.block_fusion(x3 + _enlarge(x4, 2) + _enlarge(self.block5[3](x5), 4))
        return features, torch.sigmoid(self.heatmap_head(features))


def _enlarge(x: torch.Tensor, factor: int) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


class XFeatExport(nn.Module):
    """The deployable graph: `image` uint8 (B, H, W, 3) RGB -> the N strongest features, best first.

    `keypoints` (B, N, 2) px, `scores` (B, N), 0 below the threshold, `descriptors` (B, N, 64) unit norm.
    """

    output_names = ("keypoints", "scores", "descriptors")

    def __init__(self, network: XFeat, count: int) -> None:
        super().__init__()
        self.network, self.count = network, count

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See the class."""
        features, logits, reliability = self.network(image.float().permute(0, 3, 1, 2))
        heat = functional.pixel_shuffle(torch.softmax(logits, dim=1)[:, :-1], CELL)
        peak = functional.max_pool2d(heat, NMS_PX, 1, NMS_PX // 2)
        heat = heat * ((heat >= peak) & (heat > MIN_HEAT)).float()
        # ranked by the resized reliability, scored by the sampled one: they differ by a fraction of a pixel
        rank = (heat * _enlarge(reliability, CELL)).flatten(1)
        index = torch.topk(rank, self.count, dim=1).indices
        height, width = heat.shape[2:]
        xs, ys = index % width, torch.div(index, width, rounding_mode="floor")
        keypoints = torch.stack([xs, ys], dim=-1).float()
        # the published sampling: corners aligned in the grid but not in the sampler
        limits = torch.tensor([width - 1.0, height - 1.0], device=keypoints.device)
        grid = (2 * keypoints / limits - 1)[:, :, None]
        sure = functional.grid_sample(reliability, grid, mode="bilinear", align_corners=False)[:, 0, :, 0]
        scores = torch.gather(heat.flatten(1), 1, index) * sure
        unit = functional.normalize(features, dim=1)
        sampled = functional.grid_sample(unit, grid, mode="bicubic", align_corners=False)[..., 0]
        return keypoints, scores, functional.normalize(sampled.transpose(1, 2), dim=2)


def load_xfeat() -> XFeat:
    """The published network in eval mode. Raises ModelError when the file is absent or does not fit."""
    network = XFeat()
    load_tensors(network, read_tensors(find_weights(WEIGHTS)), WEIGHTS)
    return network.eval()
