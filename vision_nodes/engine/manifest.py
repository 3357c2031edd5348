"""The manifest beside every model: what it is, what it was trained on, what it measured, which bytes.

One YAML file per model, ``models/<name>.yaml``; docs/manifest.md describes every key. Nothing opens a model
file except through `Manifest.file_for` or `Manifest.read_file`, which check the SHA-256 first.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from vision_nodes.engine.contract import PRECISIONS, TASKS, check_manifest
from vision_nodes.engine.fields import read_yaml, write_atomically
from vision_nodes.engine.manifest_specs import (
    DepthSpec,
    Head,
    InputSpec,
    Measurement,
    ModelFile,
    OutputSpec,
    Training,
)
from vision_nodes.engine.manifest_yaml import manifest_to_yaml, values_from_fields
from vision_nodes.errors import ModelError

REFUSED_LOSS, ACCEPTED_LOSS = (
    "refused_loss",
    "accepted_loss",
)  # in `accuracy`: the gate's verdict on a precision

__all__ = [
    "ACCEPTED_LOSS",
    "PRECISIONS",
    "REFUSED_LOSS",
    "TASKS",
    "DepthSpec",
    "Head",
    "InputSpec",
    "Manifest",
    "ModelFile",
    "OutputSpec",
    "Training",
]


@dataclass(frozen=True)
class Manifest:
    """Everything the runtime needs to know about a model before opening it."""

    name: str
    task: str
    description: str
    files: dict[str, ModelFile]
    input: InputSpec
    outputs: dict[str, OutputSpec]
    training: Training
    licence: str
    source: str
    class_names: tuple[str, ...] = ()
    postprocess: dict[str, float] = field(default_factory=dict)
    depth: DepthSpec | None = None
    descriptor_dim: int | None = None
    heads: dict[str, Head] = field(default_factory=dict)
    label: str = ""
    accuracy: Measurement = field(default_factory=dict)
    time_ms: Measurement = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_manifest(self)

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """Read and check one manifest.

        Raises:
            ModelError: a key is unknown, missing or of the wrong type, or the contract is broken.
        """
        path = Path(path)
        values = values_from_fields(read_yaml(path))
        if values["name"] != path.stem:
            raise ModelError(
                f"name '{path.stem}' in {path}", repr(values["name"]), "rename the file or the model"
            )
        try:
            return cls(path=path, **values)
        except ModelError as error:
            raise ModelError(f"{error.expected} in {path}", error.received, error.remedy) from error

    def write(self, path: str | Path) -> None:
        """Write as YAML, atomically. Raises OSError when the directory is not writable."""
        write_atomically(Path(path), manifest_to_yaml(self).encode())

    def file_for(self, precision: str) -> Path:
        """Path of the verified ONNX file of that precision.

        Raises:
            ModelError: not offered, missing, or its SHA-256 differs from the manifest's.
        """
        self.read_file(precision)
        return self._path_for(precision)

    def read_file(self, precision: str) -> bytes:
        """Verified content of the ONNX file: what was hashed is what the engine loads. Raises as `file_for`."""
        path = self._path_for(precision)
        want = self.files[precision]
        remedy = f"restore {path.name} from the release, or write its manifest again if the change is meant"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"model file {path}", error.strerror or str(error), remedy) from error
        have = hashlib.sha256(content).hexdigest()
        if have != want.sha256:
            raise ModelError(
                f"SHA-256 {want.sha256} ({want.bytes} bytes) for {path}",
                f"{have} ({len(content)} bytes)",
                remedy,
            )
        return content

    def refused(self, precision: str) -> bool:
        """Whether the gate of ``vision-nodes verify`` refused that file, or the one it is derived from.

        A refused file runs only where it is asked for by name.
        """
        sources = {"int8_fp16": ("int8", "int8_fp16")}.get(precision, (precision,))
        return any(REFUSED_LOSS in self.accuracy.get(source, {}) for source in sources)

    def head(self, task: str) -> Manifest:
        """This model seen as one task: itself, or for a fused model the part that serves `task`.

        Raises:
            ModelError: the model does not serve that task.
        """
        if task == self.task:
            return self
        if task not in self.heads:
            have = ", ".join(self.heads) or self.task
            raise ModelError(f"a {task} model", f"{self.name} serves {have}", "choose another model")
        head = self.heads[task]
        outputs = {name: self.outputs[ours] for name, ours in head.outputs.items()}
        depth = self.depth if task == "depth" else None
        dim = self.descriptor_dim if task in ("place", "features") else None
        return dataclasses.replace(
            self,
            task=task,
            outputs=outputs,
            class_names=head.class_names,
            heads={},
            depth=depth,
            descriptor_dim=dim,
        )

    def _path_for(self, precision: str) -> Path:
        if precision not in self.files:
            offered = ", ".join(self.files)
            raise ModelError(f"{self.name} in {precision}", f"it offers {offered}", "choose one of these")
        if self.path is None:
            raise ModelError(
                f"{self.name} read from a file", "a manifest made in memory", "write it, then read it"
            )
        return self.path.parent / self.files[precision].file
