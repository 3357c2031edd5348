"""FP16 files for TensorRT, derived from the FP32 or the Q/DQ file of a model.

Convolutions and what lies between them compute in half precision. The picture's preparation, everything after
the last convolution (decoding: a half-precision box at 400 px is off by up to 0.1 px) and the operators that
lose digits stay in float32. What a CPU makes of the result is no reference: ONNX Runtime's multiplies half-precision
scales that underflow.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vision_nodes.engine.lint import ERROR, lint_onnx
from vision_nodes.engine.lint_quantized import SMALLEST_SCALE
from vision_nodes.engine.manifest import Manifest, ModelFile
from vision_nodes.errors import ModelError
from vision_nodes.export.onnx_file import write_onnx

QUANTIZING = ("QuantizeLinear", "DequantizeLinear")  # their scale has the type of what they feed
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Sums and exponentials of many values, and operators with inputs that must be float32.
SENSITIVE = frozenset({
    "Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "ReduceSum",
    "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "GlobalAveragePool", "CumSum", "Exp",
    "Log", "Pow", "Reciprocal", "TopK", "GridSample", "Range", "Resize", "Cast", "Constant", "ConstantOfShape",
})  # fmt: skip
MIN_OPSET = 19  # half-precision Q/DQ scales
LARGEST = 65504.0


SOURCES = {"fp16": "fp32", "int8_fp16": "int8"}  # derived precision -> what it is derived from


def add_half(manifest: Manifest) -> Manifest:
    """The manifest with a half-precision file beside every FP32 and INT8 one; the files are written.

    Raises:
        ModelError: as `derive_half`. OSError: as `derive_half`.
    """
    assert manifest.path is not None
    files = dict(manifest.files)
    for precision, source in SOURCES.items():
        if source in files:
            target = manifest.path.parent / f"{manifest.name}_{precision}.onnx"
            derive_half(manifest.file_for(source), target)
            files[precision] = ModelFile.of(target)
    return replace(manifest, files=files)


def derive_half(source: Path, target: Path) -> None:
    """Write the half-precision form of `source`.

    Raises:
        ModelError: an old opset, weights or scales beyond half precision, or a result that TensorRT refuses.
        OSError: the directory is not writable; what was there is untouched.
    """
    model = onnx.load(source)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < MIN_OPSET:
        raise ModelError(
            f"opset {MIN_OPSET} for half precision", f"{opset} in {source.name}", "export it again"
        )
    model = _plain(model)
    _check_range(model, source.name)
    _raise_weight_scales(model)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    half = _converted(model, set(kept_in_float32(model)))
    findings = [finding for finding in lint_onnx(half.SerializeToString()) if finding.severity == ERROR]
    if findings:
        received = "; ".join(f"{finding.node}: {finding.reason}" for finding in findings[:3])
        raise ModelError(
            f"a half-precision form of {source.name} that TensorRT takes", received, findings[0].remedy
        )
    write_onnx(half, target)


def kept_in_float32(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes before the first convolution of their branch, after the last, and the sensitive ones."""
    after: set[str] = set()  # tensors that hang on a convolution
    for node in model.graph.node:
        if node.op_type in HEAVY or after.intersection(node.input):
            after.update(node.output)
    needed: set[str] = set()  # tensors that some convolution hangs on
    kept: list[str] = []
    prepared = _fed_by_constants(model)
    for node in reversed(model.graph.node):
        feeds = bool(needed.intersection(node.output))
        if node.op_type in HEAVY or feeds:
            needed.update(node.input)
        between = feeds and (bool(after.intersection(node.output)) or node.op_type in QUANTIZING)
        if node.op_type in SENSITIVE or not (node.op_type in HEAVY or node.name in prepared or between):
            kept.append(node.name)
    return kept


def _fed_by_constants(model: onnx.ModelProto) -> set[str]:
    """Nodes that only prepare weights, such as DequantizeLinear of an int8 initializer."""
    known = {tensor.name for tensor in model.graph.initializer}
    names = set()
    for node in model.graph.node:
        if node.input and all(name in known for name in node.input if name):
            known.update(node.output)
            names.add(node.name)
    return names


def _converted(model: onnx.ModelProto, kept: set[str]) -> onnx.ModelProto:
    """All nodes but `kept` in half precision, with a Cast wherever a tensor crosses over."""
    graph = model.graph
    infos = [*graph.value_info, *graph.input, *graph.output]
    floats = {v.name for v in infos if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    outputs = {output.name for output in graph.output}
    is_half: dict[str, bool] = {}  # float tensor -> its type now
    names: dict[tuple[str, bool], str] = {}  # (tensor, wanted half) -> the tensor that has it so
    nodes: list[onnx.NodeProto] = []

    def as_type(name: str, half: bool) -> str:
        if name in weights:
            return _half_weight(graph, weights[name]) if half else name
        if name not in is_half or is_half[name] == half:
            return name
        if (name, half) not in names:
            names[name, half] = f"{name}_{'half' if half else 'float'}"
            kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            cast = helper.make_node("Cast", [name], [names[name, half]], f"cast_{names[name, half]}", to=kind)
            nodes.append(cast)
        return names[name, half]

    for node in list(graph.node):
        half = node.name not in kept
        for index, name in enumerate(node.input):
            node.input[index] = as_type(name, half)
        renamed = {name: f"{name}_before_cast" for name in node.output if half and name in outputs & floats}
        for index, name in enumerate(node.output):
            node.output[index] = renamed.get(name, name)
            is_half |= {node.output[index]: half} if name in floats else {}
        nodes.append(node)
        for name, before in renamed.items():
            nodes.append(helper.make_node("Cast", [before], [name], f"cast_{name}", to=TensorProto.FLOAT))
            is_half[name] = False
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return model


def _half_weight(graph: onnx.GraphProto, tensor: TensorProto) -> str:
    """Name of the float16 copy of an initializer, made at the first asking."""
    name = f"{tensor.name}_half"
    if all(other.name != name for other in graph.initializer):
        value = numpy_helper.to_array(tensor).astype(np.float16)
        graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights stored in float16 behind a Cast become float32 initializers: the converter decides anew."""
    halves = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
    for node in [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in halves]:
        tensor = halves[node.input[0]]
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0])
        )
        model.graph.node.remove(node)
    return model


def _check_range(model: onnx.ModelProto, name: str) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
            if not largest <= LARGEST:
                raise ModelError(
                    f"weights within half precision in {name}", f"{tensor.name} {largest}", "keep FP32"
                )
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[1] in constants:
            scale = numpy_helper.to_array(constants[node.input[1]])
            if float(scale.min()) < SMALLEST_SCALE:
                received = f"{float(scale.min()):.2g} of {node.name}"
                raise ModelError(
                    f"scales of at least {SMALLEST_SCALE}", received, "leave that layer unquantized"
                )


def _raise_weight_scales(model: onnx.ModelProto) -> None:
    """Channels of weights so small that their scale would underflow get the smallest scale; zeros stay zeros."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        stored, scales = (constants[name] for name in node.input[:2])
        weight, scale = numpy_helper.to_array(stored), numpy_helper.to_array(scales)
        if scale.ndim != 1 or float(scale.min()) >= SMALLEST_SCALE:
            continue
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        raised = np.maximum(scale, SMALLEST_SCALE * 1.01).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        ratio = (scale / raised).reshape(shape)
        stored.CopyFrom(numpy_helper.from_array(np.rint(weight * ratio).astype(np.int8), stored.name))
        scales.CopyFrom(numpy_helper.from_array(raised, scales.name))
