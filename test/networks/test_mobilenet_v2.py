"""The trunk: shapes, TensorFlow padding, and the real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.errors import ModelError
from vision_nodes.networks.mobilenet_v2 import WEIGHTS, MobileNetV2, SameConv, load_imagenet

STORED = Path(__file__).parents[2].parent / "shared" / "weights" / WEIGHTS
needs_weights = pytest.mark.skipif(not STORED.exists(), reason="shared weights absent")


def test_same_padding_of_a_stride_2_convolution_is_at_the_end():
    convolution = SameConv(1, 1, 3, 2, bias=False)
    convolution.weight.data.zero_()
    convolution.weight.data[0, 0, 0, 0] = 1  # picks the window's left top
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    np.testing.assert_array_equal(convolution(image)[0, 0].detach(), [[0, 2], [8, 10]])


def test_taps_have_their_strides_and_channels():
    trunk = MobileNetV2(16, (3, 6, 13, 16))
    maps = trunk(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [(24, 16, 24), (32, 8, 12), (96, 4, 6), (160, 2, 3)]
    assert trunk.tap_channels == (24, 32, 96, 160)


def test_taps_beyond_the_depth_are_refused():
    with pytest.raises(ModelError, match="taps"):
        MobileNetV2(6, (3, 13))


@needs_weights
def test_real_weights_fill_every_parameter():
    trunk = MobileNetV2(17, (17,))
    for parameter in trunk.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    load_imagenet(trunk)
    assert all(torch.isfinite(p).all() for p in trunk.parameters())
    assert float(trunk(torch.rand(1, 3, 64, 64) * 2 - 1)[0].detach().std()) > 0.1
