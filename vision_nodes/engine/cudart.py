"""The few CUDA runtime calls TensorRT needs, through ctypes over the system's libcudart (12 or newer).

The primary context is used throughout: `use_device` in every thread, no context is ever created or pushed.
Device attributes are read one by one; the property struct differs between versions.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import os
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vision_nodes.errors import EngineError

_P, _PP = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
_INT, _INT_P, _SIZE = ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.c_size_t
_PROTOTYPES: dict[str, tuple[object, ...]] = {
    "cudaGetDeviceCount": (_INT_P,),
    "cudaSetDevice": (_INT,),
    "cudaDeviceGetAttribute": (_INT_P, _INT, _INT),
    "cudaRuntimeGetVersion": (_INT_P,),
    "cudaGetLastError": (),
    "cudaMalloc": (_PP, _SIZE),
    "cudaFree": (_P,),
    "cudaMallocHost": (_PP, _SIZE),
    "cudaFreeHost": (_P,),
    "cudaMemcpyAsync": (_P, _P, _SIZE, _INT, _P),
    "cudaStreamCreateWithFlags": (_PP, ctypes.c_uint),
    "cudaStreamSynchronize": (_P,),
    "cudaStreamDestroy": (_P,),
    "cudaStreamBeginCapture": (_P, _INT),
    "cudaStreamEndCapture": (_P, _PP),
    "cudaGraphInstantiate": (_PP, _P, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_P, _P),
    "cudaGraphDestroy": (_P,),
    "cudaGraphExecDestroy": (_P,),
}
_LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12")
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_NON_BLOCKING, _THREAD_LOCAL_CAPTURE = 1, 1
_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16  # cudaDeviceAttr
_thread = threading.local()


@dataclass(frozen=True)
class DeviceInfo:
    """What an engine is built for. `cuda` as the runtime writes it: 12060 = 12.6."""

    name: str
    compute_capability: str
    multiprocessors: int
    cuda: int
    l4t: str  # Jetson's system release; empty elsewhere


@functools.cache
def library() -> ctypes.CDLL:
    """The CUDA runtime with its prototypes set. Raises EngineError when there is none."""
    tried = [os.environ.get("VISION_NODES_CUDART"), ctypes.util.find_library("cudart"), *_LIBRARIES]
    for name in filter(None, tried):
        try:
            cudart = ctypes.CDLL(name)
            for function, arguments in _PROTOTYPES.items():
                getattr(cudart, function).argtypes = arguments
        except (OSError, AttributeError):
            continue
        for function in ("cudaGetErrorName", "cudaGetErrorString"):
            getattr(cudart, function).argtypes = (_INT,)
            getattr(cudart, function).restype = ctypes.c_char_p
        return cudart
    raise EngineError(
        "libcudart of CUDA 12 or newer",
        "none of " + ", ".join(filter(None, tried)),
        "install the CUDA runtime",
    )


def call(function: str, *arguments: object) -> None:
    """Call one runtime function. Raises EngineError with CUDA's own words when it fails."""
    cudart = library()
    status = getattr(cudart, function)(*arguments)
    if status:
        name, text = cudart.cudaGetErrorName(status), cudart.cudaGetErrorString(status)
        received = f"error {status} {name.decode()}: {text.decode()}"
        raise EngineError(f"{function} to succeed", received, "see CUDA's message")


def gpu_missing() -> str:
    """Why there is no CUDA GPU to use; empty when there is one."""
    count = ctypes.c_int()
    try:
        call("cudaGetDeviceCount", ctypes.byref(count))
    except EngineError as error:
        return f"no CUDA GPU: {error}"
    return "" if count.value else "no CUDA GPU: the runtime counts 0 devices"


def use_device(device: int = 0) -> None:
    """Make `device` current in this thread; CUDA keeps that per thread, and forgetting it is a classic fault."""
    if getattr(_thread, "device", None) != device:
        call("cudaSetDevice", device)
        _thread.device = device


