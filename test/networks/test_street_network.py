"""The street segmenter: any size, and thinning that keeps the function where it can."""

from __future__ import annotations

import pytest
import torch

from vision_nodes.networks import street
from vision_nodes.networks.mosaic import Mosaic
from vision_nodes.networks.street import StreetSegmenter, thinned_blocks


@pytest.mark.parametrize("wh", [(480, 360), (384, 288), (64, 48)])
def test_quarter_size_logits(wh: tuple[int, int]) -> None:
    network = StreetSegmenter(11).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 3, wh[1], wh[0]) * 255)
    assert logits.shape == (1, 11, wh[1] // 4, wh[0] // 4)
    assert torch.isfinite(logits).all()


def test_pyramid_continues_the_last_row_and_column() -> None:
    torch.manual_seed(0)
    network = Mosaic().eval()
    x = torch.rand(1, 448, 15, 23)
    rows, columns = torch.arange(16).clamp(max=14), torch.arange(24).clamp(max=22)
    with torch.no_grad():
        part, whole = network.spp0(x, 8), network.spp0(x[:, :, rows][..., columns], 8)
    assert torch.equal(part, whole[..., :15, :23])


def test_thinning_dead_channels_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street, "THINNED", {4: 64, 13: 192})
    torch.manual_seed(0)
    whole = Mosaic().eval()
    alive = {4: torch.arange(0, 128, 2), 13: torch.arange(192, 384)}
    for number, channels in alive.items():
        expand = getattr(whole, f"block{number}").expand
        dead = torch.ones(len(expand.bias), dtype=torch.bool)
        dead[channels] = False
        expand.weight.data[dead], expand.bias.data[dead] = 0, 0
        getattr(whole, f"block{number}").depthwise.bias.data[dead] = -1
    pictures = torch.rand(4, 3, 96, 128) * 255
    tensors = thinned_blocks(whole, pictures)
    thin = Mosaic(hidden=street.THINNED).eval()
    thin.load_state_dict({**whole.state_dict(), **tensors})
    with torch.no_grad():
        other = torch.rand(1, 3, 96, 128) * 255
        before, after = whole(other), thin(other)
    assert (before - after).abs().max() < 0.02 * before.abs().max()
