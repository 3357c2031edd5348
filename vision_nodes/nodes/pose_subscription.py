"""Frames joined with odometry's answer by stamp, for a place node in a process of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry

from vision_nodes.messages.from_ros import pose_from_ros, stamp_ns
from vision_nodes.nodes.base import RELIABLE
from vision_nodes.nodes.extrinsics import Extrinsics
from vision_nodes.nodes.frame_subscription import FrameSubscription
from vision_nodes.nodes.receiver import Receiver
from vision_nodes.preprocess.frame import Frame

if TYPE_CHECKING:
    from vision_nodes.nodes.base import VisionNode

WAITING_LIMIT = 16  # frames and answers that wait for each other

TRACKED_STATES = ("tracking", "degraded")


class PoseSubscription:
    """Calls `accept(frame, T_odom_cam or None)` once image, `odometry/state` and, when the state has a
    pose, `odometry` of one stamp are there."""

    def __init__(
        self, node: VisionNode, extrinsics: Extrinsics, accept: Callable[[Frame, np.ndarray | None], None]
    ) -> None:
        self._node, self._extrinsics, self._accept = node, extrinsics, accept
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._states: OrderedDict[int, str] = OrderedDict()
        self._poses: OrderedDict[int, np.ndarray] = OrderedDict()
        self._source = FrameSubscription(node, self._on_frame)
        self._receiver = Receiver.of(node.context)
        self._subscriptions = [
            self._receiver.subscribe(node, DiagnosticArray, "odometry/state", self._on_state, RELIABLE),
            self._receiver.subscribe(node, Odometry, "odometry", self._on_odometry, RELIABLE),
        ]

    def close(self) -> None:
        """Unsubscribe."""
        self._source.close()
        for subscription in self._subscriptions:
            self._receiver.unsubscribe(self._node, subscription)

    def _on_frame(self, frame: Frame) -> None:
        self._remember(self._frames, frame.stamp_ns, frame)
        self._try(frame.stamp_ns)

    def _on_state(self, message: DiagnosticArray) -> None:
        stamp = stamp_ns(message.header)
        self._remember(self._states, stamp, message.status[0].message if message.status else "")
        self._try(stamp)

    def _on_odometry(self, message: Odometry) -> None:
        stamp = stamp_ns(message.header)
        self._remember(self._poses, stamp, pose_from_ros(message.pose.pose))
        self._try(stamp)

    def _remember(self, waiting: OrderedDict[int, Any], stamp: int, value: Any) -> None:
        waiting[stamp] = value
        while len(waiting) > WAITING_LIMIT:
            waiting.popitem(last=False)
            self._node.statistics.count("unpaired")

    def _try(self, stamp: int) -> None:
        state = self._states.get(stamp)
        if stamp not in self._frames or state is None:
            return
        if state in TRACKED_STATES and stamp not in self._poses:
            return
        frame, T_odom_base = self._frames.pop(stamp), self._poses.pop(stamp, None)
        del self._states[stamp]

        def hand_over() -> None:
            if T_odom_base is None:
                self._accept(frame, None)
            else:
                self._accept(frame, T_odom_base @ self._extrinsics.lookup(frame.frame_id))

        self._node.guarded(hand_over)
