"""A strict stand-in for TensorRT's Python module, one per version in tensorrt_api.json.

It offers exactly the names that the real bindings of that version have (of those listed there), refuses
arguments the real signature would refuse, and refuses attributes nobody declared. Behind that it works:
an "engine" is the ONNX file with a header, executed by ONNX Runtime on the addresses it is given, on the
queue of fake_cudart.c. It proves that our calls are well formed and in a possible order, not that TensorRT
does what we expect of them.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime as ort

API: dict[str, dict[str, object]] = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text())
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
DTYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8}


@dataclass
class Behaviour:
    """What goes wrong, and what was seen."""

    cudart: ctypes.CDLL
    factory_fails: bool = False
    parse_fails: bool = False
    build_fails: tuple[bytes, ...] = ()  # ONNX files whose build returns None
    context_fails: bool = False
    execute_fails: bool = False
    wrong_answers: tuple[bytes, ...] = ()
    refuse_timing_cache: bool = False
    built: list[bytes] = field(default_factory=list)
    timing_caches: list[bytes] = field(default_factory=list)


class Strict:
    """Base of the fake's classes: only declared attributes can be set from outside."""

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and f"{_public(type(self))}.{name}" not in type(self)._writable:
            raise AttributeError(f"TensorRT's {_public(type(self))} has no attribute {name!r} to set")
        object.__setattr__(self, name, value)


def _public(kind: type) -> str:
    return next(k.__name__ for k in kind.__mro__ if "_is_public" in vars(k))


def _accepts(overload: list[str], args: tuple[object, ...], kwargs: dict[str, object]) -> bool:
    names = [name.rstrip("=") for name in overload]
    bound = set(names[: len(args)])
    if len(args) > len(names) or not set(kwargs) <= set(names) - bound:
        return False
    required = {name for name in overload if not name.endswith("=")}
    return required <= bound | set(kwargs)


def _checked(symbol: str, overloads: list[list[str]], function: object) -> object:
    @functools.wraps(function)
    def call(self: object, *args: object, **kwargs: object) -> object:
        if not any(_accepts(overload, args, kwargs) for overload in overloads):
            raise TypeError(f"{symbol}(): incompatible arguments {args} {kwargs}; have {overloads}")
        return function(self, *args, **kwargs)

    return call


def strict(behaviour_class: type, api: dict[str, object]) -> type:
    """A class that has only what `api` lists of it."""
    name = behaviour_class.__name__
    members: dict[str, object] = {
        "_is_public": True,
        "_writable": {s for s, d in api.items() if d == "writable property"},
    }
    for attribute, value in vars(behaviour_class).items():
        described = api.get(f"{name}.{attribute}")
        if attribute.startswith("_") and attribute != "__init__":
            members[attribute] = value
        elif isinstance(described, list):
            members[attribute] = _checked(f"{name}.{attribute}", described, value)
        elif described is not None:
            members[attribute] = value
        elif attribute == "__init__":
            members[attribute] = value  # TensorRT hands these out itself
    return type(name, (Strict,), members)


def _enum(name: str, members: list[str], api: dict[str, object], prefix: str = "") -> type:
    have = [m for m in members if api.get(f"{prefix}{name}.{m}") is not None]
    return enum.IntEnum(name, have, start=0)


def make_tensorrt(version: str, behaviour: Behaviour) -> ModuleType:
    """The fake module of one version in `API`."""
    api = API[version]
    trt = ModuleType("tensorrt")
    trt.__version__ = f"{version}.0"
    trt.NetworkDefinitionCreationFlag = _enum(
        "NetworkDefinitionCreationFlag", ["EXPLICIT_BATCH", "STRONGLY_TYPED"], api
    )
    trt.BuilderFlag = _enum("BuilderFlag", ["FP16", "INT8"], api)
    trt.MemoryPoolType = _enum("MemoryPoolType", ["WORKSPACE"], api)
    trt.TensorIOMode = enum.IntEnum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"], start=0)
    trt.nptype = lambda trt_type: DTYPES[trt_type]
    from fake_tensorrt_classes import classes

    for kind in classes(trt, behaviour):
        setattr(trt, kind.__name__, strict(kind, api))
    trt.ILogger.Severity = enum.IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING"], start=0)
    return trt


def array_at(address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """View of memory."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * count).from_address(address), dtype).reshape(shape)


def session(onnx: bytes) -> ort.InferenceSession:
    """What the fake computes with."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
