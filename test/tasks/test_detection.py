"""Decoder and NMS against a slow independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nodes.errors import EngineError
from vision_nodes.tasks.detection import DetectionDecoder, iou_matrix, suppress


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two boxes, written out."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def slow_decode(outputs: dict[str, np.ndarray], decoder: DetectionDecoder) -> list[tuple[float, ...]]:
    """One candidate after the other, best first, against everything kept before."""
    w, h = decoder.input_wh
    candidates = []
    for box, score, kind in zip(*(outputs[name][0] for name in ("boxes", "scores", "class_ids"))):
        box = [max(-0.5, min(limit - 0.5, v)) for v, limit in zip(box, (w, h, w, h))]
        side = min(box[2] - box[0], box[3] - box[1])
        if score >= decoder.score_threshold and side >= decoder.min_side_px:
            candidates.append((float(score), int(kind), box))
    kept: list[tuple[float, int, list[float]]] = []
    for score, kind, box in sorted(candidates, key=lambda c: -c[0]):
        if all(k != kind or slow_iou(np.array(b), np.array(box)) <= decoder.nms_iou for _, k, b in kept):
            kept.append((score, kind, box))
    return [(score, kind, *box) for score, kind, box in kept[: decoder.max_detections]]


def random_outputs(seed: int, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(-20, 120, (count, 2)), rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
    scores = np.sort(rng.uniform(0, 1, count).astype(np.float32))[::-1]
    return {
        "boxes": boxes[None],
        "scores": np.ascontiguousarray(scores)[None],
        "class_ids": rng.integers(0, 3, (1, count)).astype(np.int32),
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 60))
def test_decode_equals_a_slow_decoder(seed: int, count: int) -> None:
    outputs = random_outputs(seed, count)
    decoder = DetectionDecoder((100, 80), score_threshold=0.2, nms_iou=0.4, max_detections=12)
    found = decoder.decode(outputs)
    expected = slow_decode(outputs, decoder)
    rows = np.array(expected).reshape(-1, 6)
    np.testing.assert_allclose(found.scores, rows[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(found.class_ids, rows[:, 1])
    np.testing.assert_allclose(found.boxes_xyxy, rows[:, 2:], rtol=1e-6)


def test_nothing_above_the_threshold_is_an_empty_result() -> None:
    outputs = random_outputs(1, 5)
    assert len(DetectionDecoder((100, 80), score_threshold=1.1).decode(outputs)) == 0
    assert len(DetectionDecoder((100, 80)).decode(random_outputs(1, 0))) == 0


def test_boxes_reach_half_a_pixel_beyond_the_outer_centres() -> None:
    outputs = {
        "boxes": np.array([[[-50, -50, 500, 500]]], np.float32),
        "scores": np.array([[0.9]], np.float32),
        "class_ids": np.array([[2]], np.int32),
    }
    found = DetectionDecoder((100, 80)).decode(outputs)
    np.testing.assert_array_equal(found.boxes_xyxy, [[-0.5, -0.5, 99.5, 79.5]])


def test_classes_do_not_suppress_each_other() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [1, 0, 11, 10]], np.float32)
    np.testing.assert_array_equal(suppress(boxes, np.array([0, 1, 0]), 0.5), [0, 1])
    np.testing.assert_array_equal(suppress(boxes, np.array([0, 1, 0]), 0.9), [0, 1, 2])


def test_iou_of_empty_and_degenerate_boxes() -> None:
    assert iou_matrix(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert iou_matrix(np.zeros((1, 4)), np.zeros((1, 4)))[0, 0] == 0


def test_bad_outputs_are_refused() -> None:
    outputs = random_outputs(3, 4)
    outputs["boxes"][0, 0, 0] = np.nan
    with pytest.raises(EngineError, match="finite"):
        DetectionDecoder((100, 80), score_threshold=0.0).decode(outputs)
    del outputs["scores"]
    with pytest.raises(EngineError, match="class_ids"):
        DetectionDecoder((100, 80)).decode(outputs)
