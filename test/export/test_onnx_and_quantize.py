"""Export parity and Q/DQ placement on a tiny network that has the patterns that matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from torch import nn

from vision_nodes.export.measure import OnnxGraph, time_file
from vision_nodes.export.onnx import export_onnx, output_specs, parity
from vision_nodes.export.quantize import Recipe, choose_recipe, quantize, sensitive_layers
from vision_nodes.networks.deploy import SegmentationGraph


class Tiny(nn.Module):
    """Conv, BN and ReLU, a residual, a depthwise convolution and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU()
        )
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        x = self.stem(tensor / 127.5 - 1)
        return self.head(x + self.deep(x))


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (10, 4, 6, 3), dtype=np.uint8)
    return [np.kron(image, np.ones((8, 8, 1), np.uint8)) for image in coarse]


@pytest.fixture(scope="module")
def graph(pictures: list[np.ndarray]) -> SegmentationGraph:
    torch.manual_seed(1)
    network = Tiny().train()
    for image in pictures:  # so that batch norm has something to fold
        network(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    return SegmentationGraph(network, (48, 32), 1).eval()


@pytest.fixture(scope="module")
def exported(graph: SegmentationGraph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    export_onnx(graph, graph.output_names, (48, 32), path)
    return path


def test_export_keeps_the_contract_and_the_numbers(
    graph: SegmentationGraph, exported: Path, pictures: list[np.ndarray]
) -> None:
    specs = output_specs(exported)
    assert specs["labels"].dtype == "uint8" and specs["labels"].shape == (1, 32, 48)
    assert specs["confidence"].dtype == "float32"
    differences = parity(graph, exported, pictures)
    assert differences["labels"] < 0.002 and differences["confidence"] < 1e-4
    model = onnx.load(exported)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]


def test_parity_notices_another_network(exported: Path, pictures: list[np.ndarray]) -> None:
    torch.manual_seed(7)
    other = SegmentationGraph(Tiny(), (48, 32), 1).eval()
    assert parity(other, exported, pictures)["confidence"] > 0.01


def test_half_storage_computes_in_float32(
    graph: SegmentationGraph, tmp_path: Path, pictures: list[np.ndarray], exported: Path
) -> None:
    path = tmp_path / "half.onnx"
    export_onnx(graph, graph.output_names, (48, 32), path, half=True)
    kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer if np.prod(tensor.dims) >= 256}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert parity(graph, path, pictures)["confidence"] < 5e-3


def test_quantized_placement_is_what_tensorrt_fuses(
    exported: Path, tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    target = tmp_path / "tiny_int8.onnx"
    quantize(exported, target, pictures, Recipe("minmax"))
    model = onnx.load(target)
    assert {entry.domain for entry in model.opset_import} == {""}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = producers[node.input[1]]
            assert weight.op_type == "DequantizeLinear"
            assert constants[weight.input[0]].data_type == onnx.TensorProto.INT8
            assert producers[node.input[0]].op_type == "DequantizeLinear"
            assert node.input[2] in constants  # the bias stays float
        if node.op_type == "Relu":
            assert producers[node.input[0]].op_type == "Conv"
        if node.op_type == "QuantizeLinear":
            assert onnx.numpy_helper.to_array(constants[node.input[2]]) == 0  # symmetric


def test_quantized_labels_agree_in_openvino(
    exported: Path, tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    target = tmp_path / "tiny_int8.onnx"
    quantize(exported, target, pictures, Recipe("minmax"))
    images = torch.from_numpy(np.stack(pictures))
    float_labels = OnnxGraph(exported, "fp32")(images)[0]
    int8_labels = OnnxGraph(target, "int8")(images)[0]
    assert float((float_labels == int8_labels).float().mean()) > 0.93
    assert min(time_file(target, pictures[0]).values()) > 0


def test_excluded_layers_stay_float(exported: Path, tmp_path: Path, pictures: list[np.ndarray]) -> None:
    worst = sensitive_layers(exported, pictures, "minmax", 2)
    target = tmp_path / "tiny_int8.onnx"
    quantize(exported, target, pictures, Recipe("minmax", tuple(worst)))
    model = onnx.load(target)
    producers = {output: node for node in model.graph.node for output in node.output}
    plain = [n.name for n in model.graph.node if n.op_type == "Conv" and n.input[1] not in producers]
    assert sorted(plain) == sorted(worst)


def test_choice_stops_at_the_first_good_recipe_and_goes_on_after_bad_ones(
    exported: Path, pictures: list[np.ndarray]
) -> None:
    recipe, value = choose_recipe(exported, pictures, lambda path: 1.0, floor=0.5)
    assert recipe == Recipe("minmax") and value == 1.0
    sizes: list[int] = []

    def grudging(path: Path) -> float:
        sizes.append(path.stat().st_size)
        return 0.1 * len(sizes)

    recipe, _ = choose_recipe(exported, pictures, grudging, floor=0.35)
    assert len(sizes) == 4 and len(recipe.excluded) > 2
