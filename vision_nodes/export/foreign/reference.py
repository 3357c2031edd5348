"""What the untouched file computes on a picture that is the same every time: the truth a wrapped network must repeat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vision_nodes.errors import ModelError
from vision_nodes.export.foreign.source import ImageInput
from vision_nodes.export.onnx_file import onnx_session


@dataclass(frozen=True)
class RawOutput:
    """One output of the foreign network: its tensor, and its value on the test picture."""

    name: str
    sample: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Static shape."""
        return tuple(self.sample.shape)

    @property
    def is_integer(self) -> bool:
        """Whether it holds class ids or labels rather than numbers."""
        return self.sample.dtype.kind in "iub"


def probe_picture(size_wh: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 with edges, gradients and texture, the same every time."""
    width, height = size_wh
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3))
    blocks = np.kron(coarse, np.ones((16, 16, 1)))[:height, :width]
    ramp = np.linspace(-40, 40, width)[None, :, None] + rng.normal(0, 6, (height, width, 3))
    return np.clip(blocks + ramp, 0, 255).astype(np.uint8)


def run_source(path: Path, image: ImageInput, fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of the untouched file on the test picture, prepared in NumPy.

    Raises:
        ModelError: ONNX Runtime cannot run it.
    """
    try:
        session = onnx_session(path)
        names = [output.name for output in session.get_outputs()]
        feed = {image.name: image.prepare(probe_picture(image.size_wh)), **fed}
        return dict(zip(names, session.run(names, feed)))
    except Exception as error:  # the binding raises a dozen unrelated classes
        raise ModelError(
            f"a network that ONNX Runtime runs on {image.shape} ({image.dtype.__name__})",
            str(error)[:300],
            "check --size and --layout; convert custom operators to standard ones",
        ) from error
