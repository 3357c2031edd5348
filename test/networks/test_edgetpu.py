"""The EdgeTPU trunk with its real weights on a real cat."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
skdata = pytest.importorskip("skimage.data")

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.errors import ModelError
from vision_nodes.networks.edgetpu import EdgeTpuClassifier, EdgeTpuTrunk, trunk_tensors
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors
from vision_nodes.preprocess.frame import resize

DOMESTIC_CATS = range(282, 287)  # tabby .. Egyptian cat, after the background class


def stored() -> dict[str, torch.Tensor]:
    try:
        return read_tensors(find_weights("mobilenet_edgetpu_imagenet/mobilenet_edgetpu_fused_q8.npz"))
    except ModelError:
        pytest.skip("the EdgeTPU weights are not on this machine")


def test_the_cat_is_a_cat() -> None:
    tensors = stored()
    network = EdgeTpuClassifier().eval()
    head = ("Conv_1", "Logits")
    named = {(n if n.startswith(head) else f"trunk.{n}"): value for n, value in tensors.items()}
    load_tensors(network, named, "npz")
    image = skdata.chelsea()
    image = resize(image, ResizeMap((image.shape[1], image.shape[0]), (224, 224)))
    with torch.no_grad():
        logits = network(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float())
    assert int(logits.argmax()) in DOMESTIC_CATS


def test_taps_have_the_documented_strides_and_channels() -> None:
    trunk = EdgeTpuTrunk(21).eval()
    with torch.no_grad():
        features = trunk(torch.zeros(1, 3, 64, 96))
    shapes = {stride: tuple(value.shape[1:]) for stride, value in features.items()}
    assert shapes == {4: (32, 16, 24), 8: (48, 8, 12), 16: (96, 4, 6), 32: (160, 2, 3), 0: (192, 2, 3)}
    assert sum(p.numel() for p in EdgeTpuTrunk(16).parameters()) < 1_250_000


def test_a_short_trunk_takes_its_part_of_the_weights() -> None:
    trunk = EdgeTpuTrunk(8)
    before = [p.detach().clone() for p in trunk.parameters()]
    load_tensors(trunk, trunk_tensors(stored(), 8), "npz")
    assert all((a != b).any() for a, b in zip(before, trunk.parameters()))
