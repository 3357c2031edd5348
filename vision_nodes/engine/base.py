"""What every inference backend offers, and the checks they share."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import EngineError, ModelError

if TYPE_CHECKING:
    from typing_extensions import Self

_Shape = tuple["int | None", ...]  # None = the file leaves this axis open


class Engine(ABC):
    """A loaded model. Use as a context manager; `infer` is called from one thread at a time.

    Attributes:
        manifest: what the model is.
        input_hw: height and width of the network input, px.
        batch: fixed batch size of the file.
        backend: what really runs, e.g. ``openvino``, ``onnxruntime-cpu``, ``tensorrt``.
        precision: what really runs: ``fp32``, ``int8``, ``fp16``, ``int8_fp16``.
        state: ``ready``; an engine that is being replaced says ``building``, or ``failed`` when that failed.
        message: what is being built, or why it failed.
        fraction: how much of the build is done, 0 to 1.
    """

    manifest: Manifest
    input_hw: tuple[int, int]
    batch: int
    backend: str
    precision: str
    state: str = "ready"
    message: str = ""
    fraction: float = 1.0

    @abstractmethod
    def infer(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network.

        Args:
            image: (H, W, 3) or (B, H, W, 3) uint8 RGB of exactly the input size.

        Returns:
            Output name -> array with the batch axis; valid until the next call.

        Raises:
            EngineError: wrong shape or dtype, or the backend failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the model; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CheckedEngine(Engine):
    """An engine that checks image and outputs against its manifest; backends fill in `_run` and `_free`."""

    def __init__(self, manifest: Manifest, precision: str, backend: str) -> None:
        self.manifest, self.precision, self.backend = manifest, precision, backend
        self.batch, height, width, _ = manifest.input.shape
        self.input_hw = (height, width)
        self._closed = False
        self._lock = threading.Lock()  # close may come from another thread than infer
        self._expected = {name: (o.shape, np.dtype(o.dtype)) for name, o in manifest.outputs.items()}

    @abstractmethod
    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the backend on a C-contiguous (B, H, W, 3) uint8 array."""

    @abstractmethod
    def _free(self) -> None:
        """Drop the backend's objects."""

    def infer(self, image: np.ndarray) -> dict[str, np.ndarray]:
        image = check_image(image, self.manifest)
        with self._lock:
            if self._closed:
                raise EngineError(f"an open engine for {self.manifest.name}", "a closed one", "open it again")
            outputs = self._run(image)
        for name, (shape, dtype) in self._expected.items():
            have = outputs[name]
            if have.shape != shape or have.dtype != dtype:
                raise EngineError(
                    f"{name} {dtype} {shape} from {self.manifest.name}",
                    f"{have.dtype} {have.shape} from {self.backend}",
                    "the file breaks its manifest: export it again",
                )
        return outputs

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._free()

    def _warm_up(self) -> None:
        """One inference on black: a broken file shows here, not in the first callback."""
        self.infer(np.zeros(self.manifest.input.shape, np.uint8))


def check_image(image: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Give (H, W, 3) its batch axis and make the array C-contiguous; neither copies where none is needed.

    Raises:
        EngineError: not the shape or dtype of the manifest's input.
    """
    shape = manifest.input.shape
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        if image.shape == shape:
            return np.ascontiguousarray(image)
        if shape[0] == 1 and image.shape == shape[1:]:
            return np.ascontiguousarray(image)[None]
    received = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise EngineError(
        f"uint8 {shape} RGB image for {manifest.name}", received, "scale the frame with Frame.resized first"
    )


def check_signature(
    manifest: Manifest, inputs: dict[str, tuple[str, _Shape]], outputs: dict[str, tuple[str, _Shape]]
) -> None:
    """Compare the inputs and outputs of an opened file, name -> (numpy dtype name, shape), with the manifest.

    Raises:
        ModelError: a name, a type or a fixed axis differs.
    """
    wanted_inputs = {"image": ("uint8", manifest.input.shape)}
    wanted_outputs = {name: (o.dtype, o.shape) for name, o in manifest.outputs.items()}
    for kind, want, have in (("input", wanted_inputs, inputs), ("output", wanted_outputs, outputs)):
        if set(have) != set(want):
            raise _broken(manifest, f"{kind}s {sorted(want)}", str(sorted(have)))
        for name, (dtype, shape) in want.items():
            have_dtype, have_shape = have[name]
            same_rank = len(have_shape) == len(shape)
            fits = same_rank and all(h is None or h == w for h, w in zip(have_shape, shape))
            if have_dtype != dtype or not fits:
                raise _broken(manifest, f"{kind} {name} {dtype} {shape}", f"{have_dtype} {have_shape}")


def _broken(manifest: Manifest, expected: str, received: str) -> ModelError:
    return ModelError(
        f"{expected} by the manifest of {manifest.name}", f"{received} in the file", "export the model again"
    )
