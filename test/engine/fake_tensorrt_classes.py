"""What the classes of fake_tensorrt.py do; their names and arguments are checked there."""

from __future__ import annotations

from types import ModuleType

from fake_tensorrt import DTYPES, KERNEL, Behaviour, array_at, session


def classes(trt: ModuleType, behaviour: Behaviour) -> list[type]:
    """Behaviours of one fake module."""
    return [*_logging(), *_building(trt, behaviour), *_running(trt, behaviour)]


def _logging() -> list[type]:
    class ILogger:
        def __init__(self) -> None:
            self._started = True

        def _log(self, text: str) -> None:
            self.log(type(self).Severity.ERROR, text)

        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

        def __setattr__(self, name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # users subclass it and keep what they like

        def log(self, severity: object, msg: str) -> None:
            raise NotImplementedError("pure virtual")

    class IProgressMonitor:
        def __init__(self) -> None:
            self._started = True

        def __setattr__(self, name: str, value: object) -> None:
            object.__setattr__(self, name, value)

    class IHostMemory:
        def __init__(self, content: bytes) -> None:
            self._content = content

        def __bytes__(self) -> bytes:
            return self._content

        @property
        def nbytes(self) -> int:
            return len(self._content)

    return [ILogger, IProgressMonitor, IHostMemory]


def _building(trt: ModuleType, behaviour: Behaviour) -> list[type]:
    class Network:
        def __init__(self) -> None:
            self._onnx = b""

    class ITimingCache:
        def __init__(self, content: bytes) -> None:
            self._content = content

        def serialize(self) -> object:
            return trt.IHostMemory(self._content + b"T")

    class IBuilderConfig:
        def __init__(self) -> None:
            self._timing = None
            self._workspace = 0

        progress_monitor = None

        def set_memory_pool_limit(self, pool: object, pool_size: int) -> None:
            self._workspace = int(pool_size)

        def create_timing_cache(self, serialized_timing_cache: bytes) -> object:
            return trt.ITimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache: object, ignore_mismatch: bool) -> bool:
            refused = behaviour.refuse_timing_cache and cache._content != b""
            if not refused:
                behaviour.timing_caches.append(cache._content)
                self._timing = cache
            return not refused

        def get_timing_cache(self) -> object:
            return self._timing

    class Builder:
        def __init__(self, logger: object) -> None:
            if behaviour.factory_fails:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            assert logger._started
            self._logger = logger

        def create_network(self, flags: int = 0) -> object:
            assert flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            return Network()

        def create_builder_config(self) -> object:
            return trt.IBuilderConfig()

        def build_serialized_network(self, network: object, config: object) -> object:
            behaviour.built.append(network._onnx)
            if config.progress_monitor is not None and not _report(config.progress_monitor):
                return None
            if network._onnx in behaviour.build_fails:
                self._logger._log("Could not find any implementation for node conv")
                return None
            return trt.IHostMemory(b"PLAN" + trt.__version__.encode() + b"|" + network._onnx)

    class ParserError:
        def __init__(self, text: str) -> None:
            self._text = text

        def desc(self) -> str:
            return self._text

    class OnnxParser:
        def __init__(self, network: object, logger: object) -> None:
            self._network = network

        @property
        def num_errors(self) -> int:
            return 1

        def parse(self, model: bytes, path: str | None = None) -> bool:
            self._network._onnx = model
            return not behaviour.parse_fails

        def get_error(self, index: int) -> object:
            return trt.ParserError("operator Frobnicate is not supported")

    return [ITimingCache, IBuilderConfig, Builder, ParserError, OnnxParser]


def _report(monitor: object) -> bool:
    """Two nested phases as TensorRT reports them; False = the user cancelled."""
    monitor.phase_start("Building", None, 2)
    go_on = True
    for outer in range(2):
        monitor.phase_start("Tactics", "Building", 4)
        for step in range(4):
            go_on = go_on and monitor.step_complete("Tactics", step)
        monitor.phase_finish("Tactics")
        go_on = go_on and monitor.step_complete("Building", outer)
    monitor.phase_finish("Building")
    return go_on


def _running(trt: ModuleType, behaviour: Behaviour) -> list[type]:
    class Runtime:
        def __init__(self, logger: object) -> None:
            if behaviour.factory_fails:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> object:
            header, _, onnx = bytes(serialized_engine).partition(b"|")
            if header != b"PLAN" + trt.__version__.encode():
                self._logger._log("The engine plan file is not compatible with this version of TensorRT")
                return None
            return trt.ICudaEngine(onnx)

    class ICudaEngine:
        def __init__(self, onnx: bytes) -> None:
            self._onnx = onnx
            self._session = session(onnx)
            nodes = self._session.get_inputs() + self._session.get_outputs()
            self._nodes = {node.name: node for node in nodes}

        @property
        def num_io_tensors(self) -> int:
            return len(self._nodes)

        def get_tensor_name(self, index: int) -> str:
            return list(self._nodes)[index]

        def get_tensor_mode(self, name: str) -> object:
            is_input = name in [node.name for node in self._session.get_inputs()]
            return trt.TensorIOMode.INPUT if is_input else trt.TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> str:
            return self._nodes[name].type

        def get_tensor_shape(self, name: str) -> list[int]:
            return [axis if isinstance(axis, int) else -1 for axis in self._nodes[name].shape]

        def create_execution_context(self, strategy: int = 0) -> object:
            return None if behaviour.context_fails else trt.IExecutionContext(self)

    class IExecutionContext:
        def __init__(self, engine: object) -> None:
            self._engine = engine
            self._addresses: dict[str, int] = {}
            self._kernel = KERNEL(self._execute)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            assert isinstance(memory, int) and name in self._engine._nodes
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert isinstance(stream_handle, int) and stream_handle != 0
            assert set(self._addresses) == set(self._engine._nodes), "an address was not set"
            if behaviour.execute_fails:
                return False
            return behaviour.cudart.fake_enqueue(stream_handle, self._kernel, None) == 0

        def _execute(self, _: object) -> None:
            run = self._engine._session
            arrays = {
                name: array_at(self._addresses[name], tuple(node.shape), DTYPES[node.type])
                for name, node in self._engine._nodes.items()
            }
            outputs = run.run(None, {"image": arrays["image"]})
            for node, value in zip(run.get_outputs(), outputs):
                wrong = self._engine._onnx in behaviour.wrong_answers
                arrays[node.name][...] = 1 - value if wrong else value

    return [Runtime, ICudaEngine, IExecutionContext]
