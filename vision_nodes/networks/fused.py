"""One encoder, four heads: detection, segmentation, depth and place from one inference.

The encoder and the detection head are NanoDet-Plus-m's, whose trunk has seen 118,000 labelled pictures. A dense
decoder serves segmentation and depth together down to stride 8, each has its own last level; the place head
pools the two coarse maps and keeps their layout (see `networks/place.py`).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vision_nodes.networks.deploy import DetectionGraph, from_uint8
from vision_nodes.networks.depth import MAX_M, MIN_M, UPSCALE, SeparableBlock, confidence_from_scale
from vision_nodes.networks.gradient_balance import GradientBalance
from vision_nodes.networks.nanodet import NanoDetPlus
from vision_nodes.networks.place import GeM, MixerLayer, unit_norm

HEADS = ("detection", "segmentation", "depth", "place")
TRUNK = (116, 232, 464)  # channels at strides 8, 16, 32
STEM = 24  # channels at stride 4
Features = tuple[Tensor, ...]  # at strides 4, 8, 16, 32
OUTPUTS = {
    "detection": {"boxes": "boxes", "scores": "scores", "class_ids": "class_ids"},
    "segmentation": {"labels": "labels", "confidence": "label_confidence"},
    "depth": {"depth": "depth", "confidence": "depth_confidence"},
    "place": {"descriptor": "descriptor"},
}  # head -> contract's output name -> this graph's


class DenseDecoder(nn.Module):
    """Features -> 17 class logits at stride 4, log depth and its scale at stride 2."""

    def __init__(self, classes: int, widths: tuple[int, int, int] = (128, 96, 64), last: int = 48) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(c, w, 1) for c, w in zip(TRUNK[::-1], widths)])
        self.descend = nn.ModuleList([nn.Conv2d(a, b, 1) for a, b in pairwise(widths)])
        self.fuse = nn.ModuleList([nn.Sequential(SeparableBlock(w, w), SeparableBlock(w, w)) for w in widths])
        self.context = nn.Linear(TRUNK[-1], widths[0])
        size = nn.Linear(64, 1)
        self.size = nn.Sequential(nn.Linear(TRUNK[-1], 64), nn.ReLU(), size)
        kinds = ("segmentation", "depth")
        self.enter = nn.ModuleDict({kind: nn.Conv2d(widths[-1], last, 1) for kind in kinds})
        self.skip = nn.ModuleDict({kind: nn.Conv2d(STEM, last, 1) for kind in kinds})
        self.refine = nn.ModuleDict({kind: SeparableBlock(last, last) for kind in kinds})
        outputs = {"segmentation": classes, "depth": 2 * UPSCALE**2}
        head = {kind: nn.Conv2d(last, outputs[kind], 3, padding=1) for kind in kinds}
        self.head = nn.ModuleDict(head)
        for parameter in head["depth"].parameters():
            nn.init.zeros_(parameter)
        for parameter in size.parameters():
            nn.init.constant_(parameter, math.log(3.0) if parameter.ndim == 1 else 0.0)

    def shared(self, features: Features) -> tuple[Tensor, Tensor]:
        """The map at stride 8 that both tasks use, and the pooled coarsest map."""
        maps = features[:0:-1]
        pooled = maps[0].mean(dim=(2, 3))
        x = self.fuse[0](self.lateral[0](maps[0]) + self.context(pooled)[:, :, None, None])
        for lateral, descend, fuse, skip in zip(self.lateral[1:], self.descend, self.fuse[1:], maps[1:]):
            x = functional.interpolate(descend(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = fuse(x + lateral(skip))
        return x, pooled

    def last(self, kind: str, x: Tensor, stem: Tensor) -> Tensor:
        """The task's own level at stride 4 and its output convolution."""
        up = functional.interpolate(
            self.enter[kind](x), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        return self.head[kind](self.refine[kind](up + self.skip[kind](stem)))

    def depth(self, x: Tensor, pooled: Tensor, stem: Tensor) -> tuple[Tensor, Tensor]:
        """Log canonical metres and the log of their Laplace scale, (B, H / 2, W / 2) each."""
        out = functional.pixel_shuffle(self.last("depth", x, stem), UPSCALE)
        return out[:, 0] + self.size(pooled)[:, :, None], out[:, 1].clamp(-4.0, 2.0) - 1.0


class PlaceHead(nn.Module):
    """Features -> unit descriptor of `rows * channels + pooled` numbers: layout part, then pooled part."""

    def __init__(self, grid: tuple[int, int], width: int = 128, pooled: int = 256) -> None:
        super().__init__()
        rows, channels = 8, 32
        self.grid, self.dim = grid, rows * channels + pooled
        self.lateral_middle = nn.Conv2d(TRUNK[1], width, 1)
        self.lateral_late = nn.Conv2d(TRUNK[2], width, 1)
        positions = 2 * (grid[0] // 2) * (grid[1] // 2)
        self.mixer = nn.Sequential(*[MixerLayer(positions) for _ in range(3)])
        self.to_rows = nn.Linear(positions, rows)
        self.to_channels = nn.Linear(width, channels)
        self.pool_middle, self.pool_late = GeM(), GeM()
        self.project = nn.Linear(TRUNK[1] + TRUNK[2], pooled)
        self.share = nn.Parameter(torch.zeros(()))  # logit of the pooled part's share

    def forward(self, features: Features) -> Tensor:
        """See the class."""
        middle, late = functional.relu(features[2]), functional.relu(features[3])
        maps = (functional.relu(self.lateral_middle(middle)), functional.relu(self.lateral_late(late)))
        parts = [functional.avg_pool2d(x, step).flatten(2) for x, step in zip(maps, (4, 2))]
        rows = self.to_rows(self.mixer(torch.cat(parts, dim=2)))
        layout = self.to_channels(rows.transpose(1, 2)).flatten(1)
        pooled = self.project(torch.cat([self.pool_middle(middle), self.pool_late(late)], dim=1))
        share = torch.sigmoid(self.share)
        whole = [torch.sqrt(1 - share) * unit_norm(layout), torch.sqrt(share) * unit_norm(pooled)]
        return torch.cat(whole, dim=1)


class FusedNetwork(nn.Module):
    """`tensor` (B, 3, H, W) float32 RGB 0..255, sides multiples of 64 and 32, -> what the heads say.

    Args:
        boxes, labels: numbers of detection and segmentation classes.
        input_wh: the place head is made for this size.
        balance: head -> weight of its gradient in the encoder.
    """

    def __init__(
        self, boxes: int, labels: int, input_wh: tuple[int, int], balance: dict[str, float] | None = None
    ) -> None:
        super().__init__()
        self.detector = NanoDetPlus(boxes)
        self.dense = DenseDecoder(labels)
        self.place = PlaceHead((input_wh[0] // 32, input_wh[1] // 32))
        weights = {**dict.fromkeys(HEADS, 1.0), **(balance or {})}
        self.balance = {head: GradientBalance(weight) for head, weight in weights.items()}

    def features(self, tensor: Tensor) -> Features:
        """Shared maps at strides 4, 8, 16, 32."""
        trunk: Any = self.detector.backbone
        mean, std = self.detector.get_buffer("mean"), self.detector.get_buffer("std")
        normalised = ((tensor - mean) / std).flip(1)
        stem = trunk.pool(trunk.act(trunk.conv1(normalised)))
        c3 = trunk.stage2(stem)
        c4 = trunk.stage3(c3)
        return stem, c3, c4, trunk.stage4(c4)

    def forward(self, tensor: Tensor, heads: tuple[str, ...] = HEADS) -> dict[str, Tensor]:
        """Of the chosen heads: `detection` (B, A, classes + 32), `segmentation` (B, K, H / 4, W / 4) logits,
        `depth` and `log_scale` (B, H / 2, W / 2) log canonical metres, `place` (B, D) unit norm."""
        features = self.features(tensor)
        said: dict[str, Tensor] = {}
        if "detection" in heads:
            own = self.balance["detection"](features)
            said["detection"] = self.detector.head(self.detector.fpn(own[1:]))
        kinds = [kind for kind in ("segmentation", "depth") if kind in heads]
        if kinds:
            own = self.balance[kinds[0]](features)
            x, pooled = self.dense.shared(own)
            if "segmentation" in kinds:
                said["segmentation"] = self.dense.last("segmentation", x, own[0])
            if "depth" in kinds:
                said["depth"], said["log_scale"] = self.dense.depth(x, pooled, own[0])
        if "place" in heads:
            said["place"] = self.place(self.balance["place"](features))
        return said


class FusedGraph(nn.Module):
    """The deployable graph: `image` uint8 (B, H, W, 3) RGB -> the outputs of the chosen heads, in one tuple."""

    def __init__(
        self,
        network: FusedNetwork,
        input_wh: tuple[int, int],
        candidates: int,
        heads: tuple[str, ...] = HEADS,
    ) -> None:
        super().__init__()
        self.network, self.heads = network, heads
        self.boxes = DetectionGraph(nn.Identity(), network.detector.classes, input_wh, candidates)
        self.output_names = tuple(name for head in heads for name in OUTPUTS[head].values())

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        said = self.network(from_uint8(image), self.heads)
        outputs: list[Tensor] = []
        if "detection" in said:
            outputs += self.boxes.decode(said["detection"])
        if "segmentation" in said:
            logits = said["segmentation"]
            logits = functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
            # TensorRT refuses int32 -> uint8: the labels pass through float
            outputs += [logits.argmax(1).float().to(torch.uint8), logits.softmax(1).amax(1)]
        if "depth" in said:
            depth = torch.exp(said["depth"].clamp(math.log(MIN_M), math.log(MAX_M)))
            outputs += [depth, confidence_from_scale(said["log_scale"])]
        if "place" in said:
            outputs.append(said["place"])
        return tuple(outputs)
