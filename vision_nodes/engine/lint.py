"""Whether an ONNX file will build on TensorRT 10.3 to 11: the rules of docs/onnx_rules.md, without TensorRT.

Needs ``onnx`` (extras ``train`` and ``test``).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from vision_nodes.engine.lint_graph import ERROR, WARNING, Finding, Graph
from vision_nodes.engine.lint_operators import check_operators
from vision_nodes.engine.lint_quantized import check_quantization
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import ModelError

__all__ = ["ERROR", "WARNING", "Finding", "lint_model", "lint_onnx"]

OPSETS, HALF_SCALES_SINCE, MAX_IR = range(17, 21), 19, 10
IO_TYPES = (TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT8)
DLA_BATCH, DLA_AXIS = 4096, 8192


def lint_model(manifest: Manifest, *, dla: bool = False) -> dict[str, list[Finding]]:
    """Precision -> findings for every file of a model.

    Raises:
        ModelError: a file is missing, altered, or not ONNX.
    """
    return {precision: lint_onnx(manifest.read_file(precision), dla=dla) for precision in manifest.files}


def lint_onnx(content: bytes, *, dla: bool = False) -> list[Finding]:
    """Findings for one file, errors first, then by rule.

    Args:
        content: a serialized ONNX model.
        dla: also check the limits of a Jetson's deep learning accelerator.

    Raises:
        ModelError: the bytes are not an ONNX model.
    """
    try:
        graph = Graph(onnx.load_model_from_string(content))
    except Exception as error:  # protobuf's and shape inference's own classes
        raise ModelError("an ONNX model", f"{len(content)} bytes: {error}", "export it again") from error
    if not graph.nodes:
        raise ModelError("an ONNX model with nodes", f"{len(content)} bytes without any", "export it again")
    findings = [
        *_versions(graph),
        *_shapes(graph),
        *_types(graph),
        *_hygiene(graph, content),
        *check_operators(graph),
        *check_quantization(graph),
        *(_dla(graph) if dla else ()),
    ]
    return sorted(set(findings), key=lambda f: (f.severity != ERROR, f.rule, f.node))


def _versions(graph: Graph) -> Iterator[Finding]:
    model, quantized = graph.model, any(node.op_type == "QuantizeLinear" for node in graph.nodes)
    if graph.opset not in OPSETS:
        yield Finding(1, "model", f"opset {graph.opset}; TensorRT 10.3 documents up to 20", "export opset 19")
    elif quantized and graph.opset < HALF_SCALES_SINCE:
        reason = f"opset {graph.opset}: half-precision scales need 19"
        yield Finding(1, "model", reason, "export opset 19 before deriving FP16", WARNING)
    if model.ir_version > MAX_IR:
        yield Finding(1, "model", f"IR version {model.ir_version}", f"write IR version {MAX_IR} or less")
    for imported in model.opset_import:
        if imported.domain not in ("", "ai.onnx"):
            yield Finding(2, "model", f"opset import '{imported.domain}'", "remove imports that are not used")


def _shapes(graph: Graph) -> Iterator[Finding]:
    for value in [*graph.graph.input, *graph.graph.output]:
        for index, axis in enumerate(graph.shape_of(value.name) or ["?"]):
            if isinstance(axis, int) and axis > 0:
                continue
            if index == 0:
                yield Finding(5, value.name, f"open batch axis '{axis}'", "export a fixed batch", WARNING)
            else:
                yield Finding(5, value.name, f"open axis {index} '{axis}'", "export static shapes")
    for node in graph.nodes:
        shape = graph.shape_of(node.output[0])
        if shape is not None and not all(isinstance(axis, int) for axis in shape[1:]):
            yield Finding(
                5, graph.label(node), f"shape {shape} is not static", "export static shapes", WARNING
            )


def _types(graph: Graph) -> Iterator[Finding]:
    for value in [*graph.graph.input, *graph.graph.output]:
        kind = graph.type_of(value.name)
        if kind not in IO_TYPES:
            name = TensorProto.DataType.Name(kind)
            remedy = "cast to int32" if kind == TensorProto.INT64 else "use float32, int32 or uint8"
            yield Finding(6, value.name, f"{name} as input or output", remedy)
    for node in graph.nodes:
        types = {graph.type_of(name) for name in (*node.input, *node.output) if name}
        if TensorProto.DOUBLE in types:
            yield Finding(6, graph.label(node), "float64", "compute in float32")
        if TensorProto.UINT8 in types and node.op_type not in ("Cast", "QuantizeLinear", "DequantizeLinear"):
            reason = "uint8 inside the graph; TensorRT knows it only at inputs and outputs"
            yield Finding(6, graph.label(node), reason, "cast to float first, to uint8 last")


def _hygiene(graph: Graph, content: bytes) -> Iterator[Finding]:
    for name, count in graph.name_counts.items():
        if not name:
            reason = f"{count} nodes without a name"
            yield Finding(16, "model", reason, "name them: logs and profiles speak of names", WARNING)
        elif count > 1:
            yield Finding(16, name, f"{count} nodes of this name", "give each its own name")
    try:
        onnx.checker.check_model(content, full_check=True)
    except Exception as error:
        yield Finding(16, "model", f"onnx.checker: {str(error).strip()}", "repair or export again")
    yield from _loads(content)


def _loads(content: bytes) -> Iterator[Finding]:
    import onnxruntime

    from vision_nodes.engine.onnxruntime import session_options

    try:
        onnxruntime.InferenceSession(content, session_options(1), providers=["CPUExecutionProvider"])
    except Exception as error:
        yield Finding(16, "model", f"ONNX Runtime cannot load it: {error}", "repair or export again")


def _dla(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes:
        shape = graph.shape_of(node.output[0]) or []
        axes = [axis for axis in shape if isinstance(axis, int)]
        if len(shape) > 4 or (axes and (axes[0] > DLA_BATCH or max(axes[1:], default=0) > DLA_AXIS)):
            yield Finding(17, graph.label(node), f"shape {shape} on the DLA", "at most 4-D, 4096 x 8192 each")
    for value in graph.graph.input:
        if not all(isinstance(axis, int) for axis in graph.shape_of(value.name) or ["?"]):
            yield Finding(17, value.name, "the DLA wants min = opt = max", "export static shapes")
