"""Settings: frozen dataclasses whose fields carry description and range; ROS parameters are made from them.

The default lives beside the class that uses it and nowhere else.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from vision_nodes.errors import ConfigError


def setting(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = True,
) -> Any:
    """A dataclass field with a description and a range.

    Args:
        default: the value; its type is the setting's type (bool, int, float, str).
        description: one line for `ros2 param describe`.
        minimum, maximum: inclusive range of a number.
        choices: allowed values of a string.
        live: True when a running node can apply a new value.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "live": live,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check_settings(settings: Any) -> None:
    """Check every field against its type and range.

    Raises:
        ConfigError: names the setting, what was expected and what came.
    """
    for field in dataclasses.fields(settings):
        check_value(field, getattr(settings, field.name))


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """Check one value against its field's type and range; ConfigError when it does not fit."""
    kind = type(field.default)
    numeric = kind is float and type(value) in (int, float)
    if type(value) is not kind and not numeric:
        raise ConfigError(f"{field.name} of type {kind.__name__}", repr(value), "give a value of that type")
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"{low if low is not None else '-inf'} .. {high if high is not None else 'inf'}"
        raise ConfigError(f"{field.name} in {bounds}", repr(value), "choose a value in range")
    choices = field.metadata.get("choices") or ()
    if choices and value not in choices:
        raise ConfigError(f"{field.name} among {', '.join(choices)}", repr(value), "choose one of these")


def replace_checked(settings: Any, changes: dict[str, Any]) -> Any:
    """A copy of `settings` with `changes`, checked; unknown names raise ConfigError."""
    known = {field.name: field for field in dataclasses.fields(settings)}
    for name in changes:
        if name not in known:
            raise ConfigError(f"a setting among {', '.join(sorted(known))}", repr(name), "check the name")
    changed = dataclasses.replace(settings, **changes)
    check_settings(changed)
    return changed
