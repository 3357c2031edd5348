"""TF without tf2_ros: static and latest transforms in, one broadcaster out."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from vision_nodes.camera.transforms import invert, make_transform, matrix_from_quat_xyzw
from vision_nodes.nodes.receiver import Receiver

STATIC_QOS = QoSProfile(
    depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
)
DYNAMIC_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


class TransformBuffer:
    """The latest known transform of every frame pair; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._edges: dict[str, dict[str, np.ndarray]] = {}

    def add(self, message: TFMessage) -> None:
        """Remember every transform of a TFMessage (rclpy's or a bag's)."""
        for stamped in message.transforms:
            t, q = stamped.transform.translation, stamped.transform.rotation
            T = make_transform(
                matrix_from_quat_xyzw(np.array([q.x, q.y, q.z, q.w])), np.array([t.x, t.y, t.z])
            )
            parent, child = stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/")
            with self._lock:
                self._edges.setdefault(parent, {})[child] = T
                self._edges.setdefault(child, {})[parent] = invert(T)

    def lookup(self, a: str, b: str) -> np.ndarray | None:
        """(4, 4) T_a_b over the latest transforms, or None when no chain connects a and b."""
        if a == b:
            return np.eye(4)
        with self._lock:
            reached = {a: np.eye(4)}
            queue = deque([a])
            while queue:
                frame = queue.popleft()
                for neighbour, T in self._edges.get(frame, {}).items():
                    if neighbour not in reached:
                        reached[neighbour] = reached[frame] @ T
                        if neighbour == b:
                            return reached[neighbour]
                        queue.append(neighbour)
        return None

    def frames(self) -> list[str]:
        """Names of all frames seen."""
        with self._lock:
            return sorted(self._edges)


class TransformListener:
    """Fills a buffer from `/tf_static` and `/tf`."""

    def __init__(self, node: Node, buffer: TransformBuffer) -> None:
        receiver = Receiver.of(node.context)
        self.subscriptions = [
            receiver.subscribe(node, TFMessage, "/tf_static", buffer.add, STATIC_QOS),
            receiver.subscribe(node, TFMessage, "/tf", buffer.add, DYNAMIC_QOS),
        ]

    def destroy(self, node: Node) -> None:
        """Unsubscribe."""
        for subscription in self.subscriptions:
            Receiver.of(node.context).unsubscribe(node, subscription)


def as_tf_message(*transforms: TransformStamped) -> TFMessage:
    """Wrap transforms for `/tf`."""
    return TFMessage(transforms=list(transforms))
