"""The public weights score on labelled photographs, and would not if a single layer were loaded wrongly.

Each network is scored, then again with the output channels of one layer moved by one place, as a tensor that landed
in the wrong layer would do: the score must fall below what the proof asks for, whichever layer it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.errors import ModelError
from vision_nodes.networks.deploy import DetectionGraph
from vision_nodes.networks.mosaic import ADE_CLASSES, Mosaic, upsample_legacy
from vision_nodes.networks.nanodet import NanoDetPlus
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors
from vision_nodes.preprocess.frame import resize
from vision_nodes.tasks.classes import COCO_CLASSES
from vision_nodes.tasks.detection import DetectionDecoder, iou_matrix

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "labelled"
COCO, CAMVID = DATA / "coco_val2017_subset", DATA / "camvid_seg"
pytestmark = pytest.mark.skipif(not (COCO.exists() and CAMVID.exists()), reason="shared data absent")
# file -> channels, width, least quality: 0.511 and 0.536 when loaded rightly, at most 0.489 and 0.511 otherwise
NANODETS = {
    "nanodet_plus_m_416_fused_f16": ((116, 232, 464), 96, 0.502),
    "nanodet_plus_m_1.5x_416_fused_q8": ((176, 352, 704), 128, 0.524),
}
# ADE20K name -> CamVid name, where both lists mean the same
SHARED_CLASSES = {
    "sky": "sky",
    "building": "building",
    "road": "road",
    "sidewalk": "pavement",
    "tree": "tree",
    "car": "car",
}


def filled(network: nn.Module, relative: str) -> nn.Module:
    try:
        load_tensors(network, read_tensors(find_weights(relative)), relative)
    except ModelError as error:
        if "weight file" in str(error):
            pytest.skip(f"{relative} is not on this machine")
        raise
    return network.eval()


@contextmanager
def misloaded(network: nn.Module, layer: str) -> Iterator[None]:
    """The layer's output channels moved by one place."""
    module = network.get_submodule(layer)
    kept = {name: value.detach().clone() for name, value in module.named_parameters()}
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(value.roll(1, 0))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in module.named_parameters():
                value.copy_(kept[name])


def labelled_objects(count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Training pictures with their boxes above 32 x 32 px: 416 x 416 RGB, (M, 4) xyxy in it, (M,) class ids."""
    content = json.loads((COCO / "train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        wide, high = annotation["bbox"][2:]
        if (
            min(wide, high) > 32
            and not annotation.get("iscrowd")
            and names[annotation["category_id"]] in COCO_CLASSES
        ):
            boxes.setdefault(annotation["image_id"], []).append(annotation)
    found = []
    for entry in [entry for entry in content["images"] if entry["id"] in boxes][::37][:count]:
        path = next((COCO / "images").rglob(Path(entry["file_name"]).name))
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        to_network = ResizeMap((image.shape[1], image.shape[0]), (416, 416))
        xywh = np.array([a["bbox"] for a in boxes[entry["id"]]], np.float32)
        xyxy = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1) * np.tile(to_network.scale_xy, 2)
        ids = np.array([COCO_CLASSES.index(names[a["category_id"]]) for a in boxes[entry["id"]]])
        found.append((np.ascontiguousarray(resize(image, to_network)), xyxy.astype(np.float32), ids))
    return found


def quality(network: nn.Module, pictures: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """Mean over the labelled boxes of the best overlap times score among the detections of their class."""
    graph = DetectionGraph(network, 80, (416, 416), 200).eval()
    decoder, values = DetectionDecoder((416, 416), 0.05, 0.6), []
    for image, boxes, ids in pictures:
        with torch.no_grad():
            outputs = graph(torch.from_numpy(image)[None])
        have = decoder.decode(dict(zip(graph.output_names, (value.numpy() for value in outputs))))
        worth = iou_matrix(boxes, have.boxes_xyxy) * have.scores * (ids[:, None] == have.class_ids)
        values += worth.max(1, initial=0.0).tolist()
    return float(np.mean(values))


def check_layers(
    network: nn.Module, layers: tuple[str, ...], score: Callable[[], float], floor: float
) -> None:
    assert score() >= floor
    for layer in layers:
        with misloaded(network, layer):
            assert score() < floor, layer
    assert score() >= floor


@pytest.mark.parametrize("file", sorted(NANODETS))
def test_nanodet_finds_labelled_objects_with_every_layer_in_place(file: str) -> None:
    channels, width, floor = NANODETS[file]
    network = filled(NanoDetPlus(80, channels, width), f"nanodet_plus_coco/{file}.npz")
    pictures = labelled_objects(10)
    layers = (
        "backbone.conv1",
        "backbone.stage3.4.branch2.5",
        "fpn.top_down_blocks.1.ghost1.primary_conv",
        "head.cls_convs.2.1.pointwise",
        "head.gfl_cls.3",
    )
    check_layers(network, layers, lambda: quality(network, pictures), floor)


def street_probability(network: nn.Module, pictures: list[tuple[Tensor, np.ndarray]]) -> float:
    """Mean probability of the true name at the pixels of `SHARED_CLASSES`, among these names."""
    ours, values = [ADE_CLASSES.index(name) for name in SHARED_CLASSES], []
    for tensor, truth in pictures:
        with torch.no_grad():
            shares = upsample_legacy(network(tensor), 4)[0, ours].softmax(0).numpy()
        known = truth < len(ours)
        values.append(
            np.take_along_axis(shares, np.where(known, truth, 0)[None].astype(int), 0)[0][known].mean()
        )
    return float(np.mean(values))


def streets(count: int) -> list[tuple[Tensor, np.ndarray]]:
    """CamVid training pictures at 384 x 256, and indices into `SHARED_CLASSES` (255 = another class)."""
    classes = {
        entry["name"]: entry["id"] for entry in json.loads((CAMVID / "classes.json").read_text())["classes"]
    }
    table = np.full(256, 255, np.uint8)
    for index, name in enumerate(SHARED_CLASSES.values()):
        table[classes[name]] = index
    found = []
    for line in (CAMVID / "train.txt").read_text().splitlines()[::90][:count]:
        image, label = (CAMVID / part for part in line.split()[:2])
        rgb = cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB)
        rgb = cv2.resize(rgb, (384, 256), interpolation=cv2.INTER_AREA)
        truth = cv2.resize(
            cv2.imread(str(label), cv2.IMREAD_UNCHANGED), (384, 256), interpolation=cv2.INTER_NEAREST
        )
        found.append((torch.from_numpy(rgb).permute(2, 0, 1)[None].float(), table[truth]))
    return found


def test_mosaic_names_streets_with_every_layer_in_place() -> None:
    """0.843 when loaded rightly, at most 0.832 otherwise."""
    network = filled(Mosaic(), "mosaic_ade20k32/mosaic_fused_f16.npz")
    pictures = streets(4)
    layers = (
        "stem",
        "block5.depthwise",
        "block9.project",
        "conv_1",
        "spp1.k3.pointwise",
        "spp.project",
        "dec.skip",
    )
    check_layers(network, layers, lambda: street_probability(network, pictures), 0.838)
