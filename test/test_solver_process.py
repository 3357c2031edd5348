"""The solver's process: answers, failures, deaths. The solvers are functions of the standard library."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vision_nodes.solver_process import SolverProcess

Make = Callable[..., "SolverProcess[Any, Any]"]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[SolverProcess[Any, Any]] = []

    def start(solve: Callable[[Any], Any], timeout_s: float = 30.0) -> SolverProcess[Any, Any]:
        made.append(SolverProcess(solve, "a test", timeout_s))
        return made[-1]

    yield start
    for solver in made:
        solver.close()
        assert solver.pid is None and not solver.busy


def test_nothing_submitted_gives_nothing(make: Make) -> None:
    solver = make(math.sqrt)
    assert solver.result(wait=True) is None and solver.pid is None


def test_one_problem_at_a_time_in_another_process(make: Make) -> None:
    solver = make(math.sqrt)
    assert solver.submit(2.0) and not solver.submit(3.0) and solver.busy
    assert solver.pid not in (None, os.getpid())
    assert solver.result(wait=True) == math.sqrt(2.0) and not solver.busy
    first = solver.pid
    assert solver.submit(9.0) and solver.result(wait=True) == 3.0 and solver.pid == first


def test_a_problem_without_solution_leaves_the_process_alive(make: Make) -> None:
    solver = make(math.sqrt)
    assert solver.submit(-1.0) and solver.result(wait=True) is None and not solver.busy
    first = solver.pid
    assert solver.submit(4.0) and solver.result(wait=True) == 2.0 and solver.pid == first


def test_a_text_is_an_answer_like_any_other(make: Make) -> None:
    solver = make(os.path.basename)
    assert solver.submit("/a/b") and solver.result(wait=True) == "b"


@pytest.mark.parametrize("moment", ["idle", "busy"])
def test_a_killed_process_costs_at_most_one_answer(make: Make, moment: str) -> None:
    solver = make(time.sleep if moment == "busy" else math.sqrt)
    assert solver.submit(30.0 if moment == "busy" else 4.0)
    if moment == "idle":
        assert solver.result(wait=True) == 2.0
    first = solver.pid
    os.kill(first, signal.SIGKILL)
    while Path(f"/proc/{first}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    if moment == "busy":
        assert solver.result(wait=True) is None and not solver.busy
    assert solver.submit(0.0)
    assert solver.result(wait=True) == (None if moment == "busy" else 0.0)
    assert solver.pid not in (None, first)


@pytest.mark.parametrize("wait", [True, False])
def test_a_stuck_process_is_replaced_also_when_nobody_waits(make: Make, wait: bool) -> None:
    solver = make(time.sleep, timeout_s=0.5)
    assert solver.submit(60.0)
    first, begin = solver.pid, time.monotonic()
    while solver.busy and time.monotonic() - begin < 20:
        assert solver.result(wait=wait) is None
        time.sleep(0.02)
    assert not solver.busy and 0.4 < time.monotonic() - begin < 10
    assert not Path(f"/proc/{first}").exists()
    assert solver.submit(0.0) and solver.pid != first


def test_the_process_dies_with_a_killed_parent() -> None:
    script = (
        "import time\nfrom vision_nodes.solver_process import SolverProcess\n"
        "s = SolverProcess(time.sleep, 'a test', 9.0)\n"
        "s.submit(0.0); s.result(wait=True); print(s.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    solver = Path(f"/proc/{int(parent.stdout.readline())}/stat")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while solver.exists() and solver.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the solver outlived its parent"
        time.sleep(0.05)
