"""The pose-graph solver in a process of its own.

Started by a plain command line: no fork of a process with threads, and no re-import of the user's main
module as `multiprocessing` would do. The worker ends when its pipe closes, however the parent died.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from vision_nodes.places.graph_solver import GraphProblem, GraphSolution, solve_graph

LOGGER = logging.getLogger(__name__)


class GraphWorker:
    """One problem at a time: `submit`, then `result`. A dead or stuck process is replaced."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self.busy = False

    @property
    def pid(self) -> int | None:
        """Process id of the solver; None while none runs."""
        return None if self._process is None else self._process.pid

    def submit(self, problem: GraphProblem) -> bool:
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
        self.busy = True
        return True

    def result(self, wait: bool) -> GraphSolution | None:
        """The solution when it is there; `wait` blocks for it. None while solving and after a failure.

        After a failure `busy` is False: the caller decides whether to submit again.
        """
        if not self.busy or self._pipe is None:
            return None
        try:
            if not self._pipe.poll(self._timeout_s if wait else 0):
                if wait:
                    self._failed(TimeoutError(f"no answer in {self._timeout_s:g} s"))
                return None
            answer = self._pipe.recv()
        except (OSError, EOFError) as error:
            self._failed(error)
            return None
        self.busy = False
        if isinstance(answer, str):
            LOGGER.warning("pose graph not optimised: %s", answer)
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
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vision_nodes.places.graph_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )

    def _failed(self, error: BaseException) -> None:
        LOGGER.warning("the pose graph's solver process failed (%s); it is started again", error)
        if self._process is not None:
            self._process.kill()
        self.close()


def serve(descriptor: int) -> None:
    """Solve what comes through the pipe until it closes."""
    with Connection(descriptor) as pipe:
        while True:
            try:
                problem = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                answer: GraphSolution | str = solve_graph(problem)
            except RuntimeError as error:
                answer = str(error)
            try:
                pipe.send(answer)
            except OSError:
                return


if __name__ == "__main__":
    serve(int(sys.argv[1]))
