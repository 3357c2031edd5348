"""METER-XXS monocular depth (Papa et al., IEEE TCSVT 2023, arXiv 2403.08368): a teacher for the depth network.

Re-implemented from the description in ``shared/weights/meter_depth/SOURCE.md``; attribute names follow the
published state dicts so that they load strictly. Trained by its authors on NYU Depth v2 (indoor) or KITTI
(outdoor); the weights are MIT, the data sets are for research.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vision_nodes.errors import ModelError
from vision_nodes.networks.weights import find_weights

HEADS = 4
HEAD_CHANNELS = 8
UNIT_M = {"nyu": 0.01, "kitti": 0.1}  # the indoor file predicts centimetres, the outdoor one decimetres
INPUT_WH = {"nyu": (256, 192), "kitti": (640, 192)}
# focal length of the training pictures, px at the input width: NYU 518.86 of 640, KITTI 721.5 of 1242
FX_TRAINING = {"nyu": 518.86 * 256 / 640, "kitti": 721.5 * 640 / 1242}


class WideSeparable(nn.Module):
    """A full 3x3 convolution and a 1x1 (the published name of the first is historical)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.pointwise = nn.Conv2d(outputs, outputs, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return self.pointwise(self.depthwise(x))


def _separable_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(WideSeparable(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU())


def _pointwise_block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class InvertedBottleneck(nn.Module):
    """Expansion 2, residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        hidden = 2 * inputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


class PreNorm(nn.Module):
    """LayerNorm before a function."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim), fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., tokens, dim) -> same shape."""
        return self.fn(self.norm(x))


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of one position within a patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = HEADS * HEAD_CHANNELS
        self.to_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, P, N, dim) -> (B, P, N, dim)."""
        b, p, n, _ = x.shape
        qkv = self.to_qkv(x).reshape(b * p, n, 3, HEADS, HEAD_CHANNELS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])  # scale 8^-0.5
        return self.to_out(mixed.transpose(1, 2).reshape(b, p, n, -1))


class FeedForward(nn.Module):
    """Two linear layers; indices of the published Sequential are kept."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Identity(), nn.Linear(hidden, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., dim) -> (..., dim)."""
        return self.net(x)


class Transformer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        layer = nn.ModuleList([PreNorm(dim, Attention(dim)), PreNorm(dim, FeedForward(dim, hidden))])
        self.layers = nn.ModuleList([layer])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, P, N, dim) -> same shape."""
        for attention, feed_forward in self.layers:
            x = x + attention(x)
            x = x + feed_forward(x)
        return x


class MobileViTBlock(nn.Module):
    """Convolution, global attention over 2x2 patches, fusion with the input."""

    def __init__(self, channels: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = _separable_block(channels, channels)
        self.conv2 = _pointwise_block(channels, dim)
        self.transformer = Transformer(dim, hidden)
        self.conv3 = _pointwise_block(dim, channels)
        self.conv4 = _separable_block(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W), even sides -> same shape."""
        y = self.conv2(self.conv1(x))
        b, d, h, w = y.shape
        tokens = y.reshape(b, d, h // 2, 2, w // 2, 2).permute(0, 3, 5, 2, 4, 1)
        tokens = self.transformer(tokens.reshape(b, 4, h * w // 4, d))
        tokens = tokens.reshape(b, 2, 2, h // 2, w // 2, d).permute(0, 5, 3, 1, 4, 2)
        y = self.conv3(tokens.reshape(b, d, h, w))
        return self.conv4(torch.cat([y, x], dim=1))


class Encoder(nn.Module):
    """MobileViT-XXS-like encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _separable_block(3, 16, 2)
        shapes = ((16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 24, 1), (24, 48, 2), (48, 64, 2), (64, 80, 2))
        self.mv2 = nn.ModuleList([InvertedBottleneck(*shape) for shape in shapes])
        blocks = ((48, 64, 128), (64, 80, 320), (80, 96, 384))
        self.mvit = nn.ModuleList([MobileViTBlock(*block) for block in blocks])
        self.conv2 = _pointwise_block(80, 160)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, 3, H, W) -> maps at strides 32 (160 ch), 16 (64), 8 (48), 4 (24)."""
        stride4 = self.mv2[1](self.mv2[0](self.conv1(x)))
        stride8 = self.mv2[4](self.mv2[3](self.mv2[2](stride4)))
        stride16 = self.mv2[5](self.mvit[0](stride8))
        x = self.mvit[2](self.mv2[6](self.mvit[1](stride16)))
        return self.conv2(x), stride16, stride8, stride4


class UpBlock(nn.Module):
    """Transposed convolution, skip, fusion."""

    def __init__(self, inputs: int, outputs: int, skip: int) -> None:
        super().__init__()
        self.conv2d_transpose = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1, bias=False)
        self.end_up_layer = nn.Sequential(WideSeparable(outputs + skip, outputs), nn.ReLU())

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) and a skip at twice the size -> (B, outputs, 2H, 2W)."""
        return self.end_up_layer(torch.cat([self.conv2d_transpose(x), skip], dim=1))


class Decoder(nn.Module):
    """Three up blocks to stride 4 and a linear output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_in = nn.Conv2d(160, 64, 1, bias=False)
        self.ups_block_1 = UpBlock(64, 32, 64)
        self.ups_block_2 = UpBlock(32, 16, 48)
        self.ups_block_3 = UpBlock(16, 8, 24)
        self.conv2d_out = nn.Conv2d(8, 1, 3, padding=1, bias=False)

    def forward(self, maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Encoder maps -> (B, 1, H / 4, W / 4)."""
        x = self.ups_block_1(self.conv2d_in(maps[0]), maps[1])
        x = self.ups_block_2(x, maps[2])
        return self.conv2d_out(self.ups_block_3(x, maps[3]))


class Meter(nn.Module):
    """The whole network; `unit_m` turns its output into metres."""

    def __init__(self, scene: str) -> None:
        super().__init__()
        if scene not in UNIT_M:
            raise ModelError(f"a scene among {sorted(UNIT_M)}", repr(scene), "nyu = indoor, kitti = outdoor")
        self.unit_m = UNIT_M[scene]
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 RGB 0..255, sides multiples of 64 -> (B, H / 4, W / 4) metres."""
        return self.decoder(self.encoder(tensor / 255.0))[:, 0] * self.unit_m


def load_meter(scene: str) -> Meter:
    """The published network for ``nyu`` or ``kitti``, in eval mode.

    Raises:
        ModelError: the weight file is absent or does not fit.
    """
    network = Meter(scene)
    path = find_weights(f"meter_depth/build_model_best_{scene}_xxs")
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ModelError("the published METER-XXS tensors", str(error)[:200], "check SOURCE.md") from error
    return network.eval()