def device_info(device: int = 0) -> DeviceInfo:
    """Read what the engine key needs. Raises EngineError without a GPU."""
    use_device(device)
    version = ctypes.c_int()
    call("cudaRuntimeGetVersion", ctypes.byref(version))
    major, minor, processors = (_attribute(a, device) for a in (_MAJOR, _MINOR, _MULTIPROCESSORS))
    release = Path("/etc/nv_tegra_release")
    l4t = release.read_text().splitlines()[0] if release.is_file() else ""
    return DeviceInfo(_device_name(device), f"{major}.{minor}", processors, version.value, l4t)


def _attribute(attribute: int, device: int) -> int:
    value = ctypes.c_int()
    call("cudaDeviceGetAttribute", ctypes.byref(value), attribute, device)
    return value.value


def _device_name(device: int) -> str:
    """Name by the driver API, whose call is the same in every version."""
    with contextlib.suppress(OSError, AttributeError):
        driver, text = ctypes.CDLL("libcuda.so.1"), ctypes.create_string_buffer(256)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetName(text, 256, device) == 0:
            return text.value.decode(errors="replace")
    return "unknown GPU"


class Buffer:
    """One tensor: `host`, a pinned array, and `device`, the address of its copy on the GPU."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._bytes = int(np.prod(shape)) * dtype.itemsize
        pointer = ctypes.c_void_p()
        call("cudaMallocHost", ctypes.byref(pointer), self._bytes)
        memory = (ctypes.c_uint8 * self._bytes).from_address(pointer.value or 0)
        # Freed when the last view is gone, not on close: a result may outlive its engine.
        weakref.finalize(memory, library().cudaFreeHost, pointer).atexit = False
        self.host = np.frombuffer(memoryview(memory), dtype).reshape(shape)
        device = ctypes.c_void_p()
        call("cudaMalloc", ctypes.byref(device), self._bytes)
        self.device = device.value or 0

    def to_device(self, stream: int) -> None:
        """Queue host -> device."""
        call("cudaMemcpyAsync", self.device, self.host.ctypes.data, self._bytes, _TO_DEVICE, stream)

    def to_host(self, stream: int) -> None:
        """Queue device -> host."""
        call("cudaMemcpyAsync", self.host.ctypes.data, self.device, self._bytes, _TO_HOST, stream)

    def close(self) -> None:
        """Free the GPU's part."""
        device, self.device = self.device, 0
        if device:
            call("cudaFree", device)


class Stream:
    """A non-default stream and the graphs captured on it."""

    def __init__(self) -> None:
        pointer = ctypes.c_void_p()
        call("cudaStreamCreateWithFlags", ctypes.byref(pointer), _NON_BLOCKING)
        self.handle = pointer.value or 0
        self._graph = ctypes.c_void_p()

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        """Record what is queued inside as one graph, for `launch`. Raises EngineError when that fails."""
        graph = ctypes.c_void_p()
        call("cudaStreamBeginCapture", self.handle, _THREAD_LOCAL_CAPTURE)
        try:
            yield
        except BaseException:
            library().cudaStreamEndCapture(self.handle, ctypes.byref(graph))
            library().cudaGetLastError()  # a failed capture leaves its error behind
            raise
        call("cudaStreamEndCapture", self.handle, ctypes.byref(graph))
        try:
            call("cudaGraphInstantiate", ctypes.byref(self._graph), graph, 0)
        finally:
            call("cudaGraphDestroy", graph)

    def launch(self) -> None:
        """Queue the captured graph."""
        call("cudaGraphLaunch", self._graph, self.handle)

    def synchronize(self) -> None:
        """Wait for everything queued."""
        call("cudaStreamSynchronize", self.handle)

    def close(self) -> None:
        """Destroy the graph and the stream."""
        if self._graph.value:
            call("cudaGraphExecDestroy", self._graph)
        handle, self.handle, self._graph = self.handle, 0, ctypes.c_void_p()
        if handle:
            call("cudaStreamDestroy", handle)
