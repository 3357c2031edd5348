"""Read names and argument names out of TensorRT's real Python bindings, without TensorRT.

    python test/engine/tensorrt_names.py            # compare with tensorrt_api.json; exit code 1 = differs
    python test/engine/tensorrt_names.py --write    # write tensorrt_api.json

A bindings wheel is one extension module that needs nine C functions from TensorRT's libraries. Libraries of
those names whose functions return null let it be imported; then every class and signature can be read. Only
names are kept; the wheels go to a temporary directory and nothing of them comes back.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

API_FILE = Path(__file__).with_name("tensorrt_api.json")
WHEELS = {
    "10.3": "tensorrt-cu12-bindings==10.3.0",
    "10.13": "tensorrt-cu12-bindings==10.13.3.9",
    "10.16": "tensorrt-cu13-bindings==10.16.1.11",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
)
SYMBOLS = (  # what vision_nodes/engine calls, and names that must not be called since a version lacks them
    "__version__",
    "nptype",
    "Builder.__init__",
    "Builder.build_serialized_network",
    "Builder.create_builder_config",
    "Builder.create_network",
    "Builder.platform_has_fast_fp16",
    "BuilderFlag.FP16",
    "BuilderFlag.INT8",
    "IBuilderConfig.create_timing_cache",
    "IBuilderConfig.get_timing_cache",
    "IBuilderConfig.int8_calibrator",
    "IBuilderConfig.progress_monitor",
    "IBuilderConfig.set_memory_pool_limit",
    "IBuilderConfig.set_timing_cache",
    "ICudaEngine.create_execution_context",
    "ICudaEngine.get_tensor_dtype",
    "ICudaEngine.get_tensor_mode",
    "ICudaEngine.get_tensor_name",
    "ICudaEngine.get_tensor_shape",
    "ICudaEngine.num_io_tensors",
    "IExecutionContext.execute_async_v2",
    "IExecutionContext.execute_async_v3",
    "IExecutionContext.set_tensor_address",
    "IHostMemory.nbytes",
    "ILogger.Severity.ERROR",
    "ILogger.Severity.INTERNAL_ERROR",
    "ILogger.__init__",
    "ILogger.log",
    "IProgressMonitor.__init__",
    "IProgressMonitor.phase_finish",
    "IProgressMonitor.phase_start",
    "IProgressMonitor.step_complete",
    "ITimingCache.serialize",
    "MemoryPoolType.WORKSPACE",
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    "OnnxParser.__init__",
    "OnnxParser.get_error",
    "OnnxParser.num_errors",
    "OnnxParser.parse",
    "ParserError.desc",
    "Runtime.__init__",
    "Runtime.deserialize_cuda_engine",
    "TensorIOMode.INPUT",
)


def arguments(signature: str) -> list[str]:
    """Argument names of one pybind11 signature line; a trailing ``=`` marks one with a default."""
    inside, depth, part, parts = signature[signature.index("(") + 1 :], 0, "", []
    for character in inside:
        if character == ")" and depth == 0:
            break
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    names = []
    for text in filter(str.strip, [*parts, part]):
        name = re.match(r"\s*\*{0,2}(\w+)", text)
        assert name is not None, signature
        has_default = re.search(r"[^=<>!]=[^=]", re.sub(r"^\s*\w+\s*:", "", text)) is not None
        names.append(name.group(1) + ("=" if has_default else ""))
    return [name for name in names if name != "self"]


def describe(module: object, symbol: str) -> object:
    """None = absent; "value", "property", "writable property", or a list of overloads."""
    owner, found = None, module
    for name in symbol.split("."):
        owner, found = found, getattr(found, name, None)
        if found is None:
            return None
    if isinstance(owner, type) and not hasattr(owner, "__dict__"):
        return None
    if isinstance(owner, type) and symbol.endswith("__init__") and "__init__" not in vars(owner):
        return None
    if isinstance(found, property):
        return "writable property" if found.fset is not None else "property"
    if not callable(found):
        return "value"
    code = getattr(found, "__code__", None)
    if code is not None:
        return [list(code.co_varnames[: code.co_argcount])]
    name = symbol.rsplit(".", 1)[-1]
    lines = [line for line in (found.__doc__ or "").splitlines() if re.match(rf"\s*(\d+\. )?{name}\(", line)]
    real = [line for line in lines if "(*args, **kwargs)" not in line]
    return [arguments(line) for line in real] if real else "value"


def read_bindings(directory: str) -> dict[str, object]:
    """Import the bindings from `directory` (in a process of its own) and describe every symbol."""
    sys.path.insert(0, directory)
    import tensorrt_bindings

    return {symbol: describe(tensorrt_bindings, symbol) for symbol in SYMBOLS}


def exercise(directory: str) -> None:
    """Run our logger and progress monitor, subclasses of the real classes, and the failure of both factories."""
    sys.path.insert(0, directory)
    import tensorrt_bindings as trt

    sys.modules["tensorrt"] = trt
    from vision_nodes.engine.tensorrt import new_logger, start
    from vision_nodes.engine.tensorrt_build import _monitor
    from vision_nodes.errors import EngineError

    logger, seen = new_logger(), []
    logger.log(trt.ILogger.Severity.ERROR, "kept")
    logger.log(trt.ILogger.Severity.INFO, "dropped")
    assert list(logger.lines) == ["kept"]
    monitor = _monitor(trt, lambda what, fraction: seen.append((what, fraction)) or fraction < 0.4)
    monitor.phase_start("all", None, 2)
    monitor.phase_start("part", "all", 4)
    assert [monitor.step_complete("part", step) for step in range(4)] == [True, True, True, False]
    assert seen[-1] == ("part", 0.5)
    for factory in (trt.Builder, trt.Runtime):
        try:
            start(factory, logger)
        except EngineError as error:
            assert "nullptr" in str(error) and "kept" in str(error)
        else:
            raise AssertionError(f"{factory} started without TensorRT")
    assert [trt.nptype(t).__name__ for t in (trt.uint8, trt.float32, trt.int32)] == [
        "uint8",
        "float32",
        "int32",
    ]
    assert tuple(trt.Dims((1, -1, 3))) == (1, -1, 3)


def extract(directory: Path) -> dict[str, dict[str, object]]:
    """Download, stand in for the libraries, read: version -> symbol -> description."""
    source = directory / "stand_in.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for major in ("10", "11"):
        for library in LIBRARIES:
            name = f"lib{library}.so.{major}"
            command = [
                "cc",
                "-shared",
                "-fPIC",
                "-o",
                str(directory / name),
                f"-Wl,-soname,{name}",
                str(source),
            ]
            subprocess.run(command, check=True)
    found = {}
    for version, requirement in WHEELS.items():
        target = directory / version
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(target), requirement], check=True, capture_output=True)
        for wheel in target.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(target)
        read = subprocess.run(
            [sys.executable, __file__, "--read", str(target)],
            env={**os.environ, "LD_LIBRARY_PATH": str(directory)},
            check=True,
            capture_output=True,
            text=True,
        )
        found[version] = json.loads(read.stdout)
        paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        subprocess.run(
            [sys.executable, __file__, "--exercise", str(target)],
            env={**os.environ, "LD_LIBRARY_PATH": str(directory), "PYTHONPATH": paths},
            check=True,
        )
    return found


def main() -> int:
    """Command line of this file."""
    if sys.argv[1:2] == ["--read"]:
        sys.stdout.write(json.dumps(read_bindings(sys.argv[2])))
        return 0
    if sys.argv[1:2] == ["--exercise"]:
        exercise(sys.argv[2])
        return 0
    with tempfile.TemporaryDirectory() as directory:
        found = extract(Path(directory))
    if sys.argv[1:] == ["--write"]:
        API_FILE.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    same = json.loads(API_FILE.read_text()) == found
    sys.stdout.write("same\n" if same else "differs: run with --write and look at the diff\n")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
