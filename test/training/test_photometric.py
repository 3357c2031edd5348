"""Warping and photometric error against exact geometry."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.training.photometric import dissimilarity, reprojection, sample_at, smoothness, warp

H, W = 48, 64
K = torch.tensor([[[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]]])


def picture(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, H // 4, W // 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (H, W), mode="bicubic", align_corners=False).clamp(0, 1)


def sideways(metres: float) -> torch.Tensor:
    T = torch.eye(4)[None].clone()
    T[0, 0, 3] = metres
    return T


def test_no_motion_changes_nothing() -> None:
    image = picture()
    seen_as, seen = warp(image, torch.full((1, H, W), 3.0), K, torch.eye(4)[None])
    assert torch.allclose(seen_as, image, atol=1e-4) and seen.float().mean() > 0.9


def test_a_wall_moves_by_focal_length_times_baseline_over_depth() -> None:
    image, shift = picture(), 5  # px = 60 * 0.25 / 3
    seen_as, seen = warp(image, torch.full((1, H, W), 3.0), K, sideways(0.25))
    assert torch.allclose(seen_as[..., : W - shift], image[..., shift:], atol=1e-3)
    assert not seen[..., W - shift + 1 :].any() and seen[:, 1:-1, 1 : W - shift - 1].all()


def test_points_behind_the_neighbour_are_not_seen() -> None:
    T = torch.eye(4)[None].clone()
    T[0, 2, 3] = -5.0
    assert not warp(picture(), torch.full((1, H, W), 3.0), K, T)[1].any()


def test_the_true_depth_has_the_smallest_error_and_its_gradient_points_there() -> None:
    target = picture()
    source = torch.zeros_like(target)
    source[..., 5:] = target[..., :-5]  # a wall at 3 m, the neighbour 0.25 m to the left of us
    motion = sideways(0.25)[:, None]
    errors = {}
    for metres in (2.0, 2.6, 3.0, 3.5, 5.0):
        depth = torch.full((1, H, W), metres, requires_grad=True)
        error, seen, still = reprojection(target, source[:, None], depth, K, motion)
        inner = error[:, 8:-8, 12:-12]
        inner.mean().backward()
        errors[metres] = float(inner.mean().detach())
        if metres != 3.0:
            assert (float(depth.grad.sum()) < 0) == (metres < 3.0)
        assert seen[:, 8:-8, 12:-12].all()
        if metres == 3.0:
            assert inner.mean() < 0.05 * still[:, 8:-8, 12:-12].mean()
    assert min(errors, key=errors.__getitem__) == 3.0


def test_of_two_neighbours_the_better_one_counts() -> None:
    target = picture()
    sources = torch.stack([picture(5), target], dim=1)
    still = torch.eye(4).expand(1, 2, 4, 4)
    error, _, _ = reprojection(target, sources, torch.full((1, H, W), 3.0), K, still)
    assert error[:, 2:-2, 2:-2].max() < 1e-3


def test_dissimilarity_of_equal_and_inverted_pictures() -> None:
    image = picture()
    assert dissimilarity(image, image).max() < 1e-5
    assert dissimilarity(image, 1 - image).mean() > 0.4


def test_smoothness_forgives_steps_at_edges() -> None:
    depth = torch.zeros(1, H, W)
    depth[..., W // 2 :] = 1
    flat, edge = torch.zeros(1, 3, H, W), torch.zeros(1, 3, H, W)
    edge[..., W // 2 :] = 1
    assert smoothness(depth, edge) < 0.01 * smoothness(depth, flat)
    assert smoothness(torch.ones(1, H, W), flat) == 0


def test_sampling_is_in_pixels_of_the_whole_picture() -> None:
    half = torch.arange(32.0).expand(1, 24, 32)  # value = column at half size
    uv = torch.tensor([[[0.5, 10.0], [31.5, 10.0], [62.5, 3.0]]])
    np.testing.assert_allclose(sample_at(half, uv, (W, H))[0], [0.0, 15.5, 31.0], atol=1e-4)
