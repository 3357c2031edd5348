"""Quantization-aware training: fine-tune with fake quantization, export Q/DQ with the learned ranges."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from vision_nodes.errors import ModelError, TrainingError
from vision_nodes.export.onnx import export_onnx
from vision_nodes.export.onnx_file import onnx_session, write_onnx
from vision_nodes.export.quantize import OPERATORS, Recipe, early_depthwise, quantize
from vision_nodes.networks.fake_quant import (
    QuantizedLayer,
    fold_batch_norms,
    quantize_layers,
    quantized_layers,
    without_quantizers,
)
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.loop import train
from vision_nodes.training.task import TrainingTask

logger = logging.getLogger(__name__)
LEARNING_RATE = 0.02  # of the config's: the weights are nearly where they should be


class QatTask:
    """A task whose network is the fake-quantized one; data, loss and metric are the task's own.

    Args:
        trained: the float network, in eval mode.
        images: (H, W, 3) uint8 pictures for the first ranges.
        float_nodes: convolutions of the exported file that stay in float, by node name.
    """

    def __init__(
        self,
        task: TrainingTask,
        trained: nn.Module,
        images: list[np.ndarray],
        excluded: frozenset[str] = frozenset(),
    ) -> None:
        self.task = task
        self._network = copy.deepcopy(trained).eval()
        fold_batch_norms(self._network)
        graph = task.export_module(self._network)
        quantize_layers(self._network, graph, torch.from_numpy(np.stack(images)), excluded)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def network(self) -> nn.Module:
        """A fresh copy of the fake-quantized network."""
        return copy.deepcopy(self._network)


def train_quantized(
    task: TrainingTask, trained: nn.Module, images: list[np.ndarray], config: TrainingConfig, directory: Path
) -> tuple[nn.Module, frozenset[str]]:
    """Fine-tune for `config.epochs`; the fake-quantized network of the best validation, and the layers in float.

    Where the network is a depthwise one its first layers stay in float, as `quantize` does by its recipe.
    """
    directory.mkdir(parents=True, exist_ok=True)
    excluded = float_layers(task, trained, config, directory)
    qat = QatTask(task, trained, images, excluded)
    settings = replace(
        config,
        learning_rate=config.learning_rate * LEARNING_RATE,
        freeze={},
        learning_rate_scale={},
        precision="32-true",
        ema_decay=min(config.ema_decay, 0.99),
    )
    train(qat, settings, directory, resume=True)
    network = qat.network()
    load_weights(network, read_checkpoint(directory / "best.pt", config.task)["network"], "best.pt")
    return network.eval(), excluded


def float_layers(
    task: TrainingTask, trained: nn.Module, config: TrainingConfig, directory: Path
) -> frozenset[str]:
    """Names of the layers behind the nodes that `early_depthwise` names."""
    network = copy.deepcopy(trained).eval()
    fold_batch_norms(network)
    source = directory / "float.onnx"
    _export(task, network, config, source)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    nodes = nodes_of_layers(onnx.load(source), layers)
    return frozenset(nodes[node] for node in early_depthwise(source) if node in nodes)


def export_quantized(
    task: TrainingTask, network: nn.Module, images: list[np.ndarray], config: TrainingConfig, target: Path
) -> dict[str, float]:
    """Write the Q/DQ file of a fake-quantized network; the largest difference to torch per output.

    The file is that of `quantize`, with the learned scales; nodes that the network did not quantize stay float.

    Raises:
        ModelError: as `quantize`.
    """
    plain = without_quantizers(network).eval()
    source = target.with_name(f"{target.stem}_float.onnx")
    _export(task, plain, config, source)
    layers = dict(quantized_layers(network))
    model = onnx.load(source)
    partners = nodes_of_layers(model, {name: layer.layer for name, layer in layers.items()})
    others = [n.name for n in model.graph.node if n.op_type in OPERATORS and n.name not in partners]
    quantize(source, target, images, Recipe("minmax", tuple(others)))
    quantized = onnx.load(target)
    set_input_scales(
        quantized, {node: float(layers[name].quantizer.scale) for node, name in partners.items()}
    )
    write_onnx(quantized, target)
    source.unlink()
    return differences(task.export_module(network).eval(), target, images[:4])


def nodes_of_layers(model: onnx.ModelProto, layers: dict[str, nn.Module]) -> dict[str, str]:
    """Node name -> layer name, for nodes whose constant weights are those of a layer (or transposed)."""
    constants = {t.name: t for t in model.graph.initializer}
    weights = {name: layer.get_parameter("weight").detach().numpy() for name, layer in layers.items()}
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in OPERATORS or node.input[1] not in constants:
            continue
        value = numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)
        for name, weight in weights.items():
            if any(v.shape == weight.shape and np.allclose(v, weight, atol=1e-6) for v in (value, value.T)):
                found[node.name] = name
                break
    return found


def set_input_scales(model: onnx.ModelProto, scales: dict[str, float]) -> None:
    """Put the scales of the tensors that nodes read into a Q/DQ graph, in place."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        dequantize = producers.get(node.input[0]) if node.name in scales else None
        if dequantize is None:
            continue
        if dequantize.op_type != "DequantizeLinear":
            raise ModelError(f"a quantized input of {node.name}", dequantize.op_type, "report the network")
        for name in {dequantize.input[1], producers[dequantize.input[0]].input[1]}:
            shape = numpy_helper.to_array(constants[name]).shape
            value = np.full(shape, scales[node.name], np.float32)
            constants[name].CopyFrom(numpy_helper.from_array(value, name))


@torch.no_grad()
def differences(graph: nn.Module, path: Path, images: list[np.ndarray]) -> dict[str, float]:
    """Mean absolute difference between the fake-quantized graph and the file, per float output."""
    session = onnx_session(path)
    names = [output.name for output in session.get_outputs()]
    sums = dict.fromkeys(names, 0.0)
    for image in images:
        said = graph(torch.from_numpy(np.ascontiguousarray(image))[None])
        said = said if isinstance(said, tuple) else (said,)
        for name, want, have in zip(names, said, session.run(names, {"image": image[None]})):
            sums[name] += float(np.abs(want.numpy().astype(np.float64) - have).mean()) / len(images)
    return sums


def _export(task: TrainingTask, network: nn.Module, config: TrainingConfig, path: Path) -> None:
    module: Any = task.export_module(network).eval()
    if not hasattr(module, "output_names"):
        raise TrainingError("a graph with output_names", type(module).__name__, "see training/task.py")
    export_onnx(module, module.output_names, config.input_wh, path)


__all__ = ["QatTask", "QuantizedLayer", "export_quantized", "train_quantized"]
