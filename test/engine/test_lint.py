"""Each lint rule finds its fault in a real graph, and nothing in a sound one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toy_models import H, W, segmentation_graph

from vision_nodes.engine.lint import ERROR, WARNING, Finding, lint_model, lint_onnx
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import ModelError

FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64


def graph_of(
    nodes: list[onnx.NodeProto],
    output: tuple[int, list[int | str]],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 19,
) -> onnx.ModelProto:
    """uint8 `image` -> cast to `x` (1, 3, H, W) float -> `nodes` -> `y`."""
    start = [
        helper.make_node("Cast", ["image"], ["float"], "to_float", to=FLOAT),
        helper.make_node("Transpose", ["float"], ["x"], "to_nchw", perm=[0, 3, 1, 2]),
    ]
    for index, node in enumerate(nodes):
        node.name = node.name or f"node{index}"
    graph = helper.make_graph(
        [*start, *nodes],
        "g",
        [helper.make_tensor_value_info("image", UINT8, [1, H, W, 3])],
        [helper.make_tensor_value_info("y", *output)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(op: str, inputs: str = "x", output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), output.split(), **attributes)


def found(model: onnx.ModelProto, rule: int, **options: bool) -> list[Finding]:
    return [f for f in lint_onnx(model.SerializeToString(), **options) if f.rule == rule]


def test_empty_input() -> None:
    for content in (b"", b"no model"):
        with pytest.raises(ModelError, match="ONNX model"):
            lint_onnx(content)


def test_a_sound_file_has_no_findings(toy: Manifest) -> None:
    assert lint_model(toy, dla=True) == {"fp32": [], "int8": []}


CHW = [1, 3, H, W]
FAULTS: dict[str, tuple[int, onnx.ModelProto]] = {
    "old opset": (1, graph_of([node("Relu")], (FLOAT, CHW), opset=13)),
    "int64 output": (6, graph_of([node("ArgMax", axis=1, keepdims=0)], (INT64, [1, H, W]))),
    "float64": (
        6,
        graph_of(
            [
                node("Cast", "x", "d", to=TensorProto.DOUBLE),
                node("Relu", "d", "e"),
                node("Cast", "e", "y", to=FLOAT),
            ],
            (FLOAT, CHW),
        ),
    ),
    "uint8 inside": (
        6,
        graph_of(
            [node("Transpose", "image", "t", perm=[0, 3, 1, 2]), node("Cast", "t", "y", to=FLOAT)],
            (FLOAT, CHW),
        ),
    ),
    "det": (3, graph_of([node("Det")], (FLOAT, [1, 3]))),
    "one hot": (3, graph_of([node("Hardmax")], (FLOAT, CHW))),
    "non zero": (4, graph_of([node("NonZero")], (INT64, [4, "n"]))),
    "axes computed": (
        7,
        graph_of(
            [node("Shape", "x", "s"), node("Gather", "s i", "a"), node("ReduceMax", "x a")],
            (FLOAT, ["a", "b", "c", "d"]),
            {"i": np.array([0])},
        ),
    ),
    "cubic": (
        8,
        graph_of(
            [node("Resize", "x  s", mode="cubic")], (FLOAT, [1, 3, 2 * H, W]), {"s": np.float32([1, 1, 2, 1])}
        ),
    ),
    "antialias": (
        8,
        graph_of(
            [node("Resize", "x  s", mode="linear", antialias=1)],
            (FLOAT, [1, 3, H // 2, W]),
            {"s": np.float32([1, 1, 0.5, 1])},
        ),
    ),
    "dilated pool": (
        9,
        graph_of([node("MaxPool", kernel_shape=[2, 2], dilations=[2, 2])], (FLOAT, [1, 3, H - 2, W - 2])),
    ),
    "pool indices": (
        9,
        graph_of([node("MaxPool", "x", "y i", kernel_shape=[2, 2])], (FLOAT, [1, 3, H - 1, W - 1])),
    ),
    "unsorted": (
        10,
        graph_of([node("TopK", "x k", "y i", sorted=0)], (FLOAT, [1, 3, H, 2]), {"k": np.array([2])}),
    ),
    "scatter add": (
        10,
        graph_of(
            [node("ScatterND", "x i u", reduction="add")],
            (FLOAT, CHW),
            {"i": np.array([[0]]), "u": np.zeros((1, 3, H, W), np.float32)},
        ),
    ),
    "layer norm": (
        10,
        graph_of([node("LayerNormalization", "x s", "y m")], (FLOAT, CHW), {"s": np.ones(W, np.float32)}),
    ),
    "int to uint8": (
        19,
        graph_of(
            [node("ArgMax", "x", "l", axis=1, keepdims=0), node("Cast", "l", "y", to=UINT8)],
            (UINT8, [1, H, W]),
        ),
    ),
    "two of one name": (
        16,
        graph_of([node("Relu", "x", "r", name="a"), node("Relu", "r", "y", name="a")], (FLOAT, CHW)),
    ),
    "not sorted": (16, graph_of([node("Relu", "r", "y"), node("Relu", "x", "r")], (FLOAT, CHW))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    rule, model = FAULTS[fault]
    findings = found(model, rule)
    assert findings and all(f.node and f.reason and f.remedy for f in findings)
    assert findings[0].severity == ERROR


def test_top_k_beyond_the_limit() -> None:
    shape = {"r": np.array([1, -1]), "k": np.array([4000])}
    nodes = [node("Concat", "x " * 10, "c", axis=1), node("Reshape", "c r", "f"), node("TopK", "f k", "y i")]
    assert found(graph_of(nodes, (FLOAT, [1, 4000]), shape), 10)
    assert not found(graph_of(nodes, (FLOAT, [1, 300]), {**shape, "k": np.array([300])}), 10)


def test_resize_by_sizes_is_a_warning() -> None:
    nodes = [node("Resize", "x   s", mode="linear")]
    nodes[0].ClearField("input")
    nodes[0].input.extend(["x", "", "", "s"])
    model = graph_of(nodes, (FLOAT, [1, 3, 24, 32]), {"s": np.array([1, 3, 24, 32])})
    assert [f.severity for f in found(model, 8)] == [WARNING]


def test_versions_and_domains() -> None:
    model = segmentation_graph()
    model.ir_version = 12
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    rules = {f.rule for f in lint_onnx(model.SerializeToString())}
    assert {1, 2} <= rules


def test_a_plugin_operator() -> None:
    model = graph_of([helper.make_node("EfficientNMS_TRT", ["x"], ["y"], "nms", domain="TRT")], (FLOAT, CHW))
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    assert found(model, 18)


def test_an_open_height() -> None:
    model = graph_of([node("Relu")], (FLOAT, [1, 3, "h", W]))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "h"
    assert {f.node for f in found(model, 5) if f.severity == ERROR} == {"image", "y"}


def test_an_open_batch_is_a_warning_and_for_the_dla_an_error() -> None:
    model = segmentation_graph()
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    assert {f.severity for f in found(model, 5)} == {WARNING}
    assert [f.severity for f in found(model, 17, dla=True)] == [ERROR]


def altered(change: Callable[[onnx.GraphProto], None]) -> onnx.ModelProto:
    """The quantized test network with one thing changed."""
    model = segmentation_graph(quantized=True)
    change(model.graph)
    return model


def set_constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    tensor = next(t for t in graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), name))


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (11, lambda g: set_constant(g, "xz", np.int8(3))),
        (11, lambda g: set_constant(g, "xz", np.uint8(0))),
        (11, lambda g: set_constant(g, "xs", np.float32(-0.1))),
        (11, lambda g: next(n for n in g.node if n.name == "dq_w").attribute[0].__setattr__("i", 1)),
        (12, lambda g: next(n for n in g.node if n.name == "conv").input.__setitem__(0, "x_q")),
        (13, lambda g: set_constant(g, "xs", np.float32(1e-6))),
    ],
    ids=["zero-point", "uint8", "negative scale", "axis", "Q without DQ", "tiny scale"],
)
def test_a_quantization_fault_is_found(rule: int, change: Callable[[onnx.GraphProto], None]) -> None:
    assert found(altered(change), rule)


def test_per_channel_scales_on_an_activation() -> None:
    constants = {"s": np.full(3, 0.5, np.float32), "z": np.zeros(3, np.int8)}
    nodes = [node("QuantizeLinear", "x s z", "q", axis=1), node("DequantizeLinear", "q s z", axis=1)]
    assert found(graph_of(nodes, (FLOAT, CHW), constants), 11)


def quantized_pair(tail: list[onnx.NodeProto], group: int = 1) -> onnx.ModelProto:
    """Q/DQ -> conv `c` -> `tail`."""
    rng = np.random.default_rng(0)
    constants = {
        "s": np.float32(0.5),
        "z": np.int8(0),
        "w": rng.integers(-127, 128, (3, 3 // group, 1, 1)).astype(np.int8),
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w s z", "wd"),
        node("Conv", "d wd", "c", group=group),
        *tail,
    ]
    return graph_of(nodes, (FLOAT, CHW), constants)


def test_placement() -> None:
    between = [
        node("QuantizeLinear", "c s z", "cq"),
        node("DequantizeLinear", "cq s z", "cd"),
        node("Relu", "cd"),
    ]
    assert found(quantized_pair(between), 12)
    assert not found(quantized_pair([node("Relu", "c")]), 12)
    assert [f.severity for f in found(quantized_pair([node("Add", "c x")]), 12)] == [WARNING]
    assert not found(quantized_pair([node("Add", "c d")]), 12)


def test_quantized_depthwise_is_a_warning() -> None:
    assert [f.severity for f in found(quantized_pair([node("Relu", "c")], group=3), 14)] == [WARNING]


def test_half_precision() -> None:
    half = TensorProto.FLOAT16
    nodes = [
        node("Cast", "x", "h", to=half),
        node("Mul", "h w", "m"),
        node("Softmax", "m", "s", axis=1),
        node("Cast", "s", "y", to=FLOAT),
    ]
    assert [f.severity for f in found(graph_of(nodes, (FLOAT, CHW), {"w": np.float16(2)}), 13)] == [WARNING]
    overflow = found(graph_of(nodes, (FLOAT, CHW), {"w": np.float16(np.inf)}), 13)
    assert overflow[0].severity == ERROR


def test_findings_are_sorted_and_hashable() -> None:
    findings = lint_onnx(FAULTS["uint8 inside"][1].SerializeToString())
    assert findings == sorted(findings, key=lambda f: (f.severity != ERROR, f.rule, f.node))
    assert dataclasses.asdict(findings[0])["rule"] == 6
