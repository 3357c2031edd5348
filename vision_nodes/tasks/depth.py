"""Network depth at a canonical focal length -> metres for the camera at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import EngineError, ModelError

FAR_FRACTION = 0.98  # of max_m: the network's "too far to say", as for the sky


@dataclass(frozen=True)
class DepthDecoder:
    """Turns the outputs of one depth model into `DepthMap`s.

    Attributes:
        fx_canonical: focal length, px at the network's input width, for which outputs are metres.
        max_m: the farthest the network can say, metres at the canonical focal length.
        metric: False for a network that knows relative depth only: its results never count as metres.
    """

    fx_canonical: float
    max_m: float
    metric: bool = True

    def __post_init__(self) -> None:
        if not (self.fx_canonical > 0 and self.max_m > 0):
            received = f"fx_canonical {self.fx_canonical}, max_m {self.max_m}"
            raise ModelError("fx_canonical > 0 and max_m > 0", received, "correct depth in the manifest")

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> DepthDecoder:
        """Of a depth model, or of a fused model's depth head.

        Raises:
            ModelError: the manifest does not say the canonical focal length.
        """
        spec = manifest.head("depth").depth
        if spec is None:
            raise ModelError("depth: {fx_canonical, max_m}", "no such key", "add it to the manifest")
        return cls(float(spec.fx_canonical), float(spec.max_m), spec.metric)

    def decode(
        self, outputs: dict[str, np.ndarray], camera: CameraModel | None, min_confidence: float = 0.0
    ) -> DepthMap:
        """Depth of one picture at network resolution.

        Args:
            outputs: of the engine: `depth` (1, H, W) float32, metres at the canonical focal length, and
                optionally `confidence` (1, H, W) float32 in [0, 1].
            camera: intrinsics of the picture scaled to the network's input size; None = uncalibrated.
            min_confidence: pixels less sure become NaN.

        Returns:
            Depth along the optical axis; NaN where it is not finite, not positive, as far as the network can
            say, or not sure enough. Without a camera, or from a relative network, `metric` is False and values
            are those of the network: relative, never metres.

        Raises:
            EngineError: `depth` is missing or is not that of one picture.
        """
        raw = outputs.get("depth")
        if raw is None or raw.ndim != 3 or raw.shape[0] != 1:
            received = "none" if raw is None else str(raw.shape)
            raise EngineError("an output depth (1, H, W)", received, "use a model that follows the contract")
        depth = raw[0]
        with np.errstate(invalid="ignore"):
            valid = np.isfinite(depth) & (depth > 0) & (depth < FAR_FRACTION * self.max_m)
        confidence = outputs.get("confidence")
        if confidence is not None:
            confidence = np.where(valid, np.clip(np.nan_to_num(confidence[0]), 0, 1), 0).astype(np.float32)
            valid &= confidence >= min_confidence
        metric = self.metric and camera is not None
        scale = camera.fx / self.fx_canonical if self.metric and camera is not None else 1.0
        metres = np.where(valid, depth * np.float32(scale), np.float32(np.nan)).astype(np.float32)
        return DepthMap(metres, metric=metric, confidence=confidence)
