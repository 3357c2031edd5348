"""The receiver's thread on the real middleware: order, errors, shutdown, QoS events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from vision_nodes.nodes.receiver import Receiver

RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture
def context() -> Iterator[Any]:
    made = rclpy.Context()
    rclpy.init(context=made, args=[])
    yield made
    rclpy.try_shutdown(context=made)


@pytest.fixture
def node(context: Any) -> Iterator[Any]:
    made = rclpy.create_node("receiver_test", context=context)
    yield made
    if context.ok():
        made.destroy_node()


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "receiver"]


def test_every_message_arrives_in_order_without_an_executor(node: Any) -> None:
    receiver = Receiver.of(node.context)
    seen: list[str] = []
    subscription = receiver.subscribe(node, String, "words", lambda m: seen.append(m.data), RELIABLE)
    publisher = node.create_publisher(String, "words", RELIABLE)
    assert wait_until(lambda: publisher.get_subscription_count() == 1)
    for i in range(40):
        publisher.publish(String(data=str(i)))
    assert wait_until(lambda: len(seen) == 40)
    assert seen == [str(i) for i in range(40)]
    receiver.unsubscribe(node, subscription)
    assert threads() == []  # nothing to receive, no thread


def test_a_second_topic_joins_and_one_leaves_while_the_other_goes_on(node: Any) -> None:
    receiver = Receiver.of(node.context)
    first: list[str] = []
    second: list[str] = []
    a = receiver.subscribe(node, String, "a", lambda m: first.append(m.data), RELIABLE)
    b = receiver.subscribe(node, String, "b", lambda m: second.append(m.data), RELIABLE)
    to_a, to_b = (node.create_publisher(String, topic, RELIABLE) for topic in ("a", "b"))
    assert wait_until(lambda: to_a.get_subscription_count() == to_b.get_subscription_count() == 1)
    to_a.publish(String(data="1"))
    to_b.publish(String(data="2"))
    assert wait_until(lambda: first == ["1"] and second == ["2"])
    receiver.unsubscribe(node, a)
    to_b.publish(String(data="3"))
    assert wait_until(lambda: second == ["2", "3"])
    assert first == ["1"]
    receiver.unsubscribe(node, b)


def test_a_callback_that_raises_does_not_end_the_reception(node: Any) -> None:
    receiver = Receiver.of(node.context)
    seen: list[str] = []

    def callback(message: String) -> None:
        seen.append(message.data)
        if message.data == "bad":
            raise RuntimeError("a bug in a callback")

    subscription = receiver.subscribe(node, String, "words", callback, RELIABLE)
    publisher = node.create_publisher(String, "words", RELIABLE)
    assert wait_until(lambda: publisher.get_subscription_count() == 1)
    for word in ("bad", "good"):
        publisher.publish(String(data=word))
    assert wait_until(lambda: seen == ["bad", "good"])
    receiver.unsubscribe(node, subscription)


def test_shutdown_of_the_context_ends_the_thread(node: Any, context: Any) -> None:
    Receiver.of(context).subscribe(node, String, "words", lambda m: None, RELIABLE)
    assert threads() == ["receiver"]
    rclpy.shutdown(context=context)
    assert wait_until(lambda: threads() == [])


def test_the_executor_sleeps_while_messages_arrive(node: Any, context: Any) -> None:
    """The point of the receiver: data must not wake the executor, not even through its QoS events."""
    receiver = Receiver.of(context)
    seen: list[str] = []
    subscription = receiver.subscribe(node, String, "words", lambda m: seen.append(m.data), RELIABLE)
    publisher = node.create_publisher(String, "words", RELIABLE)
    assert wait_until(lambda: publisher.get_subscription_count() == 1)
    waits = []

    class Counting(SingleThreadedExecutor):
        def can_execute(self, entity: Any) -> bool:  # asked for every entity at every wake
            if entity is subscription:
                waits.append(entity)
            return super().can_execute(entity)

    executor = Counting(context=context)
    executor.add_node(node)
    spinning = threading.Thread(target=lambda: executor.spin_once(timeout_sec=4.0))
    spinning.start()
    assert wait_until(lambda: len(waits) >= 1)
    time.sleep(0.2)
    before = len(waits)
    for i in range(20):
        publisher.publish(String(data=str(i)))
    assert wait_until(lambda: len(seen) == 20)
    assert len(waits) == before
    executor.wake()
    executor.shutdown()
    spinning.join(10)
    receiver.unsubscribe(node, subscription)


def test_an_incompatible_publisher_is_reported_to_the_log(node: Any, capfd: Any) -> None:
    """The executor no longer waits for the QoS events, so the receiver must."""
    receiver = Receiver.of(node.context)
    subscription = receiver.subscribe(node, String, "words", lambda m: None, RELIABLE)
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(String, "words", best_effort)
    text = ""

    def said() -> bool:
        nonlocal text
        text += capfd.readouterr().err
        return "incompatible QoS" in text and "RELIABILITY" in text

    assert wait_until(said), text
    receiver.unsubscribe(node, subscription)
    node.destroy_publisher(publisher)
