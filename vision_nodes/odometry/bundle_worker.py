"""The optimiser in a process of its own, so that its NumPy never holds the caller's interpreter.

Started with a plain command line instead of `multiprocessing` (no re-import of the user's main module, no
fork of a process with threads). The worker ends when its pipe does, however the parent died.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import numpy as np

from vision_nodes.odometry.bundle_adjustment import BundleProblem, BundleSolution, solve_bundle

LOGGER = logging.getLogger(__name__)
WAIT_S = 120.0  # a solve takes 0.1 s; even on an overloaded machine the worker counts as dead after this


class BundleWorker:
    """One problem at a time: `submit`, then `result`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self.busy = False

    def submit(self, problem: BundleProblem) -> bool:
        """Hand over a problem; False when the previous one is still in the works or no worker runs."""
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

    def result(self, wait: bool) -> BundleSolution | None:
        """The solution if it is there; with `wait` the call blocks until it is. None also on failure."""
        if not self.busy or self._pipe is None:
            return None
        try:
            if not self._pipe.poll(WAIT_S if wait else 0):
                if wait:
                    self._failed(TimeoutError(f"no answer in {WAIT_S:g} s"))
                return None
            answer = self._pipe.recv()
        except (OSError, EOFError) as error:
            self._failed(error)
            return None
        self.busy = False
        if isinstance(answer, str):
            LOGGER.debug("window not optimised: %s", answer)
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
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        environment.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vision_nodes.odometry.bundle_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def _failed(self, error: BaseException) -> None:
        LOGGER.warning("bundle adjustment worker failed (%s); it is started again", error)
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
                answer: BundleSolution | str = solve_bundle(problem)
            except np.linalg.LinAlgError as error:
                answer = str(error)
            try:
                pipe.send(answer)
            except OSError:
                return


if __name__ == "__main__":
    serve(int(sys.argv[1]))
