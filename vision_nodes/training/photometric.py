"""Photometric self-supervision: a neighbouring frame, seen through depth and motion, must look like this one.

Reprojection error of SSIM and L1, the smaller one of two neighbours, pixels that look better without motion left
out (Godard et al., Digging Into Self-Supervised Monocular Depth Estimation, ICCV 2019).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SSIM_SHARE = 0.85
MIN_Z = 1e-2  # metres; nearer or behind the neighbour is not seen


def warp(source: Tensor, depth: Tensor, K: Tensor, T_source_target: Tensor) -> tuple[Tensor, Tensor]:
    """The source picture as the target camera would see it.

    Args:
        source: (B, 3, H, W). depth: (B, H, W) metres of the target. K: (B, 3, 3) px of (H, W).
        T_source_target: (B, 4, 4).

    Returns:
        (B, 3, H, W), and (B, H, W) bool where the target's point lies inside the source picture.
    """
    batch, _, height, width = source.shape
    ys, xs = torch.meshgrid(
        torch.arange(height, device=depth.device, dtype=depth.dtype),
        torch.arange(width, device=depth.device, dtype=depth.dtype),
        indexing="ij",
    )
    pixels = torch.stack([xs, ys, torch.ones_like(xs)]).reshape(1, 3, -1)
    points = (torch.linalg.inv(K) @ pixels) * depth.reshape(batch, 1, -1)
    moved = T_source_target[:, :3, :3] @ points + T_source_target[:, :3, 3:]
    projected = K @ moved
    z = moved[:, 2]
    uv = projected[:, :2] / z[:, None].clamp(min=MIN_Z)
    size = torch.tensor([width, height], device=depth.device, dtype=depth.dtype).view(1, 2, 1)
    grid = ((2 * uv + 1) / size - 1).transpose(1, 2).reshape(batch, height, width, 2)
    seen = (grid.abs() < 1).all(-1) & (z.reshape(batch, height, width) > MIN_Z)
    return functional.grid_sample(source, grid, padding_mode="border", align_corners=False), seen


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """(B, 3, H, W) pictures in 0..1 -> (B, H, W): weighted (1 - SSIM) / 2 and absolute difference."""
    pad = functional.pad
    x, y = (pad(picture, (1, 1, 1, 1), mode="reflect") for picture in (a, b))
    mean = functional.avg_pool2d
    mx, my = mean(x, 3, 1), mean(y, 3, 1)
    vx, vy = mean(x * x, 3, 1) - mx * mx, mean(y * y, 3, 1) - my * my
    covariance = mean(x * y, 3, 1) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    structure = ((1 - ssim) / 2).clamp(0, 1).mean(1)
    return SSIM_SHARE * structure + (1 - SSIM_SHARE) * (a - b).abs().mean(1)


def reprojection(
    target: Tensor, sources: Tensor, depth: Tensor, K: Tensor, T_source_target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Error of every pixel against the neighbour that explains it best.

    Args:
        target: (B, 3, H, W) in 0..1. sources: (B, S, 3, H, W). T_source_target: (B, S, 4, 4).

    Returns:
        (B, H, W) error; (B, H, W) bool, seen by a neighbour; (B, H, W) error without any motion.
    """
    errors, still = [], []
    for index in range(sources.shape[1]):
        source = sources[:, index]
        seen_as, seen = warp(source, depth, K, T_source_target[:, index])
        error = dissimilarity(seen_as, target)
        errors.append(torch.where(seen, error, torch.full_like(error, 10.0)))
        still.append(dissimilarity(source, target))
    error = torch.stack(errors).amin(0)
    return error, error < 9.0, torch.stack(still).amin(0)


def smoothness(log_depth: Tensor, picture: Tensor) -> Tensor:
    """Mean step of log depth (B, H, W), less where the picture (B, 3, H, W) in 0..1 has an edge."""
    total = log_depth.new_zeros(())
    for axis in (1, 2):
        step = torch.diff(log_depth, dim=axis).abs()
        edge = torch.diff(picture, dim=axis + 1).abs().mean(1)
        total = total + (step * torch.exp(-10 * edge)).mean()
    return total


def sample_at(values: Tensor, uv: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """Values (B, h, w) at (B, M, 2) px of a picture of `size_wh`, bilinear -> (B, M)."""
    size = torch.tensor(size_wh, device=uv.device, dtype=uv.dtype)
    grid = ((2 * uv + 1) / size - 1)[:, :, None]
    found = functional.grid_sample(values[:, None], grid, padding_mode="border", align_corners=False)
    return found[:, 0, :, 0]
