"""The features graph: corners of the picture at half its size, described by a dense network.

Keypoints are corners (Shi and Tomasi, CVPR 1994), found at half the size, where they cost a fraction and blur and
noise are averaged away, refined below the pixel by a parabola through the response, and ranked by response times
the network's reliability. XFeat's own keypoints (whole pixels, from 8x8 cells) gave 36 % AUC@5 on rendered pairs
where these give 60 %, with equal descriptors; in the soft pictures of 7-Scenes no difference shows. Only operators
that TensorRT and the CPU runtimes take.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

HALF = 2  # the picture is averaged over 2x2 pixels first
CELL = 8  # px of the described picture per descriptor
BORDER = 3  # px of the halved picture without corners
SURPLUS = 2  # corners described for each one kept
MIN_CORNER = 1e-3  # of the response below which nothing is there; the picture has unit variance
VARIANCE_FLOOR = 0.65  # grey levels squared: a picture without contrast stays without


class Describer(Protocol):
    """A network that `FeatureGraph` can use. `size_wh` is the size it wants its picture in."""

    size_wh: tuple[int, int]

    def describe(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, H, W) of zero mean and unit variance -> descriptors (B, D, h, w), reliability (B, 1, h, w)."""


def halved(image: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 1, H / 2, W / 2) mean of the 12 values of each 2x2 block."""
    b, height, width, _ = image.shape
    blocks = image.float().view(b, height // 2, 2, width // 2, 6)
    sums = torch.matmul(blocks, torch.full((6, 1), 1 / 12, device=image.device))[
        ..., 0
    ]  # fast in CPU runtimes
    return sums.sum(dim=2)[:, None]


def normalised(gray: Tensor) -> Tensor:
    """(B, 1, H, W) grey levels -> zero mean and unit variance over each picture."""
    centred = gray - gray.mean(dim=(2, 3), keepdim=True)
    variance = (centred * centred).mean(dim=(2, 3), keepdim=True)
    return centred * torch.rsqrt(variance + VARIANCE_FLOOR)


def corner_response(gray: Tensor) -> Tensor:
    """(B, 1, H, W) -> (B, H, W): the smaller eigenvalue of the structure tensor of the smoothed picture.

    Sums of shifted maps: pooling with overlap is many times slower in ONNX Runtime.
    """
    smooth = functional.pad(gray, (1, 1, 1, 1), mode="replicate")
    smooth = smooth[..., :-1] + smooth[..., 1:]
    smooth = smooth[..., :-1] + smooth[..., 1:]
    smooth = smooth[..., :-1, :] + smooth[..., 1:, :]
    smooth = (smooth[..., :-1, :] + smooth[..., 1:, :]) / 16
    padded = functional.pad(smooth, (2, 2, 2, 2), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    products = torch.cat([dx * dx, dy * dy, dx * dy], 1)
    products = products[..., :-2] + products[..., 1:-1] + products[..., 2:]
    products = (products[..., :-2, :] + products[..., 1:-1, :] + products[..., 2:, :]) / 9
    xx, yy, xy = products.unbind(1)
    return 0.5 * (xx + yy) - torch.sqrt(0.25 * (xx - yy) * (xx - yy) + xy * xy)


class FeatureGraph(nn.Module):
    """`image` uint8 (B, H, W, 3) RGB -> the N strongest features, best first.

    `keypoints` (B, N, 2) px, `scores` (B, N) in 0..1, 0 where there are fewer than N, `descriptors` (B, N, D) unit norm.

    Args:
        network: a `Describer`.
        input_wh: of the picture, px, even.
        count: N.
    """

    output_names = ("keypoints", "scores", "descriptors")

    def __init__(self, network: nn.Module, input_wh: tuple[int, int], count: int) -> None:
        super().__init__()
        self.network, self.count = network, count
        inside = torch.zeros(1, input_wh[1] // HALF, input_wh[0] // HALF)
        inside[:, BORDER:-BORDER, BORDER:-BORDER] = 1
        self.register_buffer("inside", inside, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        gray = normalised(halved(image))
        network = cast(Describer, self.network)
        width, height = network.size_wh
        factor = (
            (height + 0.01) / gray.shape[2],
            (width + 0.01) / gray.shape[3],
        )  # so that it rounds to the size
        features, reliability = network.describe(
            functional.interpolate(gray, scale_factor=factor, mode="bilinear", align_corners=False)
        )
        response = corner_response(gray)
        xy, strength = self._corners(response)
        size = torch.tensor([gray.shape[3], gray.shape[2]], device=gray.device)
        share = (xy + 0.5) / size  # of the picture's sides
        rank = torch.sqrt(strength) * sample(reliability, share)[..., 0]
        best, order = torch.topk(rank, self.count, dim=1)
        pick = order[..., None].expand(-1, -1, 2)
        xy, share = xy.gather(1, pick), share.gather(1, pick)
        descriptors = functional.normalize(sample(features, share), dim=-1)
        return HALF * xy + (HALF - 1) / 2, best / (1 + best), descriptors

    def _corners(self, response: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w) -> (B, M, 2) px of the halved picture below the pixel, (B, M) response, 0 = none."""
        b, height, width = response.shape
        peak = functional.max_pool2d(response[:, None], 3, 1, 1)[:, 0]
        kept = (response >= peak) & (response > MIN_CORNER)
        maxima = torch.where(kept, response * self.inside, torch.zeros_like(response))
        strength, index = torch.topk(maxima.flatten(1), SURPLUS * self.count, dim=1)
        ys = torch.div(index, width, rounding_mode="floor")
        xs = index - ys * width
        first = torch.arange(b, device=index.device)[:, None] * (height * width)
        centre = first + ys.clamp(1, height - 2) * width + xs.clamp(1, width - 2)
        flat = response.reshape(-1)
        here = flat[centre]
        dx = parabola_peak(flat[centre - 1], here, flat[centre + 1])
        dy = parabola_peak(flat[centre - width], here, flat[centre + width])
        return torch.stack([xs + dx, ys + dy], -1), strength


def parabola_peak(before: Tensor, here: Tensor, after: Tensor) -> Tensor:
    """Where the parabola through three neighbours has its maximum, within half a pixel."""
    curvature = (2 * here - before - after).clamp(min=1e-9)
    return ((after - before) / (2 * curvature)).clamp(-0.5, 0.5)


def sample(maps: Tensor, share: Tensor) -> Tensor:
    """Bilinear samples of (B, C, h, w) at (B, N, 2) shares of the picture's sides -> (B, N, C).

    Gathered as whole rows: `GridSample` over 64 channels takes several times as long in the CPU runtimes.
    """
    b, channels, h, w = maps.shape
    at = share * torch.tensor([w, h], device=share.device) - 0.5
    x, y = at[..., 0].clamp(0, w - 1), at[..., 1].clamp(0, h - 1)
    x0, y0 = x.floor().clamp(max=w - 2), y.floor().clamp(max=h - 2)
    right, down = (x - x0)[..., None], (y - y0)[..., None]
    rows = maps.permute(0, 2, 3, 1).reshape(b * h * w, channels)
    corner = torch.arange(b, device=maps.device)[:, None] * (h * w) + (y0 * w + x0).long()
    above = rows[corner] * (1 - right) + rows[corner + 1] * right
    below = rows[corner + w] * (1 - right) + rows[corner + w + 1] * right
    return above * (1 - down) + below * down
