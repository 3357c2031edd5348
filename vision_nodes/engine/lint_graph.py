"""An ONNX graph as the lint rules see it: constants, producers, consumers, types and shapes by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """One broken rule. `rule` is the number in docs/onnx_rules.md; `severity` error or warning."""

    rule: int
    node: str
    reason: str
    remedy: str
    severity: str = ERROR


class Graph:
    """Read access to one model; shapes are inferred where the file does not state them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        self.graph = self.model.graph
        self.nodes: list[NodeProto] = list(self.graph.node)
        self.opset = max((i.version for i in model.opset_import if i.domain in ("", "ai.onnx")), default=0)

    @cached_property
    def constants(self) -> dict[str, np.ndarray]:
        """Initializers and the outputs of Constant nodes."""
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        for node in self.nodes:
            value = self.attribute(node, "value") if node.op_type == "Constant" else None
            if isinstance(value, TensorProto):
                found[node.output[0]] = numpy_helper.to_array(value)
        return found

    @cached_property
    def producers(self) -> dict[str, NodeProto]:
        """Tensor name -> the node that makes it."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[NodeProto]]:
        """Tensor name -> the nodes that read it."""
        found: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                found[name].append(node)
        return found

    @cached_property
    def infos(self) -> dict[str, Any]:
        """Tensor name -> its type, where known."""
        graph = self.graph
        values = [*graph.value_info, *graph.input, *graph.output]
        return {value.name: value.type.tensor_type for value in values}

    @cached_property
    def name_counts(self) -> Counter[str]:
        """How often each node name occurs."""
        return Counter(node.name for node in self.nodes)

    def type_of(self, name: str) -> int:
        """ONNX element type of a tensor; 0 = unknown."""
        if name in self.constants:
            return int(onnx.helper.np_dtype_to_tensor_dtype(self.constants[name].dtype))
        return int(self.infos[name].elem_type) if name in self.infos else 0

    def shape_of(self, name: str) -> list[int | str] | None:
        """Axes of a tensor, a symbol where an axis is open; None = unknown."""
        if name in self.constants:
            return list(self.constants[name].shape)
        if name not in self.infos or not self.infos[name].HasField("shape"):
            return None
        return [
            axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?"
            for axis in self.infos[name].shape.dim
        ]

    def input(self, node: NodeProto, index: int) -> str:
        """Name of an input; empty when it is left out."""
        return node.input[index] if len(node.input) > index else ""

    def producer(self, node: NodeProto, index: int) -> NodeProto | None:
        """The node that makes an input; None for graph inputs and constants."""
        return self.producers.get(self.input(node, index))

    def attribute(self, node: NodeProto, name: str, default: Any = None) -> Any:
        """Value of an attribute, text as str."""
        for attribute in node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    @staticmethod
    def label(node: NodeProto) -> str:
        """What to call a node in a finding."""
        return f"{node.op_type} {node.name or '-> ' + ', '.join(node.output)}"
