"""Gates: figures that a run must reach, for CI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vision_nodes.errors import ConfigError

# Words in a figure's name that mean an error, a delay or a fault: then `=` asks for at most the value.
LOWER_IS_BETTER = re.compile(
    r"(^|[._])(abs_rel|sq_rel|rmse|ate|rpe|latency_ms|drops|false_closures|scale_error|closure_translation"
    r"|closure_rotation|ece|kitti_translation_percent|kitti_rotation|id_switches|failed)"
)
_FORM = re.compile(r"^\s*([A-Za-z0-9_.]+?)\s*(>=|<=|=)\s*([-+0-9.eE]+)\s*$")


@dataclass(frozen=True)
class Gate:
    """One requirement; `minimum` tells which side is right."""

    metric: str
    value: float
    minimum: bool

    @property
    def text(self) -> str:
        """As one reads it."""
        return f"{self.metric} {'>=' if self.minimum else '<='} {self.value:g}"


@dataclass(frozen=True)
class GateResult:
    """What a gate found; `value` None = the figure is missing."""

    gate: Gate
    value: float | None
    reason: str = ""

    @property
    def passed(self) -> bool:
        """A figure that is missing never passes."""
        if self.value is None:
            return False
        return self.value >= self.gate.value if self.gate.minimum else self.value <= self.gate.value

    @property
    def text(self) -> str:
        """One line for people."""
        found = f"is {self.value:.4g}" if self.value is not None else f"is missing ({self.reason})"
        return f"{self.gate.text}: {found}: {'passed' if self.passed else 'FAILED'}"


def parse_gate(text: str) -> Gate:
    """``detection.ap50=0.3``: at least 0.3; an error such as ``depth.abs_rel=0.2``: at most. Or say >= or <=.

    Raises:
        ConfigError: not of that form.
    """
    match = _FORM.match(text)
    try:
        name, sign, value = match.groups() if match else ("", "", "")
        number = float(value)
    except ValueError:
        raise ConfigError("TASK.FIGURE=VALUE", repr(text), "e.g. --require detection.ap50=0.3") from None
    minimum = sign == ">=" or (sign == "=" and not lower_is_better(name))
    return Gate(name, number, minimum)


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of this dotted figure is the better one."""
    return LOWER_IS_BETTER.search(metric) is not None


def look_up(metrics: Mapping[str, Any], name: str) -> tuple[float | None, str]:
    """A figure by its dotted name, or None and why it is not there."""
    node: Any = metrics
    parts = name.split(".")
    for i, part in enumerate(parts):
        if not isinstance(node, Mapping) or part not in node:
            if isinstance(node, Mapping) and "reason" in node:
                return None, str(node["reason"])
            known = ", ".join(node) if isinstance(node, Mapping) else "a single figure"
            return None, f"{'.'.join(parts[:i]) or 'metrics'} has {known}"
        node = node[part]
    if isinstance(node, bool) or not isinstance(node, (int, float)):
        return None, "no number" if node is not None else "could not be computed"
    return float(node), ""


def check_gates(metrics: Mapping[str, Any], gates: Sequence[Gate]) -> list[GateResult]:
    """Every gate against one run's metrics."""
    return [GateResult(gate, *look_up(metrics, gate.metric)) for gate in gates]


def write_junit(results: Mapping[str, Sequence[GateResult]], path: str | Path) -> None:
    """JUnit XML: a suite per input, a case per gate; CI systems show failures by name."""
    root = ElementTree.Element("testsuites")
    for name, gates in results.items():
        failed = sum(not result.passed for result in gates)
        suite = ElementTree.SubElement(
            root, "testsuite", name=name, tests=str(len(gates)), failures=str(failed), errors="0"
        )
        for result in gates:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=result.gate.text)
            if not result.passed:
                ElementTree.SubElement(case, "failure", message=result.text).text = result.text
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
