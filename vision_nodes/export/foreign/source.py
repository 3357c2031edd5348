"""Reading a foreign ONNX file: its image input, static shapes, one opset."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vision_nodes.errors import ConfigError, ModelError
from vision_nodes.export.foreign.request import Normalisation

OPSET, OPSETS = 19, range(17, 21)  # what TensorRT 10.3 to 11 parses
OLDEST = 13  # older ones differ in Squeeze, ReduceSum and Softmax
MAX_IR = 10
MAX_BYTES = 2_000_000_000  # protobuf's limit for one file
INPUT_TYPES: dict[int, type] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageInput:
    """The picture as the network takes it."""

    name: str
    size_wh: tuple[int, int]
    layout: str
    colour: str
    dtype: type
    normalisation: Normalisation

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, C, H, W) or (1, H, W, C)."""
        channels = 1 if self.colour == "gray" else 3
        width, height = self.size_wh
        return (1, channels, height, width) if self.layout == "nchw" else (1, height, width, channels)

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> the network's own input, in NumPy: what the graph nodes must equal."""
        mean, std = (np.array(v, np.float32) for v in (self.normalisation.mean, self.normalisation.std))
        value = (picture.astype(np.float32) - mean) / std
        if self.colour == "bgr":
            value = value[..., ::-1]
        elif self.colour == "gray":
            value = value @ np.array(LUMA, np.float32)[:, None]
        if self.layout == "nchw":
            value = value.transpose(2, 0, 1)
        return np.ascontiguousarray(value[None].astype(self.dtype))


def read_onnx(path: Path) -> onnx.ModelProto:
    """The file, external data included.

    Raises:
        ModelError: missing, not ONNX, or above protobuf's limit.
    """
    remedy = "give the path of an .onnx file; export it again if it is damaged"
    if not path.is_file():
        raise ModelError(f"an ONNX file at {path}", "no such file", remedy)
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own classes, and those of missing external data
        raise ModelError(
            f"an ONNX model in {path}", str(error)[:200] or type(error).__name__, remedy
        ) from error
    if not model.graph.node:
        raise ModelError(f"an ONNX model in {path}", "a graph without nodes", remedy)
    if model.ByteSize() > MAX_BYTES:
        raise ModelError(
            f"at most {MAX_BYTES} bytes", str(model.ByteSize()), "export a smaller network, or in FP16"
        )
    return model


def find_image_input(
    model: onnx.ModelProto,
    size_wh: tuple[int, int] | None,
    layout: str,
    colour: str,
    normalisation: Normalisation,
) -> ImageInput:
    """The one 4-D input, with its size made sure of.

    Raises:
        ModelError: not one picture per inference, or a type that is no picture.
        ConfigError: the size is open and not given, or given and not the file's; the layout cannot be told.
    """
    inputs = [value for value in network_inputs(model) if len(value.type.tensor_type.shape.dim) == 4]
    if len(inputs) != 1:
        names = [value.name for value in network_inputs(model)]
        raise ModelError("one 4-D picture input", f"inputs {names}", "export the network for one picture")
    value = inputs[0]
    kind = value.type.tensor_type
    if kind.elem_type not in INPUT_TYPES:
        received = TensorProto.DataType.Name(kind.elem_type)
        raise ModelError(f"float or uint8 pixels for '{value.name}'", received, "export with float32 input")
    axes = [axis.dim_value if axis.dim_value > 0 else None for axis in kind.shape.dim]
    if axes[0] not in (None, 1):
        raise ModelError(
            "batch 1", f"{axes[0]} for '{value.name}'", "export with batch 1 or an open batch axis"
        )
    layout = layout or _layout_of(axes, value.name)
    channels = axes[1] if layout == "nchw" else axes[3]
    if channels in (1, 3):  # the file knows better than the family whether it sees colours
        colour = "gray" if channels == 1 else colour.replace("gray", "rgb")
    elif channels is not None:
        received = f"{channels} for '{value.name}' {axes} as {layout}, {colour}"
        raise ConfigError(
            "1 or 3 channels, the number --colour says", received, "correct --layout or --colour"
        )
    height, width = axes[2:] if layout == "nchw" else axes[1:3]
    size = _size_of((width, height), size_wh, value.name)
    return ImageInput(value.name, size, layout, colour, INPUT_TYPES[kind.elem_type], normalisation)


def network_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that are no initializers (old exporters list those too)."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _layout_of(axes: list[int | None], name: str) -> str:
    first, last = axes[1] in (1, 3), axes[3] in (1, 3)
    if first == last:
        raise ConfigError(
            f"--layout nchw or nhwc for '{name}'", f"shape {axes}", "say which axis holds the colours"
        )
    return "nchw" if first else "nhwc"


def _size_of(
    stored: tuple[int | None, int | None], wanted: tuple[int, int] | None, name: str
) -> tuple[int, int]:
    for own, asked in zip(stored, wanted or (None, None)):
        if own is not None and asked is not None and own != asked:
            received = f"--size {wanted[0]}x{wanted[1]}" if wanted else ""
            fixed = "x".join(str(side or "?") for side in stored)
            remedy = "leave --size away, or export the network for that size"
            raise ConfigError(f"the size that '{name}' is fixed to, {fixed}", received, remedy)
    width, height = (own or (wanted[i] if wanted else None) for i, own in enumerate(stored))
    if width is None or height is None:
        shape = "x".join(str(side or "?") for side in stored)
        raise ConfigError(f"a size: '{name}' is {shape}", "no --size", "say e.g. --size 640x640")
    return width, height


def bake_target_size(model: onnx.ModelProto, image: ImageInput) -> dict[str, np.ndarray]:
    """Turn a second input that asks for the picture's size (RT-DETR, D-FINE) into a constant: network pixels.

    Returns:
        What the untouched file must be fed in its place.

    Raises:
        ModelError: another kind of second input.
    """
    fed = {}
    for value in network_inputs(model):
        if value.name == image.name:
            continue
        kind = value.type.tensor_type
        shape = [axis.dim_value for axis in kind.shape.dim]
        if len(shape) != 2 or shape[1] != 2:
            raise ModelError(
                "a picture, and at most its size (1, 2)", f"input '{value.name}' {shape}", "export without"
            )
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        fed[value.name] = np.array([image.size_wh], dtype)
        model.graph.initializer.append(numpy_helper.from_array(fed[value.name], value.name))
    kept = [value for value in network_inputs(model)]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return fed


def make_static(model: onnx.ModelProto, image: ImageInput) -> onnx.ModelProto:
    """Fixed shapes everywhere, constants folded, an opset that TensorRT parses where it can be converted."""
    import onnxsim

    opset = max(i.version for i in model.opset_import if i.domain in ("", "ai.onnx"))
    try:
        static, _ = onnxsim.simplify(model, overwrite_input_shapes={image.name: list(image.shape)})
        if opset not in OPSETS:
            static = convert_opset(static, opset)
    except Exception as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"a network that takes {image.shape}",
            str(error)[:300],
            "try another --size, or export static shapes",
        ) from error
    static.ir_version = min(static.ir_version, MAX_IR)
    return static


def convert_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """To `OPSET` where onnx's converter knows how; else as it is, with a warning (CPU runtimes take it)."""
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError, IndexError and its own
        if opset < OLDEST:
            received = f"opset {opset}, which cannot be converted ({str(error)[:120]})"
            raise ModelError(f"opset {OLDEST} or later", received, f"export with opset {OPSET}") from error
        _log.warning("opset %d stays: onnx cannot convert it (%s); TensorRT wants 17 to 20", opset, error)
        return model
