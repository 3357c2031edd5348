"""What rounding moved, given back without training: biases and fully connected layers of a quantized file.

Rounding weights and activations shifts the mean of each channel, depthwise layers most (Nagel et al., "Data-Free
Quantization", ICCV 2019, section 4.2). Behind a global mean such shifts add up: they moved the scale of the depth
network by 4 %. Biases are float32 in our placement, so what a layer's mean lost can be added to them. Fully
connected layers behind a global mean are tiny: they go back to float32 and are fitted anew, by least squares, to
say of the rounded features what the float network says of the exact ones (the layer-wise reconstruction of
Hubara et al., "Accurate Post Training Quantization", ICML 2021, in closed form).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from vision_nodes.export.exclusion import back_to_float
from vision_nodes.export.onnx_file import onnx_session, without_half_casts, write_onnx

RIDGE = 0.03  # strength of the pull to the old weights, relative to the mean square of the inputs
CHANNEL_AXIS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1}


def correct_biases(source: Path, quantized: Path, images: list[np.ndarray]) -> None:
    """Shift the biases in `quantized` so that the mean of every channel is that of `source`.

    One layer after the other, in the order of computation: what a late layer has to make up for depends on the
    early ones, and correcting them together overshoots.

    Args:
        source: the float32 file that `quantized` was made from; nodes keep their names.
        quantized: Q/DQ file, rewritten in place.
        images: (H, W, 3) uint8 RGB of the input size; about 16 are enough.
    """
    model = onnx.load(quantized)
    layers = {node.name: node for node in model.graph.node if _correctable(node, model)}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    wanted = _channel_means(without_half_casts(onnx.load(source)), list(layers.values()), images)
    for name, node in layers.items():
        found = _channel_means(model, [node], images)
        bias = constants[node.input[2]]
        values = numpy_helper.to_array(bias).astype(np.float64) + wanted[name] - found[name]
        bias.CopyFrom(numpy_helper.from_array(values.astype(np.float32), bias.name))
    write_onnx(model, quantized)


def refit_linear(source: Path, quantized: Path, images: list[np.ndarray], ridge: float = RIDGE) -> list[str]:
    """Fit every fully connected layer of `quantized` to the float network's answers; returns their names.

    Args:
        source: the float32 file that `quantized` was made from; nodes keep their names.
        quantized: Q/DQ file, rewritten in place.
        images: (H, W, 3) uint8 RGB of the input size; a few hundred, of all that the model will see.
    """
    reference = without_half_casts(onnx.load(source))
    model = onnx.load(quantized)
    names = [node.name for node in model.graph.node if node.op_type == "Gemm" and len(node.input) == 3]
    if not names:
        return []
    model = back_to_float(model, names)
    layers = {node.name: node for node in reference.graph.node if node.name in names}
    wanted = _values(reference, [node.output[0] for node in layers.values()], images)
    for node in [node for node in model.graph.node if node.name in names]:
        inputs = _values(model, [node.input[0]], images)[node.input[0]]
        _fit(model, node, inputs, wanted[layers[node.name].output[0]], ridge)
    write_onnx(model, quantized)
    return names


def _fit(
    model: onnx.ModelProto, node: onnx.NodeProto, inputs: np.ndarray, wanted: np.ndarray, ridge: float
) -> None:
    """Least squares for the change of weights and bias: (N, inputs) to (N, outputs)."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    weight, bias = (constants[name] for name in node.input[1:3])
    matrix = numpy_helper.to_array(weight).astype(np.float64)
    upright = any(a.name == "transB" and a.i for a in node.attribute)
    matrix = matrix if upright else matrix.T  # (outputs, inputs)
    centre = inputs.mean(axis=0)
    x = inputs - centre
    missing = wanted - (inputs @ matrix.T + numpy_helper.to_array(bias))
    gram = x.T @ x + ridge * len(x) * np.square(x).mean() * np.eye(x.shape[1])
    change = np.linalg.solve(gram, x.T @ (missing - missing.mean(axis=0))).T
    shift = missing.mean(axis=0) - change @ centre
    new = matrix + change
    weight.CopyFrom(numpy_helper.from_array((new if upright else new.T).astype(np.float32), weight.name))
    values = (numpy_helper.to_array(bias) + shift).astype(np.float32)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))


def _values(model: onnx.ModelProto, names: list[str], images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Tensor name -> (N, C) float64 over the pictures, for tensors of shape (1, C)."""
    part = onnx.utils.Extractor(model).extract_model(["image"], names)
    session = onnx_session(part.SerializeToString())
    rows = [session.run(names, {"image": image[None]}) for image in images]
    return {name: np.concatenate([row[i] for row in rows]).astype(np.float64) for i, name in enumerate(names)}


def _correctable(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether the node has a constant float bias of its own."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return node.op_type in CHANNEL_AXIS and len(node.input) == 3 and node.input[2] in constants


def _channel_means(
    model: onnx.ModelProto, layers: list[onnx.NodeProto], images: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """Layer name -> (C,) float64 mean of its output over pictures and pixels."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [node.output[0] for node in layers]
    if len(names) == 1:  # nothing behind the layer needs computing
        watched = onnx.utils.Extractor(watched).extract_model(["image"], names)
    else:
        watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnx_session(watched.SerializeToString())
    sums = {node.name: np.zeros(1) for node in layers}
    for image in images:
        for node, value in zip(layers, session.run(names, {"image": image[None]})):
            axis = CHANNEL_AXIS[node.op_type] % value.ndim
            others = tuple(i for i in range(value.ndim) if i != axis)
            sums[node.name] = sums[node.name] + value.mean(axis=others, dtype=np.float64)
    return {name: total / len(images) for name, total in sums.items()}
