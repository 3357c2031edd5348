"""ALIKED keypoints and descriptors (Zhao et al. 2023, arXiv 2304.03608), as a yardstick: it does not ship.

Re-implemented from the description in ``shared/weights/aliked/SOURCE.md``; attribute names follow the stored tensors,
so that they load strictly. Weights are BSD-3-Clause (Shiaoming/ALIKED). Deformable convolution is nine bilinear
samples and a product: its maps are small (stride 8 and 32).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vision_nodes.errors import ModelError
from vision_nodes.networks.weights import find_weights

WEIGHTS = "aliked/aliked-t16.pth"
CHANNELS = (8, 16, 32, 64)
DIM, TAPS, POINTS = 64, 3, 16  # of the descriptor; side of its patch; sampled points per keypoint
RADIUS = 2  # px, of suppression and of the sub-pixel window
TEMPERATURE = 0.1


class DeformableConv(nn.Module):
    """3x3 convolution whose nine taps are moved by an offset computed from the same map (Dai et al. 2017)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(inputs, 2 * TAPS**2, TAPS, padding=1)
        self.regular_conv = nn.Conv2d(inputs, outputs, TAPS, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        b, _, h, w = x.shape
        offset = self.offset_conv(x).clamp(-max(h, w) / 4, max(h, w) / 4).view(b, TAPS**2, 2, h, w)
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        total = x.new_zeros(b, self.regular_conv.out_channels, h, w)
        for tap in range(TAPS**2):
            at_x = xs + tap % TAPS - 1 + offset[:, tap, 1]
            at_y = ys + tap // TAPS - 1 + offset[:, tap, 0]
            sampled = sample(x, torch.stack([at_x, at_y], -1))
            weight = self.regular_conv.weight[:, :, tap // TAPS, tap % TAPS]
            total = total + torch.einsum("oc,bchw->bohw", weight, sampled)
        return total


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm; a residual from the second stage on."""

    def __init__(self, inputs: int, outputs: int, residual: bool = True, deformable: bool = False) -> None:
        super().__init__()
        plain = {"kernel_size": 3, "padding": 1, "bias": False}
        make = DeformableConv if deformable else lambda i, o: nn.Conv2d(i, o, **plain)
        self.conv1, self.bn1 = make(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = make(outputs, outputs), nn.BatchNorm2d(outputs)
        self.downsample = nn.Conv2d(inputs, outputs, 1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        y = self.bn2(self.conv2(functional.selu(self.bn1(self.conv1(x)))))
        return functional.selu(y if self.downsample is None else y + self.downsample(x))


class DescriptorHead(nn.Module):
    """Deformable descriptor of each keypoint: M points around it, weighted and summed."""

    def __init__(self) -> None:
        super().__init__()
        self.agg_weights = nn.Parameter(torch.zeros(POINTS, DIM, DIM))
        self.offset_conv = nn.Sequential(
            nn.Conv2d(DIM, 2 * POINTS, TAPS), nn.SELU(), nn.Conv2d(2 * POINTS, 2 * POINTS, 1)
        )
        self.sf_conv = nn.Conv2d(DIM, DIM, 1, bias=False)

    def forward(self, features: Tensor, keypoints: Tensor) -> Tensor:
        """(1, D, H, W) unit features and (N, 2) px -> (N, D) unit descriptors."""
        h, w = features.shape[2:]
        padded = functional.pad(features, (1, 1, 1, 1))[0]
        x, y = keypoints.long().unbind(-1)
        rows = y[:, None, None] + torch.arange(TAPS)[:, None]
        columns = x[:, None, None] + torch.arange(TAPS)
        patches = padded[:, rows, columns].transpose(0, 1)
        offset = self.offset_conv(patches).clamp(-max(h, w) / 4, max(h, w) / 4)
        points = keypoints[:, None] + offset.view(-1, 2, POINTS).transpose(1, 2)
        sampled = functional.selu(self.sf_conv(sample(features, points[None])))[0]  # (D, N, M)
        return functional.normalize(torch.einsum("cnm,mcd->nd", sampled, self.agg_weights), dim=-1)


class Aliked(nn.Module):
    """Picture -> the N strongest features."""

    def __init__(self) -> None:
        super().__init__()
        c1, c2, c3, c4 = CHANNELS
        self.block1, self.block2 = Block(3, c1, residual=False), Block(c1, c2)
        self.block3, self.block4 = Block(c2, c3, deformable=True), Block(c3, c4, deformable=True)
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Conv2d(c, DIM // 4, 1, bias=False) for c in CHANNELS
        )
        sizes, layers = (8, 4, 4, 1), []
        for index, outputs in enumerate(sizes):
            inputs = DIM if index == 0 else sizes[index - 1]
            kernel = 1 if index == 0 else 3
            layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.SELU()]
        self.score_head = nn.Sequential(*layers[:-1])
        self.desc_head = DescriptorHead()

    def maps(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) RGB 0..1 -> unit features (B, D, H, W), scores (B, 1, H, W) in 0..1."""
        h, w = tensor.shape[2:]
        more_h, more_w = -h % 32, -w % 32
        left, top = more_w // 2, more_h // 2
        x = functional.pad(tensor, (left, more_w - left, top, more_h - top), mode="replicate")
        x1 = self.block1(x)
        x2 = self.block2(functional.avg_pool2d(x1, 2))
        x3 = self.block3(functional.avg_pool2d(x2, 4))
        x4 = self.block4(functional.avg_pool2d(x3, 4))
        levels = [functional.selu(conv(level)) for conv, level in (
            (self.conv1, x1), (self.conv2, x2), (self.conv3, x3), (self.conv4, x4))]  # fmt: skip
        size = x1.shape[2:]
        full = [functional.interpolate(f, size, mode="bilinear", align_corners=True) for f in levels[1:]]
        joined = torch.cat([levels[0], *full], 1)
        scores = torch.sigmoid(self.score_head(joined))
        inside = (slice(None), slice(None), slice(top, top + h), slice(left, left + w))
        return functional.normalize(joined, dim=1)[inside], scores[inside]

    def forward(self, tensor: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """(1, 3, H, W) RGB 0..1 -> keypoints (N, 2) px, scores (N,), descriptors (N, D), N <= `count`."""
        features, scores = self.maps(tensor)
        keypoints = refine(scores[0, 0], strongest(scores, count))
        sampled = sample(scores, keypoints[None, :, None])[0, 0, :, 0]
        return keypoints, sampled, self.desc_head(features, keypoints)


def sample(maps: Tensor, xy: Tensor) -> Tensor:
    """Bilinear samples of (B, C, H, W) at (B, h, w, 2) px, zero outside -> (B, C, h, w)."""
    limits = torch.tensor([maps.shape[3] - 1.0, maps.shape[2] - 1.0])
    return functional.grid_sample(maps, 2 * xy / limits - 1, align_corners=True)


def strongest(scores: Tensor, count: int) -> Tensor:
    """(N, 2) int64 px of the greatest local maxima of (1, 1, H, W); two rounds let the suppressed ones' rivals in."""

    def pool(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 2 * RADIUS + 1, 1, RADIUS)

    maxima = scores == pool(scores)
    for _ in range(2):
        near = pool(maxima.float()) > 0
        left = torch.where(near, torch.zeros_like(scores), scores)
        maxima = maxima | ((left == pool(left)) & ~near)
    kept = torch.where(maxima, scores, torch.zeros_like(scores))[0, 0]
    inner = torch.zeros_like(kept)
    inner[RADIUS:-RADIUS, RADIUS:-RADIUS] = kept[RADIUS:-RADIUS, RADIUS:-RADIUS]
    values, index = inner.flatten().topk(count)
    index = index[values > 0]
    return torch.stack([index % kept.shape[1], index // kept.shape[1]], -1)


def refine(scores: Tensor, xy: Tensor) -> Tensor:
    """(N, 2) float px: the soft maximum of (H, W) `scores` in the window around each pixel `xy`."""
    side = torch.arange(-RADIUS, RADIUS + 1)
    dy, dx = torch.meshgrid(side, side, indexing="ij")
    window = scores[xy[:, 1, None, None] + dy, xy[:, 0, None, None] + dx].flatten(1)
    share = torch.softmax(window / TEMPERATURE, 1)
    shift = torch.stack([(share * dx.flatten()).sum(1), (share * dy.flatten()).sum(1)], -1)
    return xy + shift


def load_aliked() -> Aliked:
    """The published T16 network in eval mode. Raises ModelError when the file is absent or does not fit."""
    path = find_weights(WEIGHTS)
    network = Aliked()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ModelError("the tensors of ALIKED-T16", str(error)[:200], f"restore {path}") from error
    return network.eval()
