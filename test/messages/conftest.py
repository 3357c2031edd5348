"""Every converter is tested on both kinds of messages it meets: rclpy's and those of a bag reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rclpy.serialization import deserialize_message, serialize_message

from vision_nodes.messages.typestore import build_typestore

_STORE = build_typestore()


def _through_rclpy(msg: Any) -> Any:
    return deserialize_message(serialize_message(msg), type(msg))


def _through_bag(msg: Any) -> Any:
    package, name = type(msg).__module__.split(".")[0], type(msg).__name__
    return _STORE.deserialize_cdr(bytes(serialize_message(msg)), f"{package}/msg/{name}")


@pytest.fixture(params=[_through_rclpy, _through_bag], ids=["rclpy", "rosbags"])
def receive(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """The message as a subscriber or a bag reader gets it: serialised and back."""
    return request.param
