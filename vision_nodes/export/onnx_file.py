"""ONNX files: written atomically and checked, described for the manifest, opened for the CPU. Without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from vision_nodes.engine.fields import write_atomically
from vision_nodes.engine.manifest import OutputSpec

_DTYPES = {TensorProto.FLOAT: "float32", TensorProto.INT32: "int32", TensorProto.UINT8: "uint8"}


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write checked bytes atomically, with only the opset imports the graph uses and no build paths.

    Raises:
        OSError: the directory is not writable or the disk is full; what was there is untouched.
    """
    used = {node.domain for node in model.graph.node}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    model.producer_name = "vision_nodes"
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, model.SerializeToString(deterministic=True))


def output_specs(path: Path) -> dict[str, OutputSpec]:
    """Names, dtypes and shapes of an ONNX file's outputs, for the manifest."""
    return specs_of(onnx.load(path))


def specs_of(model: onnx.ModelProto) -> dict[str, OutputSpec]:
    """Names, dtypes and shapes of a model's outputs; an open axis is 0."""
    specs = {}
    for output in model.graph.output:
        kind = output.type.tensor_type
        shape = tuple(axis.dim_value for axis in kind.shape.dim)
        specs[output.name] = OutputSpec(_DTYPES.get(kind.elem_type, str(kind.elem_type)), shape)
    return specs


def onnx_session(model: Path | bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """A CPU session that does not spin."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def without_half_casts(model: onnx.ModelProto) -> onnx.ModelProto:
    """Undo `onnx.store_weights_as_half`: quantizers must see float32 initialisers."""
    halves = {tensor.name: tensor for tensor in model.graph.initializer}
    casts = [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in halves]
    for node in casts:
        tensor = halves[node.input[0]]
        value = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, node.output[0]))
        model.graph.node.remove(node)
    return model
