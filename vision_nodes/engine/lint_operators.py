"""Operators as TensorRT's ONNX parser wants them (rules 3, 4, 7 to 10, 18 and 19 of docs/onnx_rules.md)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from vision_nodes.engine.lint_graph import WARNING, Finding, Graph

_ALLOWED = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike
    Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace
    DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements
    GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization
    HardSigmoid HardSwish Identity InstanceNormalization IsNaN LRN LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax LpNormalization MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow
    QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu
    Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum
    Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
ALLOWED = frozenset(_ALLOWED.split())
DATA_DEPENDENT = frozenset({"NonZero", "NonMaxSuppression", "If", "Loop", "Scan", "Compress", "Unique"})
# operator -> inputs that must be constants
CONSTANT_INPUTS = {
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Pad": (1, 3),
    "Slice": (3, 4),
    "CumSum": (1,),
    "TopK": (1,),
}
COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
NEAREST = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
MAX_K = 3839


def check_operators(graph: Graph) -> Iterator[Finding]:
    """Findings about single nodes."""
    for node in graph.nodes:
        label = graph.label(node)
        if node.domain not in ("", "ai.onnx"):
            reason = f"domain '{node.domain}' needs a plugin, which ties the file to one runtime"
            yield Finding(18, label, reason, "express it with standard operators")
        elif node.op_type in DATA_DEPENDENT:
            remedy = "use a fixed-size TopK and do the rest in NumPy"
            yield Finding(4, label, "shape depends on the data, or control flow", remedy)
        elif node.op_type not in ALLOWED:
            yield Finding(
                3, label, "no importer in TensorRT 10.3 to 11", "replace it with supported operators"
            )
        yield from _constant_inputs(graph, node)
        for check in _CHECKS.get(node.op_type, ()):
            yield from check(graph, node)


def _constant_inputs(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    indices = (1,) if node.op_type.startswith("Reduce") else CONSTANT_INPUTS.get(node.op_type, ())
    for index in indices:
        name = graph.input(node, index)
        if name and name not in graph.constants:
            reason = f"input {index} ({name}) must be an initializer"
            yield Finding(7, graph.label(node), reason, "run onnxsim, or make it a constant in the module")


def _resize(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    wanted = {
        "mode": ("nearest", ("nearest", "linear")),
        "antialias": (0, (0,)),
        "keep_aspect_ratio_policy": ("stretch", ("stretch",)),
        "coordinate_transformation_mode": ("half_pixel", COORDINATES),
        "nearest_mode": ("round_prefer_floor", NEAREST),
    }
    for name, (default, allowed) in wanted.items():
        value = graph.attribute(node, name, default)
        if value not in allowed:
            yield Finding(8, graph.label(node), f"{name} = {value}", f"use {' or '.join(map(str, allowed))}")
    if graph.input(node, 3):
        reason = "given by sizes; the parser handles scales better"
        yield Finding(8, graph.label(node), reason, "interpolate by scale_factor", WARNING)


def _pool(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    if any(d != 1 for d in graph.attribute(node, "dilations", [])):
        yield Finding(9, graph.label(node), "dilated pooling", "use dilation 1")
    if len(node.output) > 1 and node.output[1]:
        yield Finding(9, graph.label(node), "indices output", "compare with the pooled map instead")
    rank = len(graph.shape_of(node.input[0]) or [0] * 4)
    if rank not in (4, 5):
        yield Finding(9, graph.label(node), f"{rank - 2}-D pooling", "reshape to 2-D")


def _grid_sample(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    shape = graph.shape_of(node.input[0])
    if shape is not None and len(shape) != 4:
        yield Finding(10, graph.label(node), f"{len(shape)}-D input", "use a 4-D input")


def _scatter_nd(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    if graph.attribute(node, "reduction", "none") != "none":
        yield Finding(10, graph.label(node), "reduction", "accumulate with other operators")


def _top_k(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    if not graph.attribute(node, "sorted", 1):
        yield Finding(10, graph.label(node), "sorted = 0", "ask for sorted results")
    k = graph.constants.get(graph.input(node, 1), np.array([0])).reshape(-1)[0]
    if k > MAX_K:
        yield Finding(10, graph.label(node), f"K = {k}", f"K at most {MAX_K}")


def _layer_norm(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    if any(node.output[1:]):
        yield Finding(10, graph.label(node), "mean or deviation output is used", "use the first output only")


def _cast(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    source, target = graph.type_of(node.input[0]), graph.attribute(node, "to")
    for this, other in ((source, target), (target, source)):
        if this == TensorProto.UINT8 and other not in (*floats, 0):
            name = TensorProto.DataType.Name(other)
            yield Finding(19, graph.label(node), f"uint8 <-> {name} is refused", "cast to float in between")


_CHECKS = {
    "Resize": (_resize,),
    "MaxPool": (_pool,),
    "AveragePool": (_pool,),
    "GridSample": (_grid_sample,),
    "ScatterND": (_scatter_nd,),
    "TopK": (_top_k,),
    "LayerNormalization": (_layer_norm,),
    "Cast": (_cast,),
}
