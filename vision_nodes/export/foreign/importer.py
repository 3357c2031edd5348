"""``vision-nodes import``: foreign file in, model file and manifest out."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vision_nodes.engine.lint import Finding, lint_onnx
from vision_nodes.engine.manifest import Manifest, ModelFile, Training
from vision_nodes.engine.onnxruntime import OnnxRuntimeEngine
from vision_nodes.errors import ModelError, VisionNodesError
from vision_nodes.export.foreign.decoders import find_decoder
from vision_nodes.export.foreign.request import Request
from vision_nodes.export.foreign.wrap import WrappedModel, wrap
from vision_nodes.export.onnx_file import specs_of, write_onnx
from vision_nodes.resources import resource_directories


@dataclass(frozen=True)
class Imported:
    """What was written, how it was understood, and what TensorRT would say to it."""

    manifest: Manifest
    wrapped: WrappedModel
    findings: list[Finding]


def name_from(path: Path) -> str:
    """A model name out of a file name: a-z 0-9 _ -."""
    return re.sub(r"[^a-z0-9_-]+", "_", path.stem.lower()).strip("_-") or "model"


def check_free(name: str, folder: Path, overwrite: bool) -> None:
    """Raises ModelError when another model already answers to that name."""
    own = folder / f"{name}.yaml"
    if own.is_file() and not overwrite:
        raise ModelError(f"a new name in {folder}", f"'{name}' is there", "choose --name, or --overwrite")
    for directory in resource_directories("models"):
        other = directory / f"{name}.yaml"
        if other.is_file() and other.resolve() != own.resolve():
            raise ModelError("a name of its own", f"'{name}' is also {other}", "choose another --name")


def import_onnx(
    source: Path, target: tuple[Path, str], head: tuple[str, str], request: Request, about: dict[str, str]
) -> Imported:
    """Wrap `source` and write ``<folder>/<name>.onnx`` and ``.yaml``; the manifest last, so that nothing
    half-written is ever found.

    Args:
        target: folder, model name.
        head: task, decoder name.
        about: ``licence`` and ``source`` for the manifest, ``command`` that was run.

    Raises:
        ModelError, ConfigError: nothing was written.
        OSError: the folder is not writable or full; no manifest was written.
    """
    folder, name = target
    canonical, decoder = find_decoder(head[1], head[0])
    wrapped = wrap(source, decoder, request)
    with tempfile.TemporaryDirectory() as trial:
        manifest = _write(wrapped, Path(trial), name, decoder.task, {**about, "decoder": canonical}, source)
        manifest = Manifest.read(Path(trial) / f"{name}.yaml")
        try:
            OnnxRuntimeEngine(
                manifest, "fp32"
            ).close()  # one inference, shapes and types against the manifest
        except VisionNodesError as error:
            raise ModelError(
                f"a model by the contract from {source}", str(error), "choose another decoder"
            ) from error
        findings = lint_onnx(manifest.read_file("fp32"))
    folder.mkdir(parents=True, exist_ok=True)
    _write(wrapped, folder, name, decoder.task, {**about, "decoder": canonical}, source)
    return Imported(Manifest.read(folder / f"{name}.yaml"), wrapped, findings)


def _write(
    wrapped: WrappedModel, folder: Path, name: str, task: str, about: dict[str, str], source: Path
) -> Manifest:
    path = folder / f"{name}.onnx"
    write_onnx(wrapped.model, path)
    image, head = wrapped.image, wrapped.head
    _, decoder = find_decoder(about["decoder"], task)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    mean, std = image.normalisation.mean, image.normalisation.std
    manifest = Manifest(
        name=name,
        task=task,
        description=f"{source.name} through the {about['decoder']} decoder; {image.colour}, (pixel - {list(mean)}) "
        f"/ {list(std)}. " + "; ".join(wrapped.notes),
        files={"fp32": ModelFile.of(path)},
        input=wrapped.input,
        outputs=specs_of(wrapped.model),
        training=Training((), 0, about["command"], f"{source.name}, sha256 {digest}"),
        licence=about["licence"],
        source=about["source"],
        class_names=head.class_names,
        postprocess=decoder.defaults.postprocess | _asked(about),
        depth=head.depth,
        descriptor_dim=head.descriptor_dim,
    )
    manifest.write(folder / f"{name}.yaml")
    return manifest


def _asked(about: dict[str, str]) -> dict[str, float]:
    """Thresholds that the user gave."""
    return {key: float(about[key]) for key in ("score_threshold", "nms_iou") if about.get(key)}
