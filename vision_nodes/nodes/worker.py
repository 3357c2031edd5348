"""One thread per task with a mailbox of one: the newest item wins, what it replaces is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Worker(Generic[Item]):
    """Runs `handle` on the newest item, in its own thread.

    The executor thread only calls `put`, which never blocks; so a slow network cannot delay another
    node's messages. `handle` must not raise: the node catches and counts.
    """

    def __init__(self, name: str, handle: Callable[[Item], object]) -> None:
        self.name = name
        self.dropped = 0
        self._handle = handle
        self._item: Item | None = None
        self._busy = False
        self._stopping = False
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Finish the item in work, forget the waiting one, end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._condition:
            self._stopping = True
            self._item = None
            self._condition.notify_all()
        if thread is not threading.current_thread():
            thread.join(timeout_s)

    def put(self, item: Item) -> None:
        """Hand over the newest item; one that was still waiting is dropped and counted."""
        with self._condition:
            if self._item is not None:
                self.dropped += 1
            self._item = item
            self._condition.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Block until nothing waits and nothing is in work; False when the time ran out."""
        with self._condition:
            return self._condition.wait_for(lambda: self._item is None and not self._busy, timeout_s)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._item is not None or self._stopping)
                if self._stopping:
                    return
                item, self._item = self._item, None
                self._busy = True
            self._handle(item)  # type: ignore[arg-type]  # not None: waited for it
