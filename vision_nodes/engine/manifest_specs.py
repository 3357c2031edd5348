"""The parts of a manifest, one frozen dataclass per key (docs/manifest.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from vision_nodes.camera.resize_map import Fit

# precision -> {metric: value, "on": what it was measured on}
Measurement = dict[str, dict[str, "float | str"]]


@dataclass(frozen=True)
class ModelFile:
    """One ONNX file beside the manifest."""

    file: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> ModelFile:
        """Describe an existing file."""
        content = Path(path).read_bytes()
        return cls(Path(path).name, hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class InputSpec:
    """The input ``image``: uint8 (batch, height, width, 3) RGB, and how a camera image is fitted to it."""

    size_wh: tuple[int, int]
    fit: Fit = Fit.STRETCH
    batch: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, H, W, 3)."""
        return (self.batch, self.size_wh[1], self.size_wh[0], 3)


@dataclass(frozen=True)
class OutputSpec:
    """One output: numpy dtype name and shape with the batch axis."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class DepthSpec:
    """`fx_canonical` is the focal length, px at the network's input width, at which outputs are metres.

    Where `metric` is false the outputs are relative, for no camera metres, and `fx_canonical` plays no part.
    """

    fx_canonical: float
    max_m: float
    metric: bool = True


@dataclass(frozen=True)
class Training:
    """How to make the model again. `data`: one {name, licence, use} per data set."""

    data: tuple[dict[str, str], ...]
    seed: int
    command: str
    init: str


@dataclass(frozen=True)
class Head:
    """One task of a fused model: its class names, and contract output name -> the file's output name."""

    outputs: dict[str, str]
    class_names: tuple[str, ...] = ()
