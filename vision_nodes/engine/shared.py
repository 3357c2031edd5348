"""One engine for several tasks: a fused model runs once per picture, each task gets the outputs of its head."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import numpy as np

from vision_nodes.engine.base import Engine
from vision_nodes.engine.loader import open_engine
from vision_nodes.engine.manifest import Manifest
from vision_nodes.engine.models import find_model
from vision_nodes.errors import EngineError

PICTURES_KEPT = 4  # tasks that run in threads of their own are a few frames apart at most
_Key = tuple["Path | None", "str | None", str, int]
_open: dict[_Key, SharedEngine] = {}
_open_lock = threading.Lock()


class SharedEngine:
    """An engine that remembers its answers to the last pictures, by the identity of the array.

    Tasks of one process share a frame and its resized copy (`Frame.resized`), so that the second task to ask
    for a picture finds the answer there. Pictures are read-only by agreement and kept alive while remembered.

    Attributes:
        inferences: how often the network ran.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.inferences, self.users = engine, 0, 0
        self._kept: deque[tuple[np.ndarray, dict[str, np.ndarray]]] = deque(maxlen=PICTURES_KEPT)
        self._lock = threading.Lock()  # a task that asks while the network runs waits for its answer

    def infer(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """As `Engine.infer`, but the arrays stay valid; read-only, since others hold them too."""
        with self._lock:
            for picture, outputs in self._kept:
                if picture is image:
                    return outputs
            outputs = {name: value.copy() for name, value in self.engine.infer(image).items()}
            for value in outputs.values():
                value.setflags(write=False)
            self.inferences += 1
            self._kept.append((image, outputs))
            return outputs

    def close(self) -> None:
        """Free the engine and what it remembers."""
        with self._lock:
            self._kept.clear()
            self.engine.close()


class HeadEngine(Engine):
    """One task's view of a shared engine: its head's outputs under the contract's names."""

    def __init__(self, shared: SharedEngine, task: str, key: _Key) -> None:
        engine = shared.engine
        self.manifest = engine.manifest.head(task)
        self.input_hw, self.batch = engine.input_hw, engine.batch
        self.shared, self._key, self._closed = shared, key, False
        self._names = dict(engine.manifest.heads[task].outputs)
        self._follow()

    def infer(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """As `Engine.infer`; the network runs only when no other task has asked about this very array."""
        if self._closed:
            raise EngineError(f"an open engine for {self.manifest.name}", "a closed one", "open it again")
        outputs = self.shared.infer(image)
        self._follow()
        return {name: outputs[ours] for name, ours in self._names.items()}

    def close(self) -> None:
        """The last task to close frees the engine."""
        if not self._closed:
            self._closed = True
            _release(self._key, self.shared)

    def _follow(self) -> None:
        """What really runs may change when a TensorRT build is done."""
        engine = self.shared.engine
        self.backend, self.precision = engine.backend, engine.precision
        self.state, self.message, self.fraction = engine.state, engine.message, engine.fraction


def open_task_engine(
    model: str, task: str, *, precision: str | None = None, backend: str = "auto", threads: int = 1
) -> Engine:
    """The engine that serves `task`: a model of that task, or the task's head of a fused model.

    Tasks of one process that name the same fused model with the same settings share one engine.

    Raises:
        ModelError: no such model, or it does not serve `task`.
        EngineError: no backend could open it.
    """
    manifest, named = find_model(model)
    precision = precision or named
    manifest.head(task)  # says what it serves when this is not it
    if manifest.task == task:
        return open_engine(manifest, precision=precision, backend=backend, threads=threads)
    key = (manifest.path, precision, backend, threads)
    return HeadEngine(_acquire(key, manifest), task, key)


def _acquire(key: _Key, manifest: Manifest) -> SharedEngine:
    _, precision, backend, threads = key
    with _open_lock:
        if key not in _open:
            engine = open_engine(manifest, precision=precision, backend=backend, threads=threads)
            _open[key] = SharedEngine(engine)
        _open[key].users += 1
        return _open[key]


def _release(key: _Key, shared: SharedEngine) -> None:
    with _open_lock:
        shared.users -= 1
        if shared.users == 0:
            _open.pop(key, None)
            shared.close()
