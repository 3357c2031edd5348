"""What a node does by the clock, outside the executor.

A timer that fires makes rclpy's executor look at every entity of every node: 5 ms of CPU with six
managed nodes, whatever the timer does. A thread that sleeps costs nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Periodic:
    """Calls functions at fixed periods of the monotonic clock, in a thread of its own.

    The functions must not raise: the node wraps them in its error policy. A call that takes longer than its
    period delays the next one, and periods that passed meanwhile are left out.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._due: dict[Callable[[], None], tuple[float, float]] = {}  # function -> (due, period), s
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def every(self, period_s: float, function: Callable[[], None]) -> None:
        """Call `function` every `period_s`, first after one period; a second call changes the period.

        Raises:
            ValueError: the period is not positive.
        """
        if period_s <= 0:
            raise ValueError(f"expected a period > 0 s, got {period_s}")
        with self._condition:
            self._due[function] = (time.monotonic() + period_s, period_s)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def cancel(self, function: Callable[[], None]) -> None:
        """Do not call `function` again; unknown ones are ignored."""
        with self._condition:
            self._due.pop(function, None)
            self._condition.notify_all()

    def close(self, timeout_s: float = 5.0) -> None:
        """Cancel everything and wait for a call in progress."""
        with self._condition:
            self._due.clear()
            self._condition.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._condition:
                function = self._next()
                if function is None:
                    self._thread = None
                    return
            function()

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next function that is due; None when there is none left. Holds the condition."""
        while self._due:
            function, (due, period) = min(self._due.items(), key=lambda item: item[1][0])
            now = time.monotonic()
            if due <= now:
                self._due[function] = (max(due + period, now), period)
                return function
            self._condition.wait(due - now)
        return None
