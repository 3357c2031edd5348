"""Place descriptor: MobileNetV2 trunk, a mixer over the layout of the picture, GeM pooling beside it.

Generalised-mean pooling and a learned projection of it (Radenovic et al., TPAMI 2019) forgive viewpoint; mixing
along the flattened picture
(the idea of MixVPR, Ali-bey et al., WACV 2023) keeps the layout that tells one corridor door from the next.
The depth decoder exists only while training: it makes the trunk see geometry, which light does not change
(Piasco et al., IJCV 2021).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vision_nodes.networks.mobilenet_v2 import MobileNetV2, load_imagenet

TRUNK_DEPTH = 17
TAPS = (13, 16, 17)  # strides 16, 32 and 32; the last, 320 channels wide, only pooled
POOLED_DIM = 256


class GeM(nn.Module):
    """Generalised mean over the picture, exponent learned."""

    def __init__(self, exponent: float = 3.0) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(exponent))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) non-negative -> (B, C), unit norm."""
        powered = torch.exp(self.exponent * torch.log(x.clamp(min=1e-4)))
        return unit_norm(torch.exp(torch.log(powered.mean(dim=(2, 3))) / self.exponent))


class MixerLayer(nn.Module):
    """Residual perceptron along the positions of the picture, the same for every channel."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(positions)
        self.enter = nn.Linear(positions, positions)
        self.leave = nn.Linear(positions, positions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, P) -> same shape."""
        return x + self.leave(functional.relu(self.enter(self.norm(x))))


class PlaceNetwork(nn.Module):
    """Picture -> unit descriptor.

    Args:
        input_wh: width and height of the input, multiples of 32; the mixer is made for this size.
        channels, rows: the layout part of the descriptor has channels * rows numbers.
        width: channels of the two maps.
        layers: mixer layers.
        imagenet: start the trunk from the public ImageNet weights.
    """

    def __init__(
        self,
        input_wh: tuple[int, int] = (224, 160),
        channels: int = 32,
        rows: int = 8,
        width: int = 128,
        layers: int = 3,
        imagenet: bool = True,
    ) -> None:
        super().__init__()
        self.layout_dim, self.dim = channels * rows, channels * rows + POOLED_DIM
        self.trunk = MobileNetV2(TRUNK_DEPTH, TAPS)
        if imagenet:
            load_imagenet(self.trunk)
        middle, late, last = self.trunk.tap_channels
        positions = 2 * (input_wh[0] // 32) * (input_wh[1] // 32)
        self.lateral_middle = nn.Conv2d(middle, width, 1)
        self.lateral_late = nn.Conv2d(late, width, 1)
        self.mixer = nn.Sequential(*[MixerLayer(positions) for _ in range(layers)])
        self.to_rows = nn.Linear(positions, rows)
        self.to_channels = nn.Linear(width, channels)
        self.pool_middle, self.pool_late, self.pool_last = GeM(), GeM(), GeM()
        self.to_pooled = nn.Linear(middle + late + last, POOLED_DIM)
        # how much the pooled part weighs against the layout, chosen after training (training/place_head.py)
        self.register_buffer("pooled_share", torch.tensor(0.5))
        self.depth_decoder = nn.Sequential(
            nn.Conv2d(middle, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 3, padding=1)
        )

    def forward(
        self, tensor: torch.Tensor, with_depth: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) float32 RGB 0..255 -> (B, D) unit norm.

        `with_depth` (training only) adds log depth (B, H / 16, W / 16), log metres.
        """
        maps = self.trunk(tensor / 127.5 - 1.0)
        descriptor = self.describe(maps)
        return (descriptor, self.depth_decoder(maps[0])[:, 0]) if with_depth else descriptor

    def describe(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Trunk maps -> (B, D) unit norm: layout part, then pooled part."""
        return self.join(self.layout(self.tokens(maps)), self.to_pooled(self.pool(maps)))

    def join(self, layout: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Both parts of any norm -> (B, D) unit norm."""
        parts = [
            torch.sqrt(1 - self.pooled_share) * unit_norm(layout),
            torch.sqrt(self.pooled_share) * unit_norm(pooled),
        ]
        return torch.cat(parts, dim=1)

    def tokens(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Trunk maps -> (B, width, positions): both strides flattened, what the mixer reads."""
        middle = functional.relu(self.lateral_middle(maps[0]))
        late = functional.relu(self.lateral_late(maps[1]))
        return torch.cat([functional.avg_pool2d(middle, 2).flatten(2), late.flatten(2)], dim=2)

    def layout(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens -> (B, layout_dim), where things are."""
        rows = self.to_rows(self.mixer(tokens))  # (B, width, rows)
        return self.to_channels(rows.transpose(1, 2)).flatten(1)

    def pool(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Trunk maps -> (B, channels of all), wherever things are."""
        pools = (self.pool_middle, self.pool_late, self.pool_last)
        pooled = [pool(functional.relu(tap)) for pool, tap in zip(pools, maps)]
        return torch.cat(pooled, dim=1) / len(pooled) ** 0.5


class PlaceExport(nn.Module):
    """The deployable graph: `image` uint8 (B, H, W, 3) RGB -> `descriptor` (B, D) float32 unit norm."""

    output_names = ("descriptor",)

    def __init__(self, network: PlaceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.network(image.float().permute(0, 3, 1, 2))


def unit_norm(x: torch.Tensor) -> torch.Tensor:
    """(B, N) -> (B, N) of Euclidean norm 1 (zero stays zero)."""
    return x / torch.sqrt((x * x).sum(dim=1, keepdim=True) + 1e-12)
