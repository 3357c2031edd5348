"""Small ONNX files with the output layouts of public networks, and exactly known values.

Every file takes a float picture and adds 0 * its mean to stored tensors, so that outputs hang on the input
and no optimiser folds them away.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_head(
    path: Path,
    outputs: dict[str, np.ndarray],
    *,
    input_shape: tuple[object, ...] = (1, 3, 64, 64),
    opset: int = 17,
    metadata: dict[str, str] | None = None,
    half: bool = False,
) -> Path:
    """A network whose outputs are `outputs`, whatever the picture."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    real = np.float16 if half else np.float32
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean4"], "mean4"),
        helper.make_node("ReduceMax", ["mean4"], ["mean"], "mean", keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"], "nothing"),
    ]
    constants, infos = [numpy_helper.from_array(np.array(0, real), "zero")], []
    for name, value in outputs.items():
        integer = value.dtype.kind == "i"
        stored = value.astype(real)
        constants.append(numpy_helper.from_array(stored, f"{name}_stored"))
        last = f"{name}_float" if integer else name
        nodes.append(helper.make_node("Add", [f"{name}_stored", "nothing"], [last], f"add_{name}"))
        if integer:
            nodes.append(helper.make_node("Cast", [last], [name], f"cast_{name}", to=TensorProto.INT64))
        infos.append(helper.make_tensor_value_info(name, TensorProto.INT64 if integer else kind, value.shape))
    picture = helper.make_tensor_value_info("images", kind, list(input_shape))
    graph = helper.make_graph(nodes, "head", [picture], infos, constants)
    return save(graph, path, opset, metadata)


def save_echo(path: Path, layout: str = "nchw", input_shape: tuple[object, ...] = (1, 3, 32, 48)) -> Path:
    """A network that returns the picture as it reaches it: shows how it was prepared."""
    nodes = [helper.make_node("Identity", ["x"], ["logits"], "echo")]
    shape = list(input_shape)
    graph = helper.make_graph(
        nodes,
        "echo",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    return save(graph, path)


def save(graph: onnx.GraphProto, path: Path, opset: int = 17, metadata: dict[str, str] | None = None) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def boxes_cxcywh(rng: np.random.Generator, count: int, side: float) -> np.ndarray:
    """(count, 4) float32 boxes that do not overlap much: one per cell of a raster."""
    across = int(np.ceil(np.sqrt(count)))
    cell = side / across
    index = np.arange(count)
    centre = (np.stack((index % across, index // across), 1) + rng.uniform(0.45, 0.55, (count, 2))) * cell
    return np.concatenate((centre, rng.uniform(0.5, 0.9, (count, 2)) * cell), 1).astype(np.float32)


def corners(cxcywh: np.ndarray) -> np.ndarray:
    """(N, 4) centre and size -> xyxy, box by box."""
    return np.array([[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h in cxcywh], np.float32)
