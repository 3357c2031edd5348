"""A torch module to one static ONNX file that TensorRT 10.3 to 11 and the CPU runtimes parse."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxsim
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vision_nodes.errors import ModelError
from vision_nodes.export.onnx_file import onnx_session, output_specs, write_onnx

__all__ = ["export_onnx", "onnx_session", "output_specs", "parity", "store_weights_as_half", "write_onnx"]

OPSET = 19  # the first with half-precision Q/DQ scales, and within TensorRT 10.3's parser
HALF_MIN_SIZE = 256  # smaller tensors are not worth a Cast node


FAR_M = 10.0  # where an error of depth begins to count in proportion


def export_onnx(
    module: nn.Module,
    output_names: tuple[str, ...],
    input_wh: tuple[int, int],
    path: Path,
    half: bool = False,
) -> None:
    """Export `module` (uint8 (1, H, W, 3) RGB in) with static shapes, simplified and checked.

    Args:
        half: store large weights in float16 behind a Cast: half the bytes, still float32 arithmetic.

    Raises:
        ModelError: the simplified graph differs from the exported one.
    """
    example = torch.zeros(1, input_wh[1], input_wh[0], 3, dtype=torch.uint8)
    for chatty in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(output_names),
            verbose=False,
        )
    model, equal = onnxsim.simplify(program.model_proto)
    if not equal:
        raise ModelError("a graph that survives simplification", "other outputs", "report the operators")
    if half:
        store_weights_as_half(model)
    write_onnx(model, path)


def store_weights_as_half(model: onnx.ModelProto) -> None:
    """Replace large float32 initialisers by float16 ones and a Cast to float32."""
    casts = []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or value.size < HALF_MIN_SIZE:
            continue
        if np.abs(value).max() > np.finfo(np.float16).max:
            raise ModelError("weights within float16", f"{tensor.name}", "export with half=False")
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], f"cast_{name}", to=TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)


def parity(module: nn.Module, path: Path, images: list[np.ndarray]) -> dict[str, float]:
    """Largest difference between torch and the file over `images`, per output.

    Float outputs: largest absolute difference; of depth beyond 10 m, in proportion to it. Integer outputs: largest share of unequal elements.

    Args:
        images: (H, W, 3) uint8 RGB of the input size; real pictures, since noise exercises little.
    """
    session = onnx_session(path)
    names = [output.name for output in session.get_outputs()]
    worst = dict.fromkeys(names, 0.0)
    for image in images:
        with torch.no_grad():
            expected = module(torch.from_numpy(np.ascontiguousarray(image))[None])
        expected = expected if isinstance(expected, tuple) else (expected,)
        for name, want, have in zip(names, expected, session.run(names, {"image": image[None]})):
            want = want.numpy()
            worst[name] = max(worst[name], _difference(name, want, have))
    return worst


def _difference(name: str, want: np.ndarray, have: np.ndarray) -> float:
    if want.dtype != np.float32:
        return float(np.mean(want != have))
    scale = np.maximum(np.abs(want) / FAR_M, 1.0) if name == "depth" else 1.0
    return float((np.abs(want - have) / scale).max())
