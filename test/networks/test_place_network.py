"""Place network: unit norm, pooling by hand, and the exported graph's parity with torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.export.onnx import export_onnx, parity
from vision_nodes.networks.place import POOLED_DIM, GeM, PlaceExport, PlaceNetwork


@pytest.fixture(scope="module")
def network() -> PlaceNetwork:
    torch.manual_seed(0)
    return PlaceNetwork((96, 64), channels=4, rows=3, width=8, layers=1, imagenet=False).eval()


def test_descriptor_has_unit_norm(network: PlaceNetwork):
    descriptor = network(torch.rand(3, 3, 64, 96) * 255)
    assert descriptor.shape == (3, network.dim) == (3, 12 + POOLED_DIM)
    torch.testing.assert_close(descriptor.norm(dim=1), torch.ones(3))


def test_depth_is_only_given_when_asked(network: PlaceNetwork):
    descriptor, log_depth = network(torch.zeros(1, 3, 64, 96), with_depth=True)
    assert descriptor.shape == (1, network.dim) and log_depth.shape == (1, 4, 6)


def test_generalised_mean_by_hand():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
    both = torch.cat([values, torch.full((1, 1, 2, 2), 2.0)], dim=1)
    pooled = np.array([np.mean([1, 8, 27, 64]) ** (1 / 3), 2.0])
    np.testing.assert_allclose(GeM(3.0)(both)[0].detach(), pooled / np.linalg.norm(pooled), rtol=1e-5)


def test_the_layout_part_sees_a_mirrored_picture_the_pooled_part_does_not(network: PlaceNetwork):
    maps = [torch.rand(1, 96, 4, 6), torch.rand(1, 160, 2, 3), torch.rand(1, 320, 2, 3)]
    mirrored = [torch.flip(m, dims=[3]) for m in maps]
    difference = (network.describe(maps) - network.describe(mirrored)).detach().abs()[0]
    assert float(difference[:12].max()) > 1e-3
    assert float(difference[12:].max()) < 1e-5


def test_shares_weigh_the_parts(network: PlaceNetwork):
    maps = [torch.rand(2, 96, 4, 6), torch.rand(2, 160, 2, 3), torch.rand(2, 320, 2, 3)]
    network.pooled_share.fill_(0.36)
    parts = network.describe(maps).detach()
    network.pooled_share.fill_(0.5)
    torch.testing.assert_close(parts[:, :12].norm(dim=1), torch.full((2,), 0.8))
    torch.testing.assert_close(parts[:, 12:].norm(dim=1), torch.full((2,), 0.6))


def test_exported_graph_agrees(network: PlaceNetwork, tmp_path: Path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 96, 3)).astype(np.uint8) for _ in range(2)]
    module, path = PlaceExport(network), tmp_path / "place.onnx"
    export_onnx(module, module.output_names, (96, 64), path)
    assert max(parity(module, path, images).values()) < 1e-4
