"""Open a model by name on the best backend this machine has, and say why when it is not the first choice."""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable, Iterable

from vision_nodes.engine.base import Engine
from vision_nodes.engine.manifest import PRECISIONS, Manifest
from vision_nodes.engine.models import find_model
from vision_nodes.errors import EngineError, ModelError

_log = logging.getLogger(__name__)
Choice = tuple[str, str]  # (backend, precision)

# A Q/DQ file runs 3.4x as fast as FP32 in OpenVINO and slower than FP32 in ONNX Runtime on x86, so that pair
# is last, and only where INT8 was asked for. FP16 gains nothing on a CPU: it runs what it was derived from.
CPU_ORDER: dict[str, tuple[Choice, ...]] = {
    "": (("openvino", "int8"), ("onnxruntime", "fp32"), ("openvino", "fp32")),
    "fp32": (("onnxruntime", "fp32"), ("openvino", "fp32")),
    "int8": (("openvino", "int8"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")),
    "fp16": (("onnxruntime", "fp32"), ("openvino", "fp32")),
    "int8_fp16": (("openvino", "int8"), ("onnxruntime", "fp32")),
}
NAMED_ORDER: dict[str, tuple[str, ...]] = {"openvino": ("int8", "fp32"), "onnxruntime": ("fp32", "int8")}
BACKENDS = ("auto", "tensorrt", *NAMED_ORDER)


def open_engine(
    model: str | Manifest,
    *,
    precision: str | None = None,
    backend: str = "auto",
    threads: int = 1,
    on_build: Callable[[str, float], None] | None = None,
) -> Engine:
    """Open a model.

    With ``auto`` where TensorRT can run but has no engine in the cache yet, the engine returned serves from
    ONNX Runtime at once, builds in the background, and changes over when the built one has been checked.

    Args:
        model: ``name``, ``name:precision``, a manifest's path, or the manifest.
        precision: overrides the one in `model`; None = the fastest the machine runs well.
        backend: one of `BACKENDS`. ``auto`` goes on to the next candidate when one cannot be opened; one
            named is the only one tried, and ``tensorrt`` builds before it returns.
        threads: CPU threads of the engine.
        on_build: told (what, fraction done) during a TensorRT build, from the building thread.

    Returns:
        The engine; its `backend` and `precision` say what really runs.

    Raises:
        ModelError: no such model, or its files are not what the manifest says (never fallen back from).
        EngineError: no backend could open it; the message lists why, one by one.
    """
    manifest, precision = _resolve(model, precision)
    if backend not in BACKENDS:
        raise EngineError(f"a backend out of {', '.join(BACKENDS)}", repr(backend), "choose one of these")
    reasons: list[str] = []
    engine = None
    if backend in ("auto", "tensorrt"):
        engine = _open_tensorrt(manifest, precision, reasons, (threads, on_build), wait=backend == "tensorrt")
    if engine is None and backend != "tensorrt":
        engine = _open_first(manifest, cpu_choices(manifest, precision, backend), threads, reasons)
    if engine is None:
        raise EngineError(
            f"backend '{backend}' to run {manifest.name} in {precision or 'one of ' + ', '.join(manifest.files)}",
            "; ".join(reasons) or "no file in that precision",
            "choose another backend or precision, or install the backend",
        )
    for reason in reasons:
        _log.warning("%s runs in %s on %s: %s", manifest.name, engine.precision, engine.backend, reason)
    return engine


def build_engine(
    model: str | Manifest,
    *,
    precision: str | None = None,
    on_build: Callable[[str, float], None] | None = None,
) -> Engine:
    """Build for this GPU now, also what the cache has or what failed before: the work of ``vision-nodes build``.

    Raises:
        ModelError: no such model, or its files are not what the manifest says.
        EngineError: there is no TensorRT or no GPU here, or no precision could be built.
    """
    manifest, precision = _resolve(model, precision)
    why_not = tensorrt_missing()
    if why_not:
        raise EngineError("TensorRT and a GPU to build for", why_not, "run this on the robot")
    from vision_nodes.engine import tensorrt_build

    return tensorrt_build.open_built(manifest, precision, _going_on(on_build), again=True)


def open_cpu(manifest: Manifest, precision: str | None = None, threads: int = 1) -> Engine:
    """Open a model without TensorRT: the reference to compare with. Raises EngineError as `open_engine`."""
    reasons: list[str] = []
    engine = _open_first(manifest, cpu_choices(manifest, precision), threads, reasons)
    if engine is None:
        raise EngineError(
            f"ONNX Runtime or OpenVINO for {manifest.name}", "; ".join(reasons), "pip install onnxruntime"
        )
    return engine


def cpu_choices(manifest: Manifest, precision: str | None, backend: str = "auto") -> list[Choice]:
    """(backend, precision) pairs in the order to try, TensorRT aside."""
    if backend == "auto":
        order: Iterable[Choice] = CPU_ORDER[precision or ""]
        if precision in (None, "fp32") and _runs_on_cuda():
            order = [("onnxruntime", "fp32"), *order]
    else:
        order = [(backend, p) for p in ((precision,) if precision else NAMED_ORDER[backend])]
    usable = [p for p in manifest.files if p == precision or not manifest.refused(p)]
    return [choice for choice in dict.fromkeys(order) if choice[1] in usable]


def _resolve(model: str | Manifest, precision: str | None) -> tuple[Manifest, str | None]:
    manifest, named = find_model(model) if isinstance(model, str) else (model, None)
    precision = precision or named
    if precision is not None and precision not in PRECISIONS:
        raise ModelError(
            f"a precision out of {', '.join(PRECISIONS)}", repr(precision), "choose one of these"
        )
    return manifest, precision


def _open_first(
    manifest: Manifest, choices: Iterable[Choice], threads: int, reasons: list[str]
) -> Engine | None:
    """First choice that opens; why the others did not is appended to `reasons`."""
    for backend, precision in choices:
        if importlib.util.find_spec(backend) is None:
            reasons.append(f"{backend} ({precision}) is not installed: pip install {backend}")
            continue
        try:
            if backend == "openvino":
                from vision_nodes.engine.openvino import OpenVinoEngine

                return OpenVinoEngine(manifest, precision, threads)
            from vision_nodes.engine.onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(manifest, precision, threads)
        except (EngineError, ImportError) as error:
            reasons.append(f"{backend} ({precision}): {error}")
    return None


def _open_tensorrt(
    manifest: Manifest,
    precision: str | None,
    reasons: list[str],
    settings: tuple[int, Callable[[str, float], None] | None],
    *,
    wait: bool,
) -> Engine | None:
    """TensorRT from the cache, or built now (`wait`), or ONNX Runtime serving while it is built; None = cannot."""
    threads, on_build = settings
    why_not = tensorrt_missing()
    if why_not:
        if wait:
            reasons.append(why_not)
        return None
    from vision_nodes.engine import tensorrt_build
    from vision_nodes.engine.upgrading import UpgradingEngine

    cached = tensorrt_build.open_cached(manifest, precision, reasons)
    if cached is not None:
        return cached

    serving = None if wait else _open_first(manifest, cpu_choices(manifest, precision), threads, reasons)
    if serving is not None:
        build = functools.partial(tensorrt_build.open_built, manifest, precision)
        return UpgradingEngine(serving, build, on_build)

    try:
        return tensorrt_build.open_built(manifest, precision, _going_on(on_build))
    except EngineError as error:
        reasons.append(str(error))
        return None


def _going_on(on_build: Callable[[str, float], None] | None) -> Callable[[str, float], bool]:
    """Progress function of a build that nobody cancels."""

    def progress(what: str, fraction: float) -> bool:
        if on_build is not None:
            on_build(what, fraction)
        return True

    return progress


def tensorrt_missing() -> str:
    """Why TensorRT cannot run here; empty when it can."""
    if importlib.util.find_spec("tensorrt") is None:
        return "TensorRT's Python package is not installed (on a Jetson it comes with JetPack: python3-libnvinfer)"
    from vision_nodes.engine.cudart import gpu_missing

    return gpu_missing()


def _runs_on_cuda() -> bool:
    """Whether ONNX Runtime has its CUDA provider and there is a GPU for it."""
    if importlib.util.find_spec("onnxruntime") is None:
        return False
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return False
    from vision_nodes.engine.cudart import gpu_missing

    return not gpu_missing()
