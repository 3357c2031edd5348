"""The message packages speak the same bytes and the same type hashes as the real ones.

Oracle: rosbags, a second implementation of message parsing, CDR serialisation and type hashes (REP-2011).
The tests also hold on a machine with a sourced ROS, where they check the real packages.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

import tf2_msgs.msg
import vision_msgs.msg
from message_filling import field_values, random_message
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

INTERFACES = Path(__file__).parents[2] / "interfaces"

# Computed with rosbags from the .msg files of vision_msgs 4.1.1 as released; tf2_msgs from rosbags' own Jazzy store.
RELEASED_HASHES = {
    "vision_msgs/msg/BoundingBox2D": "008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f",
    "vision_msgs/msg/BoundingBox2DArray": "2464e82838009386d371b523211c21c91d74d313fcdd6788223c531d621cf691",
    "vision_msgs/msg/BoundingBox3D": "bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698",
    "vision_msgs/msg/BoundingBox3DArray": "a81938db9576b10c2eecd7c5a5da3eac496efd00221b25ed051dfbc81fb56da6",
    "vision_msgs/msg/Classification": "f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143",
    "vision_msgs/msg/Detection2D": "0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea",
    "vision_msgs/msg/Detection2DArray": "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "vision_msgs/msg/Detection3D": "ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b",
    "vision_msgs/msg/Detection3DArray": "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    "vision_msgs/msg/LabelInfo": "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "vision_msgs/msg/ObjectHypothesis": "51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90",
    "vision_msgs/msg/ObjectHypothesisWithPose": "41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc",
    "vision_msgs/msg/Point2D": "eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247",
    "vision_msgs/msg/Pose2D": "b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648",
    "vision_msgs/msg/VisionClass": "1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a",
    "vision_msgs/msg/VisionInfo": "95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284",
    "tf2_msgs/msg/TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    "tf2_msgs/msg/TF2Error": "db2485e7d6a0ec75bf087e058ee45df682acc3a621ca7780503d10aac141809a",
}
TYPES = sorted(RELEASED_HASHES)


def message_class(name: str) -> type:
    package, _, message = name.split("/")
    return getattr({"vision_msgs": vision_msgs.msg, "tf2_msgs": tf2_msgs.msg}[package], message)


@pytest.fixture(scope="module")
def typestore():
    """rosbags' Jazzy types and our vision_msgs definitions, read by rosbags' own parser."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted((INTERFACES / "vision_msgs" / "msg").glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"vision_msgs/msg/{path.stem}"))
    return store


@pytest.fixture(scope="module")
def node():
    rclpy.init()
    node = rclpy.create_node("wire_format_test")
    yield node
    node.destroy_node()
    rclpy.shutdown()


def test_every_message_of_the_released_packages_is_there():
    for name in ("vision_msgs", "tf2_msgs"):
        ours = {path.stem for path in (INTERFACES / name / "msg").glob("*.msg")}
        assert ours == {released.split("/")[2] for released in TYPES if released.startswith(name + "/")}


@pytest.mark.parametrize("name", TYPES)
def test_type_hash_on_the_wire_is_the_released_one(name, node):
    topic = "hash_" + name.replace("/", "_")
    publisher = node.create_publisher(message_class(name), topic, 1)
    info = node.get_publishers_info_by_topic(topic)[0]
    node.destroy_publisher(publisher)
    assert info.topic_type == name
    if not hasattr(info, "topic_type_hash"):
        pytest.skip("this ROS 2 (Humble) has no type hashes")
    assert (info.topic_type_hash.version, info.topic_type_hash.value.hex()) == (1, RELEASED_HASHES[name])


def assert_same_encoding(message, name, typestore):
    """Both implementations read each other's bytes, which differ in padding at most (Fast CDR leaves it unset)."""
    ours = serialize_message(message)
    decoded = typestore.deserialize_cdr(ours, name)
    assert field_values(decoded) == field_values(message)
    theirs = bytes(typestore.serialize_cdr(decoded, name))
    assert len(theirs) == len(ours)
    assert {b for a, b in zip(ours, theirs) if a != b} <= {0}
    assert deserialize_message(theirs, type(message)) == message


@pytest.mark.parametrize("name", TYPES)
def test_empty_message_is_encoded_as_rosbags_does(name, typestore):
    assert_same_encoding(message_class(name)(), name, typestore)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TYPES)
def test_random_message_is_encoded_as_rosbags_does(name, seed, typestore):
    message = random_message(message_class(name), random.Random(f"{name} {seed}"))
    assert deserialize_message(serialize_message(message), message_class(name)) == message
    assert_same_encoding(message, name, typestore)


def test_constants_of_tf2_error():
    values = [
        getattr(tf2_msgs.msg.TF2Error, name) for name in ("NO_ERRORS", "LOOKUP_ERROR", "TRANSFORM_ERROR")
    ]
    assert values == [0, 1, 6]
