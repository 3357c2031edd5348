"""What every inference backend offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

import numpy as np


class Engine(ABC):
    """A loaded model. Use as a context manager; `infer` is called from one thread at a time.

    Attributes:
        input_hw: height and width of the network input, px.
        batch: fixed batch size of the file.
        backend: what really runs, e.g. ``openvino``, ``onnxruntime-cpu``, ``tensorrt``.
        precision: what really runs: ``fp32``, ``int8``, ``fp16``.
    """

    input_hw: tuple[int, int]
    batch: int
    backend: str
    precision: str

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

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
