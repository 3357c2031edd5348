"""ALIKED re-implemented: the real weights load and match a real picture with its warp, point by point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import cv2

from vision_nodes.networks.aliked import DeformableConv, load_aliked, strongest

STORED = Path(__file__).parents[2].parent / "shared" / "weights" / "aliked"


def test_without_offsets_it_is_a_plain_convolution():
    layer = DeformableConv(3, 5)
    torch.nn.init.zeros_(layer.offset_conv.weight)
    torch.nn.init.zeros_(layer.offset_conv.bias)
    x = torch.rand(2, 3, 9, 11)
    torch.testing.assert_close(layer(x), layer.regular_conv(x), atol=1e-5, rtol=1e-4)


def test_an_offset_of_one_pixel_moves_the_picture():
    layer = DeformableConv(3, 5)
    torch.nn.init.zeros_(layer.offset_conv.weight)
    layer.offset_conv.bias.data = torch.tensor([0.0, 1.0] * 9)  # (dy, dx) of each tap
    x = torch.rand(1, 3, 9, 11)
    torch.testing.assert_close(layer(x)[..., 1:-1], layer.regular_conv(x)[..., 2:], atol=1e-5, rtol=1e-4)


def test_suppression_keeps_the_greatest_of_a_neighbourhood():
    scores = torch.zeros(1, 1, 20, 20)
    scores[0, 0, 10, 10], scores[0, 0, 10, 12], scores[0, 0, 5, 5], scores[0, 0, 1, 1] = 0.9, 0.8, 0.5, 0.99
    assert strongest(scores, 10).tolist() == [[10, 10], [5, 5]]  # the border is not asked


@pytest.mark.skipif(not STORED.exists(), reason="shared weights absent")
def test_real_weights_match_a_warped_picture():
    data = pytest.importorskip("skimage.data")
    picture = cv2.resize(
        data.astronaut(), (250, 200), interpolation=cv2.INTER_AREA
    )  # padded to 256 x 224 inside
    corners = np.array([[0, 0], [250, 0], [250, 200], [0, 200]], np.float32)
    moved = np.array([[12, 5], [240, 20], [228, 190], [8, 196]], np.float32)
    homography = cv2.getPerspectiveTransform(corners, moved)
    network = load_aliked()
    with torch.no_grad():
        a, b = (
            [part.numpy() for part in network(torch.from_numpy(view).permute(2, 0, 1)[None] / 255, 300)]
            for view in (picture, cv2.warpPerspective(picture, homography, (250, 200)))
        )
    similarity = a[2] @ b[2].T
    forth, back = similarity.argmax(1), similarity.argmax(0)
    mutual = np.flatnonzero(back[forth] == np.arange(len(forth)))
    expected = cv2.perspectiveTransform(a[0][mutual][None], homography)[0]
    error = np.linalg.norm(expected - b[0][forth[mutual]], axis=1)
    assert len(mutual) > 150
    assert (error < 3).mean() > 0.9
    assert np.median(error) < 0.6
