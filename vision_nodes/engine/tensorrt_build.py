"""Build TensorRT engines from the ONNX files, check them, keep them in the cache.

Not run on TensorRT itself here: see vision_nodes/engine/tensorrt.py.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any

from vision_nodes.engine import parity
from vision_nodes.engine.base import Engine
from vision_nodes.engine.cache import EngineCache, Key
from vision_nodes.engine.cudart import device_info, use_device
from vision_nodes.engine.manifest import Manifest
from vision_nodes.engine.tensorrt import TensorRtEngine, api, failure, new_logger, start
from vision_nodes.errors import EngineError, ModelError

_log = logging.getLogger(__name__)
Progress = Callable[[str, float], bool]  # (phase, fraction of the build) -> whether to go on
WORKSPACE_BYTES = 1 << 30  # enough for these networks; without a cap a build takes all of a Jetson's memory

# Strong typing leaves what is not quantized in the file's type, so Q/DQ over FP32 may lose to plain FP16.
ORDER: dict[str, tuple[str, ...]] = {
    "": ("int8_fp16", "fp16", "int8", "fp32"),
    "fp32": ("fp32",),
    "int8": ("int8_fp16", "int8", "fp16"),
    "fp16": ("fp16",),
    "int8_fp16": ("int8_fp16", "fp16"),
}


def open_cached(manifest: Manifest, precision: str | None, reasons: list[str]) -> TensorRtEngine | None:
    """The engine in the cache, or None when one must be built first; `reasons` says what was wrong with it."""
    cache = EngineCache()
    for choice, _, key in _choices(manifest, precision, cache):
        plan, why_not = cache.load(key)
        if plan is None:
            if cache.failure(key):
                continue  # built before, and failed: the next precision is the one in use
            _log.info("%s", why_not)
            return None
        try:
            return TensorRtEngine(manifest, choice, plan, _cuda(key))
        except EngineError as error:
            reasons.append(str(error))
            cache.discard(key)
            return None
    return None


def open_built(
    manifest: Manifest, precision: str | None, on_progress: Progress | None = None, *, again: bool = False
) -> TensorRtEngine:
    """Build, check against the CPU and keep the first precision that succeeds, INT8 before FP16.

    Args:
        precision: None = the fastest.
        on_progress: told (phase, fraction); returning False cancels the build.
        again: also try what failed before.

    Raises:
        EngineError: none could be built; the message has TensorRT's log lines for each.
    """
    cache = EngineCache()
    reasons: list[str] = []
    for choice, onnx, key in _choices(manifest, precision, cache):
        before = "" if again else cache.failure(key)
        if before:
            reasons.append(f"{choice} failed before: {before}")
            continue
        try:
            plan = build_plan(onnx, key, cache, on_progress)
            engine = TensorRtEngine(manifest, choice, plan, _cuda(key))
        except EngineError as error:
            reasons.append(f"{choice}: {error}")
            if not _cancelled(error):
                cache.store_failure(key, str(error))
            continue
        checked, problems = _check(engine, manifest)
        if problems:
            engine.close()
            reasons.append(f"{choice} computes something else than the CPU: {'; '.join(problems)}")
            cache.store_failure(key, reasons[-1])
            continue
        cache.store(key, plan, {"checked_against": checked})
        for reason in reasons:
            _log.warning("%s: %s", manifest.name, reason)
        return engine
    offered = ", ".join(manifest.files)
    raise EngineError(
        f"a TensorRT engine for {manifest.name} ({precision or offered})",
        " || ".join(reasons) or f"files only in {offered}",
        "it runs on ONNX Runtime meanwhile; `vision-nodes models check` names unsupported operators",
    )


def build_plan(onnx: bytes, key: Key, cache: EngineCache, on_progress: Progress | None = None) -> bytes:
    """Serialized engine of one ONNX file; minutes on a Jetson. Raises EngineError with TensorRT's log lines."""
    trt, logger = api(), new_logger()
    use_device()
    builder = start(trt.Builder, logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise failure(f"{key['model']} to parse", logger, "; ".join(errors) or "False")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    version, gpu = str(key["tensorrt"]), str(key["gpu"])
    for content in (cache.timing_cache(version, gpu), b""):
        timing = config.create_timing_cache(content)
        if timing is not None and config.set_timing_cache(timing, False):
            break
    monitor = _monitor(trt, on_progress) if on_progress is not None else None
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        if monitor is not None and monitor.cancelled:
            raise EngineError("the build to finish", "it was cancelled", "start it again")
        raise failure(f"{key['model']} ({key['precision']}) to build", logger)
    timing = config.get_timing_cache()
    if timing is not None:
        cache.store_timing_cache(version, gpu, bytes(timing.serialize()))
    return bytes(plan)


def engine_key(manifest: Manifest, precision: str, onnx: bytes) -> Key:
    """Everything a serialized engine depends on: it runs nowhere else."""
    info = device_info()
    return {
        "model": manifest.name,
        "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
        "precision": precision,
        "tensorrt": api().__version__,
        "cuda": info.cuda,
        "gpu": info.name,
        "compute_capability": info.compute_capability,
        "multiprocessors": info.multiprocessors,
        "l4t": info.l4t,
        "input": list(manifest.input.shape),
        "outputs": {name: [o.dtype, *o.shape] for name, o in manifest.outputs.items()},
        "workspace_bytes": WORKSPACE_BYTES,
    }


def _cuda(key: Key) -> int:
    return int(str(key["cuda"]))


def _cancelled(error: EngineError) -> bool:
    return "cancelled" in error.received


def _choices(manifest: Manifest, precision: str | None, cache: EngineCache) -> list[tuple[str, bytes, Key]]:
    found = []
    for choice in ORDER[precision or ""]:
        if manifest.refused(choice) and choice != precision:
            continue
        onnx = cache.onnx(manifest, choice)
        if onnx is not None:
            found.append((choice, onnx, engine_key(manifest, choice, onnx)))
    return found


def _monitor(trt: Any, on_progress: Progress) -> Any:
    """An IProgressMonitor that turns TensorRT's nested phases into one fraction that never goes back."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.cancelled, self.best = False, 0.0
            self.phases: dict[str, tuple[str | None, int, int]] = {}  # name -> (parent, steps, steps done)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases[phase_name] = (parent_phase, max(num_steps, 1), 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            parent, steps, _ = self.phases.get(phase_name, (None, 1, 0))
            self.phases[phase_name] = (parent, steps, step + 1)
            fraction, name = 0.0, phase_name
            for _ in range(len(self.phases)):
                parent, steps, done = self.phases[name]
                fraction = min((done + fraction) / steps, 1.0)
                if parent not in self.phases:
                    break
                name = parent
            self.best = max(self.best, fraction)
            self.cancelled = self.cancelled or not on_progress(phase_name, self.best)
            return not self.cancelled

        def phase_finish(self, phase_name: str) -> None:
            self.phases.pop(phase_name, None)

    return Monitor()


def _check(engine: TensorRtEngine, manifest: Manifest) -> tuple[str, list[str]]:
    """(what it was compared with, what is wrong): rebuilds differ, so each engine is checked once."""
    reference = _reference(manifest)
    if reference is None:
        _log.warning(
            "%s: built engine not checked: neither ONNX Runtime nor OpenVINO loads it", manifest.name
        )
        return "nothing", []
    with reference:
        report = parity.compare_engines(reference, engine, parity.probe_images(manifest.input.shape))
        return f"{reference.backend} {reference.precision}", parity.problems(report, engine.precision)


def _reference(manifest: Manifest) -> Engine | None:
    from vision_nodes.engine.loader import open_cpu

    try:
        return open_cpu(manifest, "fp32" if "fp32" in manifest.files else None)
    except (EngineError, ModelError):
        return None
