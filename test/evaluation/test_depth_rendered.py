"""Depth on rendered drives: truth goes with the picture, and confidence is judged by the errors it hides."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.datatypes import DepthMap
from vision_nodes.evaluation.depth_rendered import confident_half, score_unseen_worlds, unseen_drives
from vision_nodes.preprocess.frame import Frame


class Oracle:
    """Knows the truth of every frame it will be asked about, up to a factor."""

    def __init__(self, frames: list[tuple[str, Frame, np.ndarray]], factor: float) -> None:
        self.truth = {frame.image.tobytes(): truth * np.float32(factor) for _, frame, truth in frames}

    def estimate(self, frame: Frame) -> DepthMap:
        depth = self.truth[frame.image.tobytes()]
        return DepthMap(depth, True, np.ones_like(depth))


@pytest.fixture(scope="module")
def frames() -> list[tuple[str, Frame, np.ndarray]]:
    return list(unseen_drives(range(50_000, 50_001), 2))


def test_frames_come_with_their_camera_and_truth(frames: list[tuple[str, Frame, np.ndarray]]) -> None:
    assert len(frames) == 2
    for kind, frame, truth in frames:
        assert kind in ("street", "indoor") and frame.camera is not None
        assert truth.shape == frame.image.shape[:2] == (480, 640)
        assert np.isfinite(truth).mean() > 0.3


def test_a_tenth_too_far_is_a_tenth(frames: list[tuple[str, Frame, np.ndarray]]) -> None:
    figures = score_unseen_worlds(Oracle(frames, 1.1), range(50_000, 50_001), 2)  # type: ignore[arg-type]
    assert figures["worlds_abs_rel"] == pytest.approx(0.1, abs=1e-3)
    assert figures["worlds_abs_rel_scaled"] == pytest.approx(0.0, abs=1e-3)
    assert figures["worlds_ratio"] == pytest.approx(1 / 1.1, abs=1e-3)
    assert figures[f"worlds_{frames[0][0]}_abs_rel"] == pytest.approx(figures["worlds_abs_rel"])


def test_sure_half_is_where_confidence_is_high() -> None:
    truth = np.full((4, 8), 2.0, np.float32)
    depth, confidence = truth.copy(), np.full((4, 8), 0.9, np.float32)
    depth[:, 4:] *= 2
    confidence[:, 4:] = 0.1
    assert confident_half(DepthMap(depth, True, confidence), truth)[
        "confident_half_abs_rel"
    ] == pytest.approx(0)
    worse = confident_half(DepthMap(depth, True, 1 - confidence), truth)["confident_half_abs_rel"]
    assert worse == pytest.approx(1.0)


def test_nothing_to_judge() -> None:
    truth = np.zeros((4, 8), np.float32)
    assert confident_half(DepthMap(truth + 1, True), truth + 1) == {}
    assert confident_half(DepthMap(truth + 1, True, truth + 1), truth) == {}
