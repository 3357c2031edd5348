"""Feature network outputs -> `Features` in the frame's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.datatypes import Features
from vision_nodes.errors import EngineError


@dataclass(frozen=True)
class FeatureDecoder:
    """Keeps the found features (score above `min_score`), best first."""

    min_score: float = 0.0

    def decode(self, outputs: dict[str, np.ndarray], to_network: ResizeMap) -> Features:
        """Features of one picture.

        Args:
            outputs: of the engine: `keypoints` (1, N, 2) network px, `scores` (1, N), `descriptors` (1, N, D).
            to_network: frame px (source) <-> network input px (target).

        Returns:
            M <= N features, keypoints in frame px, descriptors of unit norm; copies.

        Raises:
            EngineError: an output is missing or of another shape.
        """
        try:
            keypoints, scores, descriptors = (
                outputs[name] for name in ("keypoints", "scores", "descriptors")
            )
        except KeyError as error:
            raise EngineError("keypoints, scores, descriptors", f"no {error}", "check the model") from error
        n = scores.shape[-1]
        if scores.shape != (1, n) or keypoints.shape != (1, n, 2) or descriptors.shape[:2] != (1, n):
            received = f"{keypoints.shape}, {scores.shape}, {descriptors.shape}"
            raise EngineError(
                "(1, N, 2), (1, N), (1, N, D)", received, "use a model that follows the contract"
            )
        found = np.flatnonzero(scores[0] > self.min_score)
        found = found[np.argsort(-scores[0, found], kind="stable")]
        vectors = descriptors[0, found].astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        xy = to_network.to_source(keypoints[0, found].astype(np.float32))
        return Features(xy.astype(np.float32), scores[0, found].astype(np.float32), vectors)
