"""Feature decoder: order, threshold, pixels of the frame."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.errors import EngineError
from vision_nodes.tasks.features import FeatureDecoder

TO_NETWORK = ResizeMap((640, 480), (320, 240))


def outputs(scores: list[float]) -> dict[str, np.ndarray]:
    n = len(scores)
    keypoints = np.stack([np.arange(n), 2.0 * np.arange(n)], axis=1).astype(np.float32)
    descriptors = np.eye(max(n, 1), 4, dtype=np.float32)[:n] * 3
    return {
        "keypoints": keypoints[None],
        "scores": np.array([scores], np.float32),
        "descriptors": descriptors[None],
    }


def test_nothing_found_is_a_result():
    assert len(FeatureDecoder().decode(outputs([0.0, 0.0]), TO_NETWORK).scores) == 0
    assert len(FeatureDecoder().decode(outputs([]), TO_NETWORK).scores) == 0


def test_best_first_in_frame_pixels_with_unit_norm():
    features = FeatureDecoder(min_score=0.1).decode(outputs([0.2, 0.05, 0.9]), TO_NETWORK)
    np.testing.assert_allclose(features.scores, [0.9, 0.2])
    np.testing.assert_allclose(features.keypoints_xy, [[4.5, 8.5], [0.5, 0.5]])  # (x + 0.5) * 2 - 0.5
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1)


def test_missing_or_misshapen_outputs_are_refused():
    broken = outputs([0.5])
    with pytest.raises(EngineError, match="descriptors"):
        FeatureDecoder().decode({k: v for k, v in broken.items() if k != "descriptors"}, TO_NETWORK)
    with pytest.raises(EngineError, match="contract"):
        FeatureDecoder().decode({**broken, "keypoints": np.zeros((1, 2, 2), np.float32)}, TO_NETWORK)
