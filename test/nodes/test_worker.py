"""The mailbox of one: newest wins, drops are counted, nothing blocks."""

from __future__ import annotations

import threading

from vision_nodes.nodes.worker import Worker


def test_nothing_put_nothing_handled_and_stop_twice() -> None:
    seen: list[int] = []
    worker: Worker[int] = Worker("w", seen.append)
    worker.stop()
    worker.start()
    assert worker.wait_idle(1.0)
    worker.stop()
    worker.stop()
    assert seen == [] and worker.dropped == 0


def test_newest_wins_while_busy_and_the_others_are_counted() -> None:
    started, go, seen = threading.Event(), threading.Event(), []

    def handle(item: int) -> None:
        seen.append(item)
        started.set()
        assert go.wait(10)

    worker: Worker[int] = Worker("w", handle)
    worker.start()
    worker.put(0)
    assert started.wait(10)
    for item in range(1, 6):
        worker.put(item)
    go.set()
    assert worker.wait_idle(10)
    worker.stop()
    assert seen == [0, 5] and worker.dropped == 4


def test_a_stopped_worker_forgets_what_waited() -> None:
    started, go, seen = threading.Event(), threading.Event(), []

    def handle(item: int) -> None:
        seen.append(item)
        started.set()
        assert go.wait(10)

    worker: Worker[int] = Worker("w", handle)
    worker.start()
    worker.put(0)
    assert started.wait(10)
    worker.put(1)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    go.set()
    stopper.join(10)
    assert not stopper.is_alive() and seen == [0]
