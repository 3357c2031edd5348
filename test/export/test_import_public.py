"""Public weights exported in their own raw form, imported, and run on real photographs: the contract's graphs,
which were proven elsewhere, must find the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from torch import nn

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.cli import main
from vision_nodes.engine.lint import ERROR, lint_model
from vision_nodes.engine.manifest import Manifest
from vision_nodes.engine.onnxruntime import OnnxRuntimeEngine
from vision_nodes.errors import ModelError
from vision_nodes.networks.deploy import DetectionGraph
from vision_nodes.networks.mosaic import ADE_CLASSES, Mosaic
from vision_nodes.networks.nanodet import NanoDetPlus
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors
from vision_nodes.preprocess.frame import Frame, resize
from vision_nodes.tasks.classes import COCO_CLASSES
from vision_nodes.tasks.detection import DetectionDecoder
from vision_nodes.tasks.runners import DepthEstimator, Detector

SHARED = Path(__file__).parents[2].parent / "shared"
PICTURES = SHARED / "data" / "labelled" / "coco_val2017_subset"
pytestmark = pytest.mark.skipif(not PICTURES.exists(), reason="shared data absent")


def stored(relative: str) -> Path:
    try:
        return find_weights(relative)
    except ModelError:
        pytest.skip(f"{relative} is not on this machine")


def photographs(count: int) -> list[np.ndarray]:
    files = [PICTURES / line for line in (PICTURES / "train.txt").read_text().split()[::40][:count]]
    assert len(files) == count
    return [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]


def save_raw(network: nn.Module, shape: tuple[int, ...], path: Path, names: list[str]) -> Path:
    """As a user of PyTorch exports: float picture in, raw outputs out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (torch.zeros(shape),), str(path), dynamo=False, opset_version=17,
            input_names=["input"], output_names=names,
        )  # fmt: skip
    return path


def imported(tmp_path: Path, file: Path, task: str, decoder: str, *options: object) -> Manifest:
    words = ["import", file, "--task", task, "--decoder", decoder, "--out", tmp_path / "models", *options]
    assert main([str(word) for word in words]) == 0
    manifest = Manifest.read(tmp_path / "models" / f"{file.stem}.yaml")
    assert not [finding for finding in lint_model(manifest)["fp32"] if finding.severity == ERROR]
    return manifest


class Normalised(nn.Module):
    """A network without the preparation that its re-implementation does inside: takes prepared BGR pixels."""

    def __init__(self, network: NanoDetPlus) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        network = self.network
        return network.head(network.fpn(network.backbone(x)))


def test_nanodet_plus_finds_the_same_on_coco(tmp_path: Path) -> None:
    network = NanoDetPlus(80)
    load_tensors(network, read_tensors(stored("nanodet_plus_coco/nanodet_plus_m_416_fused_f16.npz")), "npz")
    graph = DetectionGraph(network, 80, (416, 416), 300).eval()
    file = save_raw(Normalised(network), (1, 3, 416, 416), tmp_path / "nanodet.onnx", ["output"])
    manifest = imported(tmp_path, file, "detection", "nanodet", "--names", "coco80")
    decoder, total = DetectionDecoder((416, 416), 0.35, 0.6), 0
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        for image in photographs(6):
            size = (image.shape[1], image.shape[0])
            found = Detector(engine, 0.35, 0.6).detect(Frame(0, "cam", image, size))
            small = np.ascontiguousarray(resize(image, ResizeMap(size, (416, 416))))
            with torch.no_grad():
                values = graph(torch.from_numpy(small)[None])
            want = decoder.decode(dict(zip(graph.output_names, (value.numpy() for value in values))))
            boxes = ResizeMap(size, (416, 416)).boxes_to_source(want.boxes_xyxy)
            np.testing.assert_array_equal(found.class_ids, want.class_ids)
            np.testing.assert_allclose(found.scores, want.scores, atol=1e-4)
            np.testing.assert_allclose(found.boxes_xyxy, boxes, atol=0.05)
            total += len(want.scores)
    assert total >= 15  # 416 x 416 pictures full of things
    assert manifest.class_names == COCO_CLASSES


class Logits(nn.Module):
    """MOSAIC on pixels that are already pixel / 127.5 - 1."""

    def __init__(self, network: Mosaic) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network((x + 1) * 127.5)


