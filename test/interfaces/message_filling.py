"""Messages of any type filled with values that a wrong field order, size or type would not survive."""

from __future__ import annotations

import dataclasses
import importlib
import random
from typing import Any

from rosidl_parser import definition

_NUMBERS = {
    "float": lambda rng: float(rng.randint(-(2**20), 2**20)) / 8,  # exact in float32
    "double": lambda rng: rng.choice([rng.uniform(-1e6, 1e6), float("inf"), -0.0]),
    "boolean": lambda rng: rng.random() < 0.5,
    **{f"uint{n}": (lambda rng, n=n: rng.randrange(2**n)) for n in (8, 16, 32, 64)},
    **{f"int{n}": (lambda rng, n=n: rng.randrange(-(2 ** (n - 1)), 2 ** (n - 1))) for n in (8, 16, 32, 64)},
}


def random_message(message_class: type, rng: random.Random) -> Any:
    """A message whose every field, also in nested messages and sequences, has a random value."""
    message = message_class()
    for name, slot_type in zip(message.get_fields_and_field_types(), message_class.SLOT_TYPES):
        setattr(message, name, _random_value(slot_type, rng))
    return message


def _random_value(slot_type: Any, rng: random.Random) -> Any:
    if isinstance(slot_type, definition.Array):
        return [_random_value(slot_type.value_type, rng) for _ in range(slot_type.size)]
    if isinstance(slot_type, definition.AbstractSequence):
        return [_random_value(slot_type.value_type, rng) for _ in range(rng.randrange(4))]
    if isinstance(slot_type, definition.AbstractString):
        return "".join(rng.choice("abcxyz_/é漢") for _ in range(rng.randrange(9)))
    if isinstance(slot_type, definition.NamespacedType):
        module = importlib.import_module(".".join(slot_type.namespaces))
        return random_message(getattr(module, slot_type.name), rng)
    return _NUMBERS[slot_type.typename](rng)


def field_values(message: Any) -> Any:
    """Nested lists of a message's values in field order; works on rclpy's and on rosbags' messages."""
    if hasattr(message, "get_fields_and_field_types"):
        return [field_values(getattr(message, name)) for name in message.get_fields_and_field_types()]
    if dataclasses.is_dataclass(message):
        names = [
            field.name for field in dataclasses.fields(message) if not field.name.isupper()
        ]  # no constants
        return [field_values(getattr(message, name)) for name in names if name != "__msgtype__"]
    if isinstance(message, (str, bool, int, float)):
        return message
    if hasattr(message, "tolist"):
        return message.tolist()
    return [field_values(item) for item in message]
