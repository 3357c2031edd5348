"""Start, spin and stop nodes: one executor thread that only dispatches."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from vision_nodes.nodes.base import VisionNode


def run_node(make: Callable[[], VisionNode]) -> None:
    """Create one node, bring it up and spin until SIGINT or SIGTERM."""
    run_nodes(lambda: [make()])


def run_nodes(make: Callable[[], Sequence[VisionNode]]) -> None:
    """Create nodes, bring them up and spin; the exit status is 1 when a node could not start at all."""
    rclpy.init(args=sys.argv)
    signal.signal(signal.SIGTERM, lambda *_: rclpy.try_shutdown())
    nodes = list(make())
    try:
        up = [node.autostart() for node in nodes]
        if any(up):
            spin(nodes)
    finally:
        for node in nodes:
            node.active = False
            node.stop_task()
            node.close_all()
            node.destroy_node()
        rclpy.try_shutdown()
    if not any(up):
        sys.exit(1)


def spin(nodes: Sequence[VisionNode]) -> None:
    """Dispatch callbacks in this thread until shutdown."""
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        executor.shutdown()
