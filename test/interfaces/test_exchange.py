"""Both packages cross a process border through the real rclpy and come back unchanged."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from echo_process import LATCHED, TOPICS
from message_filling import random_message
from rclpy.executors import SingleThreadedExecutor
from vision_msgs.msg import Detection2D


@pytest.fixture
def echo():
    """The other process."""
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("echo_process.py"))])
    yield process
    process.terminate()
    process.wait(timeout=10)


def test_messages_come_back_from_another_process(echo):
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("sender", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    rng = random.Random(5)
    sent = {topic: [kind(), *(random_message(kind, rng) for _ in range(4))] for topic, kind in TOPICS.items()}
    sent["detections"][1].detections = [random_message(Detection2D, rng) for _ in range(50)]
    received = {topic: [] for topic in TOPICS}
    for topic, kind in TOPICS.items():
        node.create_subscription(kind, f"out/{topic}", received[topic].append, LATCHED)
        publisher = node.create_publisher(kind, f"in/{topic}", LATCHED)
        for message in sent[topic]:
            publisher.publish(message)
    deadline = time.monotonic() + 30
    while any(len(received[t]) < len(sent[t]) for t in TOPICS) and time.monotonic() < deadline:
        assert echo.poll() is None, "the other process ended"
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()
    context.shutdown()
    assert received == sent
