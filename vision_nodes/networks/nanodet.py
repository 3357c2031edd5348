"""NanoDet-Plus-m: ShuffleNetV2 trunk, GhostPAN neck, anchor-free head with box distributions.

The network of R. Lyu's NanoDet-Plus (Apache-2.0) rebuilt from its published facts, batch norm folded,
so that the public COCO weights load; module names follow the stored tensor names. Box distances are
distributions over 8 bins (Li et al., Generalized Focal Loss, NeurIPS 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32, 64)
BINS = 8
NEGATIVE_SLOPE = 0.1
MEAN_RGB = (123.675, 116.28, 103.53)
STD_RGB = (58.395, 57.12, 57.375)


def _act() -> nn.Module:
    return nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)


def _depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)


class ShuffleBlock(nn.Module):
    """ShuffleNetV2 unit (Ma et al., ECCV 2018): half the channels pass, half are convolved, then shuffle."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride = stride
        # Identity modules keep the indices of the stored tensors
        self.branch2 = nn.Sequential(
            nn.Conv2d(inputs if stride == 2 else half, half, 1), _act(), nn.Identity(),
            _depthwise(half, 3, stride), nn.Identity(), nn.Conv2d(half, half, 1), _act(),
        )  # fmt: skip
        if stride == 2:
            self.branch1 = nn.Sequential(
                _depthwise(inputs, 3, 2), nn.Identity(), nn.Conv2d(inputs, half, 1), _act()
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        if self.stride == 2:
            kept, new = self.branch1(x), self.branch2(x)
        else:
            kept, passed = x.chunk(2, 1)
            new = self.branch2(passed)
        b, c, h, w = kept.shape
        return torch.stack((kept, new), 2).reshape(b, 2 * c, h, w)


class ShuffleTrunk(nn.Module):
    """ShuffleNetV2 1.0x up to stride 32."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, 2, 1)
        self.act = _act()
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs = 24
        for name, outputs, count in zip(("stage2", "stage3", "stage4"), channels, (4, 8, 4)):
            blocks = [
                ShuffleBlock(inputs if i == 0 else outputs, outputs, 2 if i == 0 else 1) for i in range(count)
            ]
            setattr(self, name, nn.Sequential(*blocks))
            inputs = outputs

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) normalised BGR -> features at strides 8, 16, 32."""
        x = self.pool(self.act(self.conv1(x)))
        c3 = self.stage2(x)
        c4 = self.stage3(c3)
        return c3, c4, self.stage4(c4)


class DepthwiseUnit(nn.Module):
    """5x5 depthwise and 1x1 convolution, both activated."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = _depthwise(channels, 5, stride)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.act = _act()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / stride, W / stride)."""
        return self.act(self.pointwise(self.act(self.depthwise(x))))


class Ghost(nn.Module):
    """Ghost module (Han et al., CVPR 2020): half the outputs are depthwise images of the other half."""

    def __init__(self, inputs: int, outputs: int, activated: bool) -> None:
        super().__init__()
        self.primary_conv = nn.Conv2d(inputs, outputs // 2, 1)
        self.cheap_operation = _depthwise(outputs // 2, 3)
        self.act = _act() if activated else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        primary = self.act(self.primary_conv(x))
        return torch.cat((primary, self.act(self.cheap_operation(primary))), 1)


class GhostBottleneck(nn.Module):
    """Two ghost modules around a depthwise shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.ghost1 = Ghost(inputs, outputs, activated=True)
        self.ghost2 = Ghost(outputs, outputs, activated=False)
        self.shortcut = nn.Sequential(_depthwise(inputs, 5), nn.Identity(), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return self.ghost2(self.ghost1(x)) + self.shortcut(x)


class GhostPAN(nn.Module):
    """Path aggregation (Liu et al., CVPR 2018) over three levels, plus one extra coarse level."""

    def __init__(self, inputs: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.act = _act()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.reduce_layers = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.top_down_blocks = nn.ModuleList(GhostBottleneck(2 * width, width) for _ in range(2))
        self.downsamples = nn.ModuleList(DepthwiseUnit(width, 2) for _ in range(2))
        self.bottom_up_blocks = nn.ModuleList(GhostBottleneck(2 * width, width) for _ in range(2))
        self.extra_lvl_in_conv = nn.ModuleList([DepthwiseUnit(width, 2)])
        self.extra_lvl_out_conv = nn.ModuleList([DepthwiseUnit(width, 2)])

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Features at strides 8, 16, 32 -> (B, width, H, W) at strides 8, 16, 32, 64."""
        r3, r4, r5 = (self.act(reduce(x)) for reduce, x in zip(self.reduce_layers, features))
        p4 = self.top_down_blocks[0](torch.cat((self.up(r5), r4), 1))
        p3 = self.top_down_blocks[1](torch.cat((self.up(p4), r3), 1))
        n4 = self.bottom_up_blocks[0](torch.cat((self.downsamples[0](p3), p4), 1))
        n5 = self.bottom_up_blocks[1](torch.cat((self.downsamples[1](n4), r5), 1))
        n6 = self.extra_lvl_in_conv[0](r5) + self.extra_lvl_out_conv[0](n5)
        return [p3, n4, n5, n6]


class NanoDetHead(nn.Module):
    """Per level: two depthwise units, then class logits and box bins from one 1x1 convolution."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.cls_convs = nn.ModuleList(
            nn.Sequential(DepthwiseUnit(width), DepthwiseUnit(width)) for _ in STRIDES
        )
        self.gfl_cls = nn.ModuleList(nn.Conv2d(width, classes + 4 * BINS, 1) for _ in STRIDES)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Four levels -> (B, A, classes + 32), levels one after another, rows first."""
        levels = zip(self.cls_convs, self.gfl_cls, features)
        return torch.cat([last(convs(x)).flatten(2) for convs, last, x in levels], 2).transpose(1, 2)


class NanoDetPlus(nn.Module):
    """`tensor` (B, 3, H, W) float32 RGB 0..255 -> (B, A, classes + 32) class logits and box bins.

    H and W are multiples of 32. A location's box is centre -/+ distance, see `decode_boxes`.
    """

    def __init__(
        self, classes: int = 80, channels: tuple[int, int, int] = (116, 232, 464), width: int = 96
    ) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = ShuffleTrunk(channels)
        self.fpn = GhostPAN(channels, width)
        self.head = NanoDetHead(classes, width)
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD_RGB).view(1, 3, 1, 1), persistent=False)

    def forward(self, tensor: Tensor) -> Tensor:
        """See the class."""
        normalised = ((tensor - self.mean) / self.std).flip(1)  # the public weights see BGR
        return self.head(self.fpn(self.backbone(normalised)))


def locations(height: int, width: int) -> Tensor:
    """(A, 3) float32: x, y (px, image edge = 0) and stride of every location, in the head's order."""
    rows = []
    for stride in STRIDES:
        ys, xs = torch.meshgrid(
            torch.arange(-(-height // stride)), torch.arange(-(-width // stride)), indexing="ij"
        )
        rows.append(torch.stack((xs * stride, ys * stride, torch.full_like(xs, stride)), -1).reshape(-1, 3))
    return torch.cat(rows).float()


def decode_boxes(bins: Tensor, places: Tensor) -> Tensor:
    """Box distributions to boxes.

    Args:
        bins: (..., 4 * 8) logits: left, top, right, bottom.
        places: (..., 3) from `locations`.

    Returns:
        (..., 4) xyxy px, the image's left top edge = 0.
    """
    steps = torch.arange(BINS, dtype=bins.dtype, device=bins.device)
    distances = (bins.unflatten(-1, (4, BINS)).softmax(-1) * steps).sum(-1) * places[..., 2:]
    return torch.cat((places[..., :2] - distances[..., :2], places[..., :2] + distances[..., 2:]), -1)


def slice_classes(tensors: dict[str, Tensor], keep: list[int], classes: int = 80) -> dict[str, Tensor]:
    """Stored tensors with the class rows of the head reduced to `keep`, in that order."""
    rows = torch.tensor([*keep, *range(classes, classes + 4 * BINS)])
    return {name: value[rows] if "gfl_cls" in name else value for name, value in tensors.items()}
