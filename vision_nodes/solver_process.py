"""A solver in a process of its own, so that a long solve never holds the caller's interpreter.

Started with a plain command line instead of `multiprocessing`: no fork of a process with threads, and no
re-import of the user's main module. The process ends when its pipe does, however the parent died.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Generic, TypeVar

LOGGER = logging.getLogger(__name__)

Problem = TypeVar("Problem")
Solution = TypeVar("Solution")


class SolverProcess(Generic[Problem, Solution]):
    """One problem at a time: `submit`, then `result`. A dead or stuck process is replaced.

    Args:
        solve: a module's function; problem and solution cross the pipe pickled. RuntimeError and ValueError
            (NumPy's LinAlgError is one) mean that this problem has no solution.
        name: for the log.
        timeout_s: a solve that takes longer counts as stuck.
    """

    def __init__(self, solve: Callable[[Problem], Solution], name: str, timeout_s: float) -> None:
        self._target = f"{solve.__module__}:{solve.__name__}"
        self._name, self._timeout_s = name, timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._submitted_s = 0.0
        self.busy = False

    @property
    def pid(self) -> int | None:
        """Process id of the solver; None while none runs."""
        return None if self._process is None else self._process.pid

    def submit(self, problem: Problem) -> bool:
        """Hand over a problem; False when one is in the works already or no process can be started."""
        if self.busy:
            return False
        try:
            self._start()
            assert self._pipe is not None
            self._pipe.send(problem)
        except OSError as error:
            self._failed(error)
            return False
        self.busy, self._submitted_s = True, time.monotonic()
        return True

    def result(self, wait: bool) -> Solution | None:
        """The solution when it is there; `wait` blocks for it. None while solving and after a failure.

        After a failure `busy` is False: the caller decides whether to submit again.
        """
        if not self.busy or self._pipe is None:
            return None
        left_s = max(self._submitted_s + self._timeout_s - time.monotonic(), 0.0)
        try:
            if not self._pipe.poll(left_s if wait else 0):
                if wait or left_s == 0:
                    self._failed(TimeoutError(f"no answer in {self._timeout_s:g} s"))
                return None
            answer = self._pipe.recv()
        except (OSError, EOFError) as error:
            self._failed(error)
            return None
        self.busy = False
        if isinstance(answer, _Unsolved):
            LOGGER.debug("%s: no solution: %s", self._name, answer)
            return None
        return answer

    def close(self) -> None:
        """Stop the process; a later `submit` starts a new one."""
        self.busy = False
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._pipe, theirs = Pipe(duplex=True)
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vision_nodes.solver_process", self._target, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )

    def _failed(self, error: BaseException) -> None:
        LOGGER.warning("the process of %s failed (%s); it is started again", self._name, error)
        if self._process is not None:
            self._process.kill()
        self.close()


class _Unsolved(str):
    """Why a problem has no solution; a type of its own, so that no solution can be mistaken for it."""


def serve(target: str, descriptor: int) -> None:
    """Solve what comes through the pipe until it closes."""
    module, name = target.split(":")
    # The class the parent knows: this module is __main__ here.
    unsolved = import_module("vision_nodes.solver_process")._Unsolved
    solve = getattr(import_module(module), name)
    with Connection(descriptor) as pipe:
        while True:
            try:
                problem = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                answer = solve(problem)
            except (RuntimeError, ValueError) as error:
                answer = unsolved(error)
            try:
                pipe.send(answer)
            except OSError:
                return


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
