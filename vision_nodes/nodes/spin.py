"""Start, spin and stop nodes: one executor thread that only dispatches."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence

import cv2
import rclpy
import rclpy.logging
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from vision_nodes.nodes.base import VisionNode


def run_node(make: Callable[[], VisionNode]) -> None:
    """Create one node, bring it up and spin until SIGINT or SIGTERM."""
    run_nodes(lambda: [make()])


class RosLogHandler(logging.Handler):
    """What the libraries below the nodes log goes to the terminal and /rosout like everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record at its own level."""
        logger = rclpy.logging.get_logger(record.name)
        log = {logging.DEBUG: logger.debug, logging.INFO: logger.info, logging.WARNING: logger.warning}
        log.get(record.levelno, logger.error)(record.getMessage())


def run_nodes(make: Callable[[], Sequence[VisionNode]]) -> None:
    """Create nodes, bring them up and spin; the exit status is 1 when a node could not start at all."""
    rclpy.init(args=sys.argv)
    logging.getLogger("vision_nodes").addHandler(RosLogHandler())
    cv2.setNumThreads(1)  # one worker thread per task already; more would fight over the cores
    signal.signal(signal.SIGTERM, lambda *_: rclpy.try_shutdown())
    nodes: list[VisionNode] = []
    up: list[bool] = []
    try:
        nodes += make()
        up += [node.autostart() for node in nodes]
        if any(up):
            spin(nodes)
    except Exception:
        if rclpy.ok():  # otherwise the middleware went away in mid-start: the user stopped us
            raise
        up.append(True)
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
