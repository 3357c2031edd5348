"""The clock of a node: periods, cancelling, ending."""

from __future__ import annotations

import threading
import time

import pytest

from vision_nodes.nodes.periodic import Periodic


def test_nothing_to_call_no_thread_and_close_twice() -> None:
    before = threading.active_count()
    periodic = Periodic("clock")
    periodic.close()
    periodic.close()
    assert threading.active_count() == before


def test_a_period_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="period > 0"):
        Periodic("clock").every(0.0, lambda: None)


def test_each_function_is_called_again_and_again_at_its_own_period() -> None:
    fast, slow, enough = [], [], threading.Event()

    def on_fast() -> None:
        fast.append(time.monotonic())

    def on_slow() -> None:
        slow.append(time.monotonic())
        if len(slow) == 3:
            enough.set()

    periodic = Periodic("clock")
    begin = time.monotonic()
    periodic.every(0.02, on_fast)
    periodic.every(0.1, on_slow)
    assert enough.wait(20)
    periodic.close()
    assert slow[0] - begin >= 0.1 and fast[0] - begin >= 0.02  # first after one period, never early
    assert slow[-1] - begin >= 0.3
    assert len(fast) > len(slow)


def test_cancelled_is_not_called_again_and_the_thread_ends() -> None:
    called = threading.Event()
    count = []

    def function() -> None:
        count.append(1)
        called.set()

    periodic = Periodic("the clock of this test")
    periodic.every(0.01, function)
    assert called.wait(20)
    periodic.cancel(function)
    periodic.close()
    assert "the clock of this test" not in [thread.name for thread in threading.enumerate()]
    calls = len(count)
    time.sleep(0.05)
    assert len(count) == calls
    periodic.every(0.01, function)  # and it starts again
    called.clear()
    assert called.wait(20)
    periodic.close()


def test_close_from_within_a_call_does_not_wait_for_itself() -> None:
    done = threading.Event()
    periodic = Periodic("clock")

    def function() -> None:
        periodic.close()
        done.set()

    periodic.every(0.01, function)
    assert done.wait(20)
