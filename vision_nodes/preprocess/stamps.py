"""Watching the stamps of an image stream: they must increase, or start again."""

from __future__ import annotations

import logging

from vision_nodes.errors import FrameError

_log = logging.getLogger(__name__)


class StampMonitor:
    """Tells a restarted stream (bag loop, simulation reset) from a frame out of order.

    A jump back by more than `restart_jump_ns` starts a new run; a smaller or equal step back is an
    error, because results join to images by stamp and odometry integrates over time.

    Attributes:
        run: number of restarts so far; whoever keeps state compares it with the last one seen.
    """

    def __init__(self, restart_jump_ns: int) -> None:
        self.run = 0
        self._restart_jump_ns = restart_jump_ns
        self._last_ns: int | None = None

    def check(self, stamp_ns: int) -> int:
        """The run this stamp belongs to.

        Raises:
            FrameError: the stamp does not follow the last one, and it is no restart.
        """
        last = self._last_ns
        if last is not None and stamp_ns <= last:
            if last - stamp_ns <= self._restart_jump_ns:
                raise FrameError(
                    f"a stamp after {last} ns",
                    f"{stamp_ns} ns ({(last - stamp_ns) / 1e6:.3f} ms back)",
                    "give every image its own capture time; two publishers on one topic look like this too",
                )
            self.run += 1
            _log.warning(
                "stamps jumped back by %.3f s: the stream restarted (run %d)",
                (last - stamp_ns) / 1e9,
                self.run,
            )
        self._last_ns = stamp_ns
        return self.run
