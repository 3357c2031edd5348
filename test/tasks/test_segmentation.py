"""The segmentation decoder: labels kept, doubt marked, nonsense refused."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.errors import EngineError
from vision_nodes.tasks.segmentation import SegmentationDecoder


def outputs(labels: list[list[int]], confidence: list[list[float]]) -> dict[str, np.ndarray]:
    return {"labels": np.array([labels], np.uint8), "confidence": np.array([confidence], np.float32)}


def test_labels_and_confidence_pass() -> None:
    result = SegmentationDecoder(17).decode(outputs([[0, 16]], [[0.9, 0.3]]))
    np.testing.assert_array_equal(result.labels, [[0, 16]])
    np.testing.assert_allclose(result.confidence, [[0.9, 0.3]])


def test_doubtful_pixels_become_unlabelled_in_a_copy() -> None:
    raw = outputs([[0, 16]], [[0.9, 0.3]])
    result = SegmentationDecoder(17, min_confidence=0.5).decode(raw)
    np.testing.assert_array_equal(result.labels, [[0, 255]])
    np.testing.assert_array_equal(raw["labels"], [[[0, 16]]])


def test_bad_outputs_are_refused() -> None:
    with pytest.raises(EngineError, match="labels below 17"):
        SegmentationDecoder(17).decode(outputs([[17]], [[0.9]]))
    with pytest.raises(EngineError, match="finite confidence"):
        SegmentationDecoder(17).decode(outputs([[1]], [[float("nan")]]))
    with pytest.raises(EngineError, match="outputs labels"):
        SegmentationDecoder(17).decode({"labels": np.zeros((1, 2, 2), np.uint8)})
