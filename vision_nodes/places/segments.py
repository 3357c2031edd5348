"""Which frames belong to one unbroken stretch of odometry."""

from __future__ import annotations

import numpy as np

from vision_nodes.places.keyframes import NO_SEGMENT
from vision_nodes.preprocess.frame import Frame


class SegmentTracker:
    """Counts segments up: a loss, a restarted stream or a stamp going backwards begins another."""

    def __init__(self) -> None:
        self._next = 0
        self._current = NO_SEGMENT
        self._stamp_ns: int | None = None
        self._run = 0

    @property
    def current(self) -> int:
        """Of the newest frame; NO_SEGMENT when it had no pose."""
        return self._current

    def restart_after(self, last_segment: int) -> None:
        """The next pose begins a segment with a number above `last_segment`."""
        self._next = max(self._next, last_segment + 1)
        self._current = NO_SEGMENT

    def update(self, frame: Frame, T_odom_cam: np.ndarray | None) -> int:
        """The frame's segment; NO_SEGMENT without a pose."""
        backwards = self._stamp_ns is not None and frame.stamp_ns < self._stamp_ns
        broken = T_odom_cam is None or backwards or frame.run != self._run
        self._stamp_ns, self._run = frame.stamp_ns, frame.run
        if broken:
            self._current = NO_SEGMENT
        if T_odom_cam is not None and self._current == NO_SEGMENT:
            self._current, self._next = self._next, self._next + 1
        return self._current
