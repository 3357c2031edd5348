"""ROS parameters made from a settings dataclass: one place for defaults, descriptions and ranges."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from vision_nodes.config import check_value, replace_checked
from vision_nodes.errors import ConfigError

Settings = TypeVar("Settings")


def declare_settings(node: Node, settings_type: type[Settings], prefix: str = "") -> Settings:
    """Declare every field as parameter ``prefix + name`` and return the settings as overridden.

    Raises:
        ConfigError: an override is out of range.
    """
    values = {}
    for field in dataclasses.fields(settings_type):  # type: ignore[arg-type]
        descriptor = _descriptor(field)
        try:
            parameter = node.declare_parameter(prefix + field.name, field.default, descriptor)
        except Exception as error:  # rclpy raises one of several types for a bad override
            raise ConfigError(
                f"parameter {prefix + field.name}: {descriptor.description}",
                str(error),
                "see ros2 param describe",
            ) from error
        values[field.name] = parameter.value
    return replace_checked(settings_type(), values)


def check_update(settings: Any, prefix: str, parameters: list[Parameter]) -> tuple[Any, SetParametersResult]:
    """Settings after a live update, and the answer for `ros2 param set`.

    A refused value leaves the settings as they were and says why. A setting that only applies at
    configure is refused with that reason.
    """
    known = {prefix + field.name: field for field in dataclasses.fields(settings)}
    changes = {}
    for parameter in parameters:
        field = known.get(parameter.name)
        if field is None:
            continue
        try:
            check_value(field, parameter.value)
        except ConfigError as error:
            return settings, SetParametersResult(successful=False, reason=str(error))
        if not field.metadata.get("live", False) and parameter.value != getattr(settings, field.name):
            reason = f"{parameter.name} applies at configure: deactivate and cleanup the node, set it, configure again"
            return settings, SetParametersResult(successful=False, reason=reason)
        changes[field.name] = parameter.value
    return dataclasses.replace(settings, **changes), SetParametersResult(successful=True)


def _descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=field.metadata.get("description", ""))
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    choices = field.metadata.get("choices") or ()
    if choices:
        descriptor.additional_constraints = "one of: " + ", ".join(choices)
    if low is not None and high is not None:
        if type(field.default) is float:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
        elif type(field.default) is int:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor
