"""The fake is strict, and its names are those of the real bindings."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_tensorrt import API, Behaviour, make_tensorrt
from tensorrt_names import SYMBOLS, arguments


def fake(version: str):
    return make_tensorrt(version, Behaviour(ctypes.CDLL(None)))


def logger(trt):
    class Logger(trt.ILogger):
        def log(self, severity, msg):
            pass

    return Logger()


@pytest.mark.parametrize("version", API)
def test_it_refuses_what_the_bindings_refuse(version: str) -> None:
    trt = fake(version)
    builder = trt.Builder(logger(trt))
    with pytest.raises(TypeError, match="incompatible"):
        builder.create_network(1, 2)
    with pytest.raises(TypeError, match="incompatible"):
        trt.Builder()
    config = builder.create_builder_config()
    with pytest.raises(TypeError, match="incompatible"):
        config.set_timing_cache(None)
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1
    with pytest.raises(AttributeError):
        config.set_flag(0)
    with pytest.raises(TypeError, match="incompatible"):
        trt.IExecutionContext.execute_async_v3(object(), stream=1)
    assert not hasattr(trt.IExecutionContext, "execute_async_v2")


def test_what_version_11_dropped_is_dropped() -> None:
    assert hasattr(fake("10.3").BuilderFlag, "FP16")
    assert not hasattr(fake("11.4").BuilderFlag, "FP16")
    assert not hasattr(fake("11.4").NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")


@pytest.mark.parametrize(
    ("signature", "names"),
    [
        ("f(self: a.B) -> None", []),
        ("f(self: a.B, x: int, y: Callable[[int, str], None] = None) -> bool", ["x", "y="]),
        ("f(self: a.B, s: a.E = <E.STATIC: 0>) -> a.C", ["s="]),
        ("2. f(self: a.B, b: typing.SupportsInt | typing.SupportsIndex) -> a.C", ["b"]),
    ],
)
def test_signatures_are_read(signature: str, names: list[str]) -> None:
    assert arguments(signature) == names


def test_the_list_is_complete() -> None:
    assert all(set(symbols) == set(SYMBOLS) for symbols in API.values())


@pytest.mark.slow
def test_the_names_are_those_of_the_real_bindings() -> None:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    script = Path(__file__).with_name("tensorrt_names.py")
    run = subprocess.run(
        [sys.executable, str(script)], check=False, capture_output=True, text=True, timeout=300
    )
    if "CalledProcessError" in run.stderr and "download" in run.stderr:
        pytest.skip("the bindings cannot be downloaded here")
    assert run.returncode == 0, run.stdout + run.stderr
