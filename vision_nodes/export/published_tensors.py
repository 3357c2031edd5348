"""Weights out of the files they were published in: npz, ncnn, ONNX, torch. Nothing is unpickled."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
import yaml
from onnx import numpy_helper
from torch import Tensor, nn

from vision_nodes.errors import ModelError
from vision_nodes.networks.weights import read_tensors

ORDERS = Path(__file__).with_name("tensor_orders.yaml")
NCNN_HALF, NCNN_INT8, NCNN_FLOAT = 0x01306B47, 0x000D4B38, 0
_REQUANTIZED = 100  # int8 layers marked above this store the scale of their output, too


def read_published(form: str, files: list[Path], network: nn.Module) -> dict[str, Tensor]:
    """Parameter name -> float32 tensor in the shape that `network` has.

    Raises:
        ModelError: an unknown form, or files that do not hold the network's tensors.
    """
    readers: dict[str, Callable[[list[Path], nn.Module], dict[str, Tensor]]] = {
        "npz": lambda paths, _: read_tensors(paths[0]),
        "ncnn": read_ncnn,
        "xfeat_onnx": lambda paths, _: read_onnx_convolutions(paths[0], read_order("xfeat_onnx")),
        "torch": lambda paths, _: torch.load(paths[0], map_location="cpu", weights_only=True),
    }
    if form not in readers:
        raise ModelError(f"weights as {', '.join(readers)}", form, "correct the zoo file")
    return readers[form](files, network)


def read_order(name: str) -> list[str]:
    """Names of the stored convolutions, in the file's order."""
    return [str(item) for item in yaml.safe_load(ORDERS.read_text(encoding="utf-8"))[name]]


def read_ncnn(files: list[Path], network: nn.Module) -> dict[str, Tensor]:
    """ncnn's .bin and .param: per convolution a type tag, weights padded to 4 bytes, float32 bias; after int8
    weights the scale of each output channel (weight = stored / scale) and those of the activations."""
    binary, layers = files[0].read_bytes(), _ncnn_convolutions(files[1].read_text(encoding="utf-8"))
    names, own, tensors, at = read_order("nanodet_plus_ncnn"), dict(network.named_parameters()), {}, 0
    if len(layers) != len(names):
        raise ModelError(
            f"{len(names)} convolutions", f"{len(layers)} in {files[1].name}", "use the listed file"
        )
    try:
        for name, (channels, size, int8_mode) in zip(names, layers):
            weight, at = _ncnn_weight(binary, at, size)
            bias, at = _take(binary, at, np.float32, channels)
            if int8_mode:
                scale, at = _take(binary, at, np.float32, channels)
                weight = weight.reshape(channels, -1) / scale[:, None]
                at += 4 * (2 if int8_mode > _REQUANTIZED else 1)
            shape = own[f"{name}.weight"].shape
            tensors[f"{name}.weight"] = torch.from_numpy(weight.reshape(tuple(shape)).copy())
            tensors[f"{name}.bias"] = torch.from_numpy(bias.copy())
    except (ValueError, KeyError, struct.error) as error:
        raise ModelError(
            f"the network's tensors in {files[0].name}", str(error), "use the listed file"
        ) from error
    if at != len(binary):
        raise ModelError(f"{len(binary)} bytes used of {files[0].name}", str(at), "use the listed file")
    return tensors


def _ncnn_convolutions(text: str) -> list[tuple[int, int, int]]:
    """(output channels, weights, int8 mode) of each convolution of a .param file."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0].startswith("Convolution"):
            settings = words[4 + int(words[2]) + int(words[3]) :]
            values = dict(word.split("=", 1) for word in settings)
            found.append((int(values["0"]), int(values["6"]), int(values.get("8", "0"))))
    return found


def _ncnn_weight(binary: bytes, at: int, size: int) -> tuple[np.ndarray, int]:
    (tag,) = struct.unpack_from("<I", binary, at)
    kinds = {NCNN_HALF: np.float16, NCNN_INT8: np.int8, NCNN_FLOAT: np.float32}
    if tag not in kinds:
        raise ValueError(f"unknown weight type {tag:#x} at byte {at}")
    values, end = _take(binary, at + 4, kinds[tag], size)
    return values.astype(np.float32), end + -end % 4


def _take(binary: bytes, at: int, kind: type, count: int) -> tuple[np.ndarray, int]:
    values: np.ndarray = np.frombuffer(binary, kind, count, at)
    return values, at + values.nbytes


def read_onnx_convolutions(path: Path, names: list[str]) -> dict[str, Tensor]:
    """Weights and biases of an ONNX file's convolutions, named in the graph's order."""
    model = onnx.load(path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    if len(nodes) != len(names) or any(len(node.input) != 3 for node in nodes):
        raise ModelError(
            f"{len(names)} convolutions with bias", f"{len(nodes)} in {path.name}", "use the listed file"
        )
    tensors = {}
    for name, node in zip(names, nodes):
        for kind, source in zip(("weight", "bias"), node.input[1:]):
            tensors[f"{name}.{kind}"] = torch.from_numpy(constants[source].copy())
    return tensors
