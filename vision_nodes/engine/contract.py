"""The model contract (docs/manifest.md): which outputs a task must have, which keys go with it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from vision_nodes.errors import ModelError

if TYPE_CHECKING:
    from vision_nodes.engine.manifest import Head, Manifest, OutputSpec

TASKS = ("detection", "segmentation", "depth", "features", "place", "fused")
PRECISIONS = ("fp32", "int8", "fp16", "int8_fp16")  # int8 = FP32-Q/DQ; the fp16 ones are derived for TensorRT

# task -> output -> (dtype, shape after the batch axis; a letter = any size, the same letter the same size)
CONTRACT: dict[str, dict[str, tuple[str, tuple[object, ...]]]] = {
    "detection": {
        "boxes": ("float32", ("N", 4)),
        "scores": ("float32", ("N",)),
        "class_ids": ("int32", ("N",)),
    },
    "segmentation": {"labels": ("uint8", ("H", "W")), "confidence": ("float32", ("H", "W"))},
    "depth": {"depth": ("float32", ("H", "W"))},
    "features": {
        "keypoints": ("float32", ("N", 2)),
        "scores": ("float32", ("N",)),
        "descriptors": ("float32", ("N", "D")),
    },
    "place": {"descriptor": ("float32", ("D",))},
}
DTYPES = ("float32", "int32", "uint8")


def check_manifest(manifest: Manifest) -> None:
    """Raise ModelError where the manifest breaks the contract; the message names the key."""
    _require(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", manifest.name), "name", "a-z 0-9 _ -", manifest.name)
    _require(manifest.task in TASKS, "task", " | ".join(TASKS), manifest.task)
    _require(manifest.files, "files", "at least one precision", "none")
    for key, mapping in (
        ("files", manifest.files),
        ("accuracy", manifest.accuracy),
        ("time_ms", manifest.time_ms),
    ):
        for precision in mapping:
            _require(precision in PRECISIONS, key, "/".join(PRECISIONS), precision)
    _check_files(manifest)
    _check_outputs(manifest)
    _check_task_keys(manifest)
    for name, value in manifest.postprocess.items():
        _require(math.isfinite(value), "postprocess", f"a finite number for {name}", value)


def _check_files(manifest: Manifest) -> None:
    for precision, file in manifest.files.items():
        key = f"files: {precision}"
        _require(is_plain_name(file.file), f"{key}: file", "a plain file name beside the manifest", file.file)
        _require(re.fullmatch(r"[0-9a-f]{64}", file.sha256), f"{key}: sha256", "64 hex digits", file.sha256)
        _require(file.bytes > 0, f"{key}: bytes", "a positive size", file.bytes)


def _check_outputs(manifest: Manifest) -> None:
    for name, output in manifest.outputs.items():
        key = f"outputs: {name}"
        _require(output.dtype in DTYPES, key, " | ".join(DTYPES), output.dtype)
        batch = output.shape[0] if output.shape else 0
        _require(
            batch == manifest.input.batch, key, f"first axis {manifest.input.batch} (batch)", output.shape
        )
    if manifest.task != "fused":
        check_contract(manifest.task, manifest.outputs, manifest.class_names)
        _require(not manifest.heads, "heads", "none (only fused models)", list(manifest.heads))
        return
    _require(manifest.heads, "heads", "one entry per task of a fused model", "none")
    for task, head in manifest.heads.items():
        _check_head(manifest, task, head)


def _check_head(manifest: Manifest, task: str, head: Head) -> None:
    _require(task in CONTRACT, "heads", " | ".join(CONTRACT), task)
    for ours in head.outputs.values():
        _require(ours in manifest.outputs, f"heads: {task}", f"one of {sorted(manifest.outputs)}", ours)
    outputs = {name: manifest.outputs[ours] for name, ours in head.outputs.items()}
    check_contract(task, outputs, head.class_names)


def check_contract(task: str, outputs: dict[str, OutputSpec], class_names: tuple[str, ...]) -> None:
    """Raise ModelError unless `outputs` has what `task` promises; more outputs are allowed."""
    sizes: dict[object, int] = {}
    for name, (dtype, axes) in CONTRACT[task].items():
        _require(name in outputs, "outputs", f"'{name}' for task {task}", sorted(outputs))
        output = outputs[name]
        shape = output.shape[1:]
        fits = output.dtype == dtype and len(shape) == len(axes)
        for axis, size in zip(axes, shape):
            fits = fits and size == (axis if isinstance(axis, int) else sizes.setdefault(axis, size))
        _require(
            fits, f"outputs: {name}", f"{dtype} (B, {', '.join(map(str, axes))})", f"{output} with {sizes}"
        )
    named = task in ("detection", "segmentation")
    _require(bool(class_names) == named, "class_names", "names" if named else f"none for {task}", class_names)
    _require(len(set(class_names)) == len(class_names), "class_names", "each name once", class_names)
    _require(task != "segmentation" or len(class_names) < 255, "class_names", "at most 254", len(class_names))


def _check_task_keys(manifest: Manifest) -> None:
    tasks = {manifest.task, *manifest.heads}
    _require(
        (manifest.depth is not None) == ("depth" in tasks), "depth", "present for depth only", manifest.depth
    )
    if manifest.depth is not None:
        positive = manifest.depth.fx_canonical > 0 and manifest.depth.max_m > 0
        _require(positive, "depth", "positive fx_canonical and max_m", manifest.depth)
    has_descriptor = bool(tasks & {"features", "place"})
    dim = manifest.descriptor_dim
    _require((dim is not None) == has_descriptor, "descriptor_dim", "present for features and place", dim)
    for name in ("descriptor", "descriptors"):
        if name in manifest.outputs:
            size = manifest.outputs[name].shape[-1]
            _require(size == dim, "descriptor_dim", f"{size}, the size of output {name}", dim)


def is_plain_name(name: str) -> bool:
    """Whether `name` is a file name without any directory part, so that it stays beside the manifest."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name) is not None and ".." not in name


def _require(condition: object, key: str, expected: str, received: object) -> None:
    if not condition:
        raise ModelError(f"{expected} for '{key}'", repr(received), f"correct '{key}' in the manifest")
