"""An engine that serves at once on one backend and changes over when a faster one has been built."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np

from vision_nodes.engine.base import Engine
from vision_nodes.errors import EngineError

_log = logging.getLogger(__name__)
Progress = Callable[[str, float], bool]


class UpgradingEngine(Engine):
    """Serves from `serving` while `build` works in a thread; the next `infer` after that uses the new one.

    `backend` and `precision` change with it. When the build fails, `serving` goes on and `state` says why.

    Args:
        serving: an open engine; closed here.
        build: makes a checked engine of the same model; given a progress function that returns False
            when the build should stop.
        on_progress: told (what, fraction) from the building thread.
    """

    def __init__(
        self,
        serving: Engine,
        build: Callable[[Progress], Engine],
        on_progress: Callable[[str, float], None] | None = None,
    ) -> None:
        self.manifest, self.input_hw, self.batch = serving.manifest, serving.input_hw, serving.batch
        self.state, self.message, self.fraction = "building", "starting", 0.0
        self._build, self._on_progress = build, on_progress
        self._next: Engine | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._use(serving)
        self._thread = threading.Thread(target=self._work, name=f"build-{self.manifest.name}", daemon=True)
        self._thread.start()

    def infer(self, image: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:
            if self._closed:
                raise EngineError(f"an open engine for {self.manifest.name}", "a closed one", "open it again")
            if self._next is not None:
                old, built = self._current, self._next
                self._next = None
                self._use(built)
                old.close()
                _log.info("%s now runs in %s on %s", self.manifest.name, self.precision, self.backend)
            return self._current.infer(image)

    def close(self) -> None:
        """Free both engines; a build still running is told to stop, not waited for."""
        with self._lock:
            self._closed = True
            for engine in filter(None, (self._current, self._next)):
                engine.close()
            self._next = None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the build to end, whichever way; False = still building."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _use(self, engine: Engine) -> None:
        self._current, self.backend, self.precision = engine, engine.backend, engine.precision

    def _progress(self, what: str, fraction: float) -> bool:
        self.message, self.fraction = what, fraction
        if self._on_progress is not None:
            self._on_progress(what, fraction)
        return not self._closed

    def _work(self) -> None:
        try:
            built = self._build(self._progress)
        except Exception as error:
            self.state, self.message = "failed", str(error)
            _log.warning("%s stays in %s on %s: %s", self.manifest.name, self.precision, self.backend, error)
            return
        with self._lock:
            if self._closed:
                built.close()
                return
            self._next = built
            self.state, self.message, self.fraction = "ready", "", 1.0
