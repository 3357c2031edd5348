"""Network output -> one unit vector per picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import EngineError, ModelError


@dataclass(frozen=True)
class DescriptorDecoder:
    """Checks and normalises the descriptor of one place model; `dim` is its length."""

    dim: int

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> DescriptorDecoder:
        """Of a place model, or of a fused model's place head.

        Raises:
            ModelError: the manifest does not say the descriptor's length.
        """
        dim = manifest.head("place").descriptor_dim
        if not dim:
            raise ModelError("descriptor_dim > 0", str(dim), "add it to the manifest")
        return cls(int(dim))

    def decode(self, outputs: dict[str, np.ndarray]) -> np.ndarray:
        """(D,) float32 of unit norm, a copy that outlives the engine's buffers.

        Args:
            outputs: of the engine, `descriptor` (1, D) float32.

        Raises:
            EngineError: missing, of another length, or without direction (zero, NaN, infinite).
        """
        descriptor = outputs.get("descriptor")
        if descriptor is None or descriptor.shape != (1, self.dim):
            received = "none" if descriptor is None else str(descriptor.shape)
            raise EngineError(
                f"an output descriptor (1, {self.dim})", received, "use the model's own manifest"
            )
        vector = descriptor[0].astype(np.float64)
        norm = np.linalg.norm(vector)
        if not np.isfinite(norm) or norm < 1e-6:
            raise EngineError("a descriptor with a direction", f"norm {norm}", "run the model in fp32")
        return (vector / norm).astype(np.float32)
