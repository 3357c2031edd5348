"""TensorRT 10.3 to 11: run a built engine. The only runtime module that imports ``tensorrt``.

Written against the names and arguments of the real Python bindings (test/engine/tensorrt_api.json); it has
not been run on TensorRT itself. Engines are strongly typed: precision is in the ONNX file alone.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import numpy as np

from vision_nodes.engine.base import CheckedEngine, check_signature
from vision_nodes.engine.cudart import Buffer, Stream, use_device
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import EngineError

_log = logging.getLogger(__name__)
_GRAPHS_SINCE = 12000  # CUDA 12 changed cudaGraphInstantiate to the three arguments used here


def api() -> Any:
    """TensorRT's module. Raises EngineError when it cannot be imported."""
    try:
        import tensorrt
    except Exception as error:  # a missing library is an OSError, a wrong NumPy an AttributeError
        raise EngineError(
            "TensorRT's Python package", f"{type(error).__name__}: {error}", "install it as JetPack ships it"
        ) from error
    return tensorrt


def new_logger() -> Any:
    """An ILogger that keeps the last complaints: where TensorRT returns None, only the log says why."""
    trt = api()

    class KeepingLogger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.lines.append(msg)
            _log.debug("%s", msg)

    return KeepingLogger()


def start(factory: Any, logger: Any) -> Any:
    """Make a Builder or Runtime; its native side raises TypeError when it cannot start."""
    try:
        return factory(logger)
    except Exception as error:
        raise failure(f"TensorRT's {factory.__name__} to start", logger, str(error)) from error


def failure(expected: str, logger: Any, received: str = "None") -> EngineError:
    """Error with what TensorRT logged."""
    said = " | ".join(logger.lines) or "TensorRT logged no error"
    return EngineError(
        expected, f"{received}: {said}", "see TensorRT's words; `vision-nodes build` tries again"
    )


class TensorRtEngine(CheckedEngine):
    """One execution context, one stream, pinned buffers; one CUDA graph per inference where capture works.

    Outputs are views of pinned memory, overwritten by the next `infer`.

    Raises:
        ModelError: inputs or outputs differ from the manifest.
        EngineError: TensorRT refuses the engine (another version, another GPU, damaged) or cannot run it.
    """

    def __init__(self, manifest: Manifest, precision: str, plan: bytes, cuda: int, device: int = 0) -> None:
        super().__init__(manifest, precision, "tensorrt")
        self._device = device
        self._buffers: dict[str, Buffer] = {}
        self._captured = False
        self._stream: Stream | None = None
        use_device(device)
        self._logger = new_logger()
        try:
            self._open(plan)
            self._warm_up()  # TensorRT wants one plain run before a capture
            if cuda >= _GRAPHS_SINCE:
                self._capture()
        except BaseException:
            self.close()
            raise

    def _open(self, plan: bytes) -> None:
        trt = api()
        self._runtime = start(trt.Runtime, self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise failure(f"an engine for {self.manifest.name} that this TensorRT can load", self._logger)
        self._check_tensors(trt)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise failure(f"memory for {self.manifest.name}'s execution context", self._logger)
        self._stream = Stream()
        specs = {name: (o.shape, o.dtype) for name, o in self.manifest.outputs.items()}
        for name, (shape, dtype) in {"image": (self.manifest.input.shape, "uint8"), **specs}.items():
            self._buffers[name] = Buffer(shape, np.dtype(dtype))
            if not self._context.set_tensor_address(name, self._buffers[name].device):
                raise failure(f"tensor {name} to take its address", self._logger, "False")

    def _check_tensors(self, trt: Any) -> None:
        described: dict[bool, dict[str, tuple[str, tuple[int | None, ...]]]] = {True: {}, False: {}}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))).name
            shape = tuple(None if axis < 0 else axis for axis in self._engine.get_tensor_shape(name))
            described[is_input][name] = (dtype, shape)
        check_signature(self.manifest, described[True], described[False])

    def _enqueue(self) -> None:
        assert self._stream is not None
        stream = self._stream.handle
        self._buffers["image"].to_device(stream)
        if not self._context.execute_async_v3(stream):
            raise failure(f"{self.manifest.name} to be queued", self._logger, "False")
        for name in self.manifest.outputs:
            self._buffers[name].to_host(stream)

    def _capture(self) -> None:
        """Record copies and kernels as one graph; a network that cannot be captured runs without."""
        assert self._stream is not None
        try:
            with self._stream.capture():
                self._enqueue()
            self._captured = True
        except EngineError as error:
            _log.warning("%s runs without a CUDA graph: %s", self.manifest.name, error)

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        assert self._stream is not None
        use_device(self._device)
        np.copyto(self._buffers["image"].host, image)
        if self._captured:
            self._stream.launch()
        else:
            self._enqueue()
        self._stream.synchronize()
        return {name: self._buffers[name].host for name in self.manifest.outputs}

    def _free(self) -> None:
        use_device(self._device)
        self._context = self._engine = self._runtime = None  # in this order: each holds on to the next
        if self._stream is not None:
            self._stream.close()
        for buffer in self._buffers.values():
            buffer.close()
