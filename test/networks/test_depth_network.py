"""Depth network: shapes, ranges, and the exported graph's parity with torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.export.onnx import export_onnx, parity
from vision_nodes.networks.depth import (
    MAX_M,
    MIN_M,
    DepthExport,
    DepthNetwork,
    confidence_from_scale,
)


@pytest.fixture(scope="module")
def network() -> DepthNetwork:
    torch.manual_seed(0)
    network = DepthNetwork(widths=(16, 16, 8, 8), imagenet=False)
    torch.nn.init.normal_(network.head.weight, std=0.02)
    return network.eval()


def test_output_is_half_the_input(network: DepthNetwork):
    log_depth, log_scale = network(torch.rand(2, 3, 64, 96) * 255)
    assert log_depth.shape == log_scale.shape == (2, 32, 48)


def test_global_branch_scales_everything(network: DepthNetwork):
    image = torch.rand(1, 3, 64, 96) * 255
    before = network(image)[0]
    network.size[-1].bias.data += 0.7
    after = network(image)[0]
    network.size[-1].bias.data -= 0.7
    torch.testing.assert_close(after - before, torch.full_like(before, 0.7), atol=1e-5, rtol=0)


def test_confidence_is_the_laplace_probability():
    log_scale = torch.log(torch.tensor([0.05, 0.3, 2.0]))
    expected = [1 - np.exp(-np.log(1.25) / b) for b in (0.05, 0.3, 2.0)]
    np.testing.assert_allclose(confidence_from_scale(log_scale), expected, rtol=1e-5)


def test_exported_graph_agrees_and_keeps_its_range(network: DepthNetwork, tmp_path: Path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 96, 3)).astype(np.uint8) for _ in range(2)]
    module, path = DepthExport(network), tmp_path / "depth.onnx"
    export_onnx(module, module.output_names, (96, 64), path)
    assert max(parity(module, path, images).values()) < 1e-3
    depth, confidence = module(torch.from_numpy(images[0])[None])
    assert depth.min() >= MIN_M * 0.999 and depth.max() <= MAX_M * 1.001
    assert confidence.min() >= 0 and confidence.max() <= 1
