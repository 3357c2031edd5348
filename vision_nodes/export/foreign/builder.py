"""Appending standard operators to an ONNX model, in the form its opset wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PREFIX = "vn"  # of every tensor and node added


class GraphBuilder:
    """Adds nodes to the end of `model.graph`; every method returns the name of the tensor it makes.

    Attributes:
        model: the model that grows.
        opset: of its default domain; Reduce* take axes as an input from 18 on, GridSample names its modes
            otherwise from 20 on.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.opset = max(i.version for i in model.opset_import if i.domain in ("", "ai.onnx"))
        self._count = 0

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """One node with several outputs."""
        self._count += 1
        name = f"{PREFIX}_{kind.lower()}_{self._count}"
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.model.graph.node.append(helper.make_node(kind, list(inputs), names, name, **attributes))
        return names

    def constant(self, value: object, dtype: type = np.float32) -> str:
        """An initializer."""
        self._count += 1
        name = f"{PREFIX}_constant_{self._count}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def indices(self, *values: int) -> str:
        """A 1-D int64 initializer: axes, starts, shapes."""
        return self.constant(values, np.int64)

    def reduce(self, kind: str, x: str, axes: Sequence[int], keepdims: bool = False) -> str:
        """``ReduceMax`` and its kin."""
        if self.opset >= 18 or kind == "ReduceSum":
            return self.op(kind, x, self.indices(*axes), keepdims=int(keepdims))
        return self.op(kind, x, axes=list(axes), keepdims=int(keepdims))

    def cut(self, x: str, axis: int, start: int, stop: int) -> str:
        """``x[..., start:stop, ...]`` along one axis."""
        limits = (self.indices(start), self.indices(stop), self.indices(axis), self.indices(1))
        return self.op("Slice", x, *limits)

    def reshape(self, x: str, *shape: int) -> str:
        """To a static shape."""
        return self.op("Reshape", x, self.indices(*shape))

    def cast(self, x: str, kind: int) -> str:
        """To an element type of `TensorProto`."""
        return self.op("Cast", x, to=kind)

    def to_uint8(self, x: str) -> str:
        """By way of float32: TensorRT converts no integer to uint8 directly."""
        return self.cast(self.cast(x, TensorProto.FLOAT), TensorProto.UINT8)

    def top(self, x: str, count: int) -> tuple[str, str]:
        """Largest `count` along the last axis, sorted: values, int64 indices."""
        values, index = self.ops("TopK", [x, self.indices(count)], 2, axis=-1, largest=1, sorted=1)
        return values, index

    def rows(self, x: str, index: str, count: int, width: int) -> str:
        """Rows `index` (1, count) of `x` (1, A, width): (1, count, width)."""
        wide = self.op("Expand", self.op("Unsqueeze", index, self.indices(2)), self.indices(1, count, width))
        return self.op("GatherElements", x, wide, axis=1)

    def sample(self, x: str, grid: str, mode: str, align_corners: bool) -> str:
        """``GridSample`` with zeros outside; `mode` bilinear or bicubic."""
        if self.opset >= 20:
            mode = {"bilinear": "linear", "bicubic": "cubic"}[mode]
        return self.op("GridSample", x, grid, mode=mode, align_corners=int(align_corners))

    def unit_norm(self, x: str, axis: int) -> str:
        """Divided by the L2 norm along `axis`; zero stays zero."""
        norm = self.reduce("ReduceL2", x, [axis], keepdims=True)
        return self.op("Div", x, self.op("Max", norm, self.constant(1e-12)))

    def output(self, x: str, name: str, kind: int, shape: Sequence[int]) -> None:
        """Declare tensor `x` a graph output called `name`."""
        self.model.graph.node.append(helper.make_node("Identity", [x], [name], f"{PREFIX}_{name}"))
        self.model.graph.output.append(helper.make_tensor_value_info(name, kind, list(shape)))