def test_mosaic_logits_give_the_same_labels(tmp_path: Path) -> None:
    network = Mosaic().eval()
    load_tensors(network, read_tensors(stored("mosaic_ade20k32/mosaic_fused_f16.npz")), "npz")
    file = save_raw(Logits(network), (1, 3, 256, 384), tmp_path / "mosaic.onnx", ["logits"])
    (tmp_path / "ade.txt").write_text("\n".join(ADE_CLASSES))
    manifest = imported(tmp_path, file, "segmentation", "logits", "--names", tmp_path / "ade.txt", "--normalise",
                        "symmetric")  # fmt: skip
    seen = set()
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        for image in photographs(4):
            small = cv2.resize(image, (384, 256), interpolation=cv2.INTER_AREA)
            outputs = engine.infer(small)
            with torch.no_grad():
                share = network(torch.from_numpy(small).permute(2, 0, 1)[None].float()).softmax(1)[0].numpy()
            assert np.mean(outputs["labels"][0] == share.argmax(0)) > 0.999
            np.testing.assert_allclose(outputs["confidence"][0], share.max(0), atol=2e-3)
            seen |= set(np.unique(outputs["labels"]).tolist())
    assert len(seen) > 6  # pictures of many things, not one label everywhere


def test_meter_centimetres_become_metres(tmp_path: Path) -> None:
    stored("meter_depth/build_model_best_nyu_xxs")
    from vision_nodes.networks.meter import FX_TRAINING, load_meter

    network = load_meter("nyu")
    body = nn.Sequential(
        network.encoder, network.decoder
    )  # takes pixel / 255, gives centimetres (1, 1, h, w)
    file = save_raw(body, (1, 3, 192, 256), tmp_path / "meter.onnx", ["depth"])
    options = (
        "--normalise",
        "unit",
        "--fx-canonical",
        FX_TRAINING["nyu"],
        "--metres-per-unit",
        0.01,
        "--max-m",
        10,
    )
    manifest = imported(tmp_path, file, "depth", "meter", *options)
    from vision_nodes.camera.model import CameraModel

    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        for image in photographs(3):
            size = (image.shape[1], image.shape[0])
            camera = CameraModel(size, np.array([[500.0, 0, size[0] / 2], [0, 500, size[1] / 2], [0, 0, 1]]))
            frame = Frame(0, "cam", image, size, camera)
            depth = DepthEstimator(engine).estimate(frame)
            with torch.no_grad():
                small = torch.from_numpy(frame.resized((256, 192))).permute(2, 0, 1)[None].float()
                want = network(small)[0].numpy() * (500 * 256 / size[0]) / FX_TRAINING["nyu"]
            known = np.isfinite(depth.depth_m)
            assert depth.metric and known.mean() > 0.8
            np.testing.assert_allclose(depth.depth_m[known], want[known], rtol=2e-3)


def test_the_published_xfeat_file_gives_our_graphs_features(tmp_path: Path) -> None:
    from vision_nodes.networks.xfeat import XFeatExport, load_xfeat

    file = stored("xfeat/xfeat_320x224.onnx")
    manifest = imported(tmp_path, file, "features", "xfeat", "--candidates", 400)
    graph = XFeatExport(load_xfeat(), 400).eval()
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        for image in photographs(3):
            small = cv2.resize(image, (320, 224), interpolation=cv2.INTER_AREA)
            have = {name: value[0].copy() for name, value in engine.infer(small).items()}
            with torch.no_grad():
                keypoints, scores, descriptors = (
                    part[0].numpy() for part in graph(torch.from_numpy(small)[None])
                )
            ours = {tuple(xy): i for i, xy in enumerate(keypoints.tolist()) if scores[i] > 0.02}
            pairs = [
                (ours[tuple(xy)], i) for i, xy in enumerate(have["keypoints"].tolist()) if tuple(xy) in ours
            ]
            assert len(pairs) > 0.97 * len(ours) > 100
            a, b = np.array(pairs).T
            np.testing.assert_allclose(have["scores"][b], scores[a], atol=2e-3)
            assert (have["descriptors"][b] * descriptors[a]).sum(1).min() > 0.999
