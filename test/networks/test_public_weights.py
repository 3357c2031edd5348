"""Networks rebuilt from facts, proven with the real weights on real photographs."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
skdata = pytest.importorskip("skimage.data")

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.errors import ModelError
from vision_nodes.networks.deploy import DetectionGraph
from vision_nodes.networks.mosaic import ADE_CLASSES, Mosaic, upsample_legacy
from vision_nodes.networks.nanodet import NanoDetPlus, slice_classes
from vision_nodes.networks.segmenter import Segmenter
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors
from vision_nodes.preprocess.frame import resize
from vision_nodes.tasks.classes import GENERAL_CLASSES
from vision_nodes.tasks.detection import DetectionDecoder
from vision_nodes.training.coco import COCO_CLASSES, ROBOT_CLASSES
from vision_nodes.training.pseudo_labels import mapping_matrix


def stored(relative: str) -> dict[str, torch.Tensor]:
    try:
        return read_tensors(find_weights(relative))
    except ModelError:
        pytest.skip(f"{relative} is not on this machine")


def photo(name: str, size_wh: tuple[int, int]) -> np.ndarray:
    image = getattr(skdata, name)()
    return resize(image, ResizeMap((image.shape[1], image.shape[0]), size_wh))


def detect(image: np.ndarray) -> tuple[list[str], np.ndarray]:
    tensors = stored("nanodet_plus_coco/nanodet_plus_m_416_fused_f16.npz")
    network = NanoDetPlus(len(ROBOT_CLASSES))
    keep = [COCO_CLASSES.index(name) for name in ROBOT_CLASSES]
    load_tensors(network, slice_classes(tensors, keep), "npz")
    graph = DetectionGraph(network, len(ROBOT_CLASSES), (416, 416), 200).eval()
    with torch.no_grad():
        values = graph(torch.from_numpy(np.ascontiguousarray(image))[None])
    outputs = {name: value.numpy() for name, value in zip(graph.output_names, values)}
    assert np.all(np.diff(outputs["scores"][0]) <= 0)
    found = DetectionDecoder((416, 416), score_threshold=0.5).decode(outputs)
    return [ROBOT_CLASSES[i] for i in found.class_ids], found.boxes_xyxy


def test_nanodet_finds_the_astronaut() -> None:
    names, boxes = detect(photo("astronaut", (416, 416)))
    assert names[0] == "person"
    assert boxes[0, 0] < 60 and boxes[0, 1] < 30 and boxes[0, 3] > 390  # from head to the lower edge


def test_nanodet_finds_the_cat_and_the_cup() -> None:
    assert detect(photo("chelsea", (416, 416)))[0][0] == "cat"
    assert "cup" in detect(photo("coffee", (416, 416)))[0]


def test_weights_of_another_network_are_refused() -> None:
    tensors = stored("nanodet_plus_coco/nanodet_plus_m_416_fused_f16.npz")
    with pytest.raises(ModelError, match="misshapen"):
        load_tensors(NanoDetPlus(23), tensors, "npz")
    with pytest.raises(ModelError, match="set VISION_NODES_WEIGHTS"):
        find_weights("nowhere/none.npz")


def mosaic_share(image: np.ndarray, name: str) -> float:
    network = Mosaic().eval()
    load_tensors(network, stored("mosaic_ade20k32/mosaic_fused_f16.npz"), "npz")
    with torch.no_grad():
        logits = network(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        labels = upsample_legacy(logits, 4).argmax(1)
    return float((labels == ADE_CLASSES.index(name)).float().mean())


def test_mosaic_sees_the_astronaut_and_the_sky_behind_the_rocket() -> None:
    assert mosaic_share(photo("astronaut", (256, 256)), "person") > 0.35
    assert mosaic_share(photo("rocket", (384, 256)), "sky") > 0.4


def test_legacy_upsampling_samples_at_i_over_factor() -> None:
    row = torch.tensor([[[[0.0, 4.0, 8.0]]]])
    expected = [0.0, 2.0, 4.0, 6.0, 8.0, 8.0]
    assert upsample_legacy(row, 2)[0, 0, 0].tolist() == expected


def test_segmenter_begins_as_its_teacher() -> None:
    tensors = stored("mosaic_ade20k32/mosaic_fused_f16.npz")
    network = Segmenter(len(GENERAL_CLASSES), (384, 256)).eval()
    network.start_from(tensors, torch.from_numpy(mapping_matrix()))
    image = photo("astronaut", (384, 256))
    with torch.no_grad():
        labels = network(torch.from_numpy(image).permute(2, 0, 1)[None].float()).argmax(1)
    person = float((labels == GENERAL_CLASSES.index("person")).float().mean())
    assert person == pytest.approx(mosaic_share(image, "person"), abs=0.12)


def test_segmenter_refuses_sizes_its_pyramid_cannot_pool() -> None:
    with pytest.raises(ModelError, match="384, 288"):
        Segmenter(17, (400, 300))
