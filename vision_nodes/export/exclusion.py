"""Which layers INT8 costs accuracy in, by the task's own metric.

Signal-to-noise names layers that are noisy, not layers that matter. Here whole groups of layers go back to
float32 one at a time and the metric says what each was worth. No calibration is repeated: a quantized file is
edited, so one trial costs one scoring.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

logger = logging.getLogger(__name__)


def quantized_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes whose input comes from a DequantizeLinear that has a QuantizeLinear before it."""
    producers = {output: node for node in model.graph.node for output in node.output}
    names = []
    for node in model.graph.node:
        source = producers.get(node.input[0]) if node.input else None
        if source is not None and source.op_type == "DequantizeLinear" and source.input[0] in producers:
            names.append(node.name)
    return names


def back_to_float(model: onnx.ModelProto, layers: Iterable[str]) -> onnx.ModelProto:
    """A copy of a Q/DQ model in which `layers` compute in float32 again.

    Their weights keep the values that int8 gave them (a rounding of 0.2 % of a channel's largest weight); what
    goes back to float32 is the arithmetic and the layer's input.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    wanted = set(layers)
    producers = {output: node for node in copy.graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    for node in copy.graph.node:
        if node.name not in wanted:
            continue
        source = producers.get(node.input[0])
        if source is not None and source.op_type == "DequantizeLinear" and source.input[0] in producers:
            node.input[0] = producers[source.input[0]].input[0]
        weight = producers.get(node.input[1])
        if weight is not None and weight.op_type == "DequantizeLinear" and weight.input[0] in constants:
            node.input[1] = _float_weight(copy, weight, constants)
    _remove_unused(copy)
    return copy


def costs(
    quantized: Path, groups: dict[str, list[str]], score: Callable[[Path], float]
) -> list[tuple[str, float]]:
    """What each group of layers costs when it is int8, dearest first.

    Args:
        quantized: a Q/DQ file with every layer quantized.
        groups: name -> layers that go back to float32 together.
        score: the metric of a file, higher is better.

    Returns:
        (group, score with that group in float32 minus score with everything in int8).
    """
    model = onnx.load(quantized)
    base = score(quantized)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, layers in groups.items():
            trial = Path(folder) / "trial.onnx"
            onnx.save(back_to_float(model, layers), trial)
            found.append((name, score(trial) - base))
            logger.info("%s in float32: %+.4f", name, found[-1][1])
    return sorted(found, key=lambda item: -item[1])


def _float_weight(
    model: onnx.ModelProto, node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> str:
    """Adds the dequantized weight of `node` as an initialiser; returns its name."""
    name = f"{node.output[0]}_float"
    if name not in constants:
        values = numpy_helper.to_array(constants[node.input[0]]).astype(np.float32)
        scale = numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if scale.ndim:
            scale = scale.reshape([-1 if i == axis % values.ndim else 1 for i in range(values.ndim)])
        constants[name] = numpy_helper.from_array(values * scale, name)
        model.graph.initializer.append(constants[name])
    return name


def _remove_unused(model: onnx.ModelProto) -> None:
    """Drops nodes and constants that nothing reads any more."""
    outputs = {output.name for output in model.graph.output}
    while True:
        read = outputs | {name for node in model.graph.node for name in node.input}
        dead = [node for node in model.graph.node if not read & set(node.output)]
        if not dead:
            break
        for node in dead:
            model.graph.node.remove(node)
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)
