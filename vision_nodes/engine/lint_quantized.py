"""Q/DQ placement and half precision as TensorRT fuses them (rules 11 to 14 of docs/onnx_rules.md)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from vision_nodes.engine.lint_graph import WARNING, Finding, Graph

SMALLEST_SCALE = 6.1e-5  # smallest normal half-precision number: below it a scale loses its digits
LARGEST_HALF = 65504.0
# operator -> axis of its weight's output channels
WEIGHT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": 1}
REDUCTIONS = ("LayerNormalization", "Softmax", "ReduceSum", "ReduceMean", "ReduceL2")
Q, DQ = "QuantizeLinear", "DequantizeLinear"


def check_quantization(graph: Graph) -> Iterator[Finding]:
    """Findings about quantized and half-precision files; none for plain FP32."""
    for node in graph.nodes:
        if node.op_type in (Q, DQ):
            yield from _scheme(graph, node)
            yield from _pairs(graph, node)
        elif node.op_type in ("Conv", "ConvTranspose"):
            yield from _convolution(graph, node)
        elif node.op_type == "Add":
            yield from _residual(graph, node)
    yield from _half_precision(graph)


def _scheme(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    label = graph.label(node)
    scale = graph.constants.get(graph.input(node, 1))
    if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
        remedy = "quantize with calibrated constants"
        yield Finding(11, label, "scale is not a positive initializer", remedy)
        return
    if scale.min() < SMALLEST_SCALE:
        is_half = scale.dtype == np.float16
        reason = f"scale {float(scale.min()):.2g} is below {SMALLEST_SCALE}: it underflows in half precision"
        yield Finding(13, label, reason, "leave this tensor unquantized", "error" if is_half else WARNING)
    zero = graph.constants.get(graph.input(node, 2))
    if zero is not None and zero.dtype != np.int8:
        if zero.dtype == np.int32:
            yield Finding(12, label, "quantized bias", "quantize with QuantizeBias = False")
        else:
            yield Finding(11, label, f"{zero.dtype} instead of int8", "quantize to QInt8")
    elif zero is not None and zero.any():
        yield Finding(11, label, "zero-point is not 0", "quantize symmetrically")
    elif zero is None and node.op_type == Q:
        yield Finding(11, label, "no zero-point, hence uint8", "give an int8 zero-point of 0")
    if scale.size > 1:
        yield from _per_channel(graph, node)


def _per_channel(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    label = graph.label(node)
    source = graph.producer(node, 0)
    from_constant = node.input[0] in graph.constants
    from_weights = source is not None and source.op_type == Q and source.input[0] in graph.constants
    if not (from_constant or from_weights):
        yield Finding(11, label, "per-channel scales on an activation", "per tensor for activations")
        return
    axis = graph.attribute(node, "axis", 1)
    for user in graph.consumers[node.output[0]] if node.op_type == DQ else []:
        wanted = WEIGHT_AXIS.get(user.op_type)
        if user.op_type == "Gemm" and not graph.attribute(user, "transB", 0):
            wanted = 1
        if wanted is not None and axis != wanted:
            yield Finding(11, label, f"axis {axis} for {user.op_type}", f"axis {wanted}, the output channels")


def _pairs(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    label = graph.label(node)
    if node.op_type == Q:
        users = graph.consumers[node.output[0]]
        if not users or any(user.op_type != DQ for user in users):
            yield Finding(12, label, "not followed by its DequantizeLinear", "keep Q and DQ together")
        source = graph.producer(node, 0)
        relu_follows = any(u.op_type == "Relu" for dq in users for u in graph.consumers[dq.output[0]])
        if source is not None and source.op_type == "Conv" and relu_follows:
            yield Finding(
                12, label, "Q/DQ between Conv and Relu blocks their fusion", "quantize after the Relu"
            )
        return
    source = graph.producer(node, 0)
    if node.input[0] not in graph.constants and (source is None or source.op_type != Q):
        yield Finding(12, label, "without its QuantizeLinear", "keep Q and DQ together")


def _is_quantized(graph: Graph, node: NodeProto | None) -> bool:
    source = graph.producer(node, 0) if node is not None and node.op_type == "Conv" else None
    return source is not None and source.op_type == DQ


def _convolution(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    bias = graph.producer(node, 2)
    if bias is not None and bias.op_type == DQ:
        yield Finding(12, graph.label(node), "quantized bias", "quantize with QuantizeBias = False")
    weight, group = graph.shape_of(node.input[1]), graph.attribute(node, "group", 1)
    if weight and group > 1 and group == weight[0] and _is_quantized(graph, node):
        reason = "quantized depthwise convolution: some TensorRT versions have no kernel for it"
        yield Finding(14, graph.label(node), reason, "build it on the target, or exclude it", WARNING)


def _residual(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    if any(name in graph.constants for name in node.input):
        return
    sources = [graph.producer(node, index) for index in range(2)]
    has_dq = any(source is not None and source.op_type == DQ for source in sources)
    if any(_is_quantized(graph, source) for source in sources) and not has_dq:
        reason = "sum of a quantized Conv and a branch without Q/DQ: not fused"
        yield Finding(12, graph.label(node), reason, "quantize the skip branch", WARNING)


def _half_precision(graph: Graph) -> Iterator[Finding]:
    halves = {name: a for name, a in graph.constants.items() if a.dtype == np.float16}
    for name, array in halves.items():
        largest = float(np.abs(array.astype(np.float64)).max(initial=0.0))
        if not largest <= LARGEST_HALF:
            yield Finding(13, name, f"value {largest} beyond half precision", "keep this tensor in FP32")
    if not halves:
        return
    for node in graph.nodes:
        if node.op_type in REDUCTIONS and graph.type_of(node.output[0]) == TensorProto.FLOAT16:
            yield Finding(13, graph.label(node), "reduction in half precision", "keep it in FP32", WARNING)
