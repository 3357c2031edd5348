"""COCO average precision against a slow implementation of its definition."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.datatypes import Detections
from vision_nodes.evaluation.detection import DetectionFrame, score_detections

NAMES = ["person", "car"]
Box = tuple[float, float, float, float]


def detections(rows: list[tuple[Box, float, int]]) -> Detections:
    if not rows:
        return Detections.empty()
    boxes, scores, classes = zip(*rows)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(classes, np.int64))


def frame(predicted: list[tuple[Box, float, int]], truth: list[tuple[Box, int]]) -> DetectionFrame:
    return DetectionFrame(detections(predicted), detections([(box, 1.0, c) for box, c in truth]))


def slow_iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def slow_hits(frames: list[DetectionFrame], category: int, threshold: float) -> tuple[list[bool], int]:
    """Right or wrong of all predictions of a class, best score first, and the number of true boxes."""
    rows: list[tuple[float, bool]] = []
    total = 0
    for one in frames:
        true = [
            tuple(box) for box, c in zip(one.truth.boxes_xyxy.tolist(), one.truth.class_ids) if c == category
        ]
        total += len(true)
        taken: set[int] = set()
        found = [
            (score, tuple(box))
            for box, score, c in zip(
                one.predicted.boxes_xyxy.tolist(), one.predicted.scores.tolist(), one.predicted.class_ids
            )
            if c == category
        ]
        for score, box in sorted(found, key=lambda item: -item[0]):
            overlaps = {i: slow_iou(box, other) for i, other in enumerate(true) if i not in taken}
            best = max(overlaps, key=lambda i: overlaps[i], default=None)
            right = best is not None and overlaps[best] >= threshold
            if right:
                taken.add(best)
            rows.append((score, right))
    return [right for _, right in sorted(rows, key=lambda item: -item[0])], total


def slow_ap(frames: list[DetectionFrame], category: int, threshold: float) -> float:
    """Mean over 101 recall levels of the best precision at that recall or beyond."""
    hits, total = slow_hits(frames, category, threshold)
    curve = []
    for n in range(1, len(hits) + 1):
        right = sum(hits[:n])
        curve.append((right / total, right / n))
    levels = [i / 100 for i in range(101)]
    return sum(max((p for r, p in curve if r >= level - 1e-12), default=0.0) for level in levels) / 101


def random_frames(seed: int, count: int = 6) -> list[DetectionFrame]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        truth: list[tuple[Box, int]] = []
        predicted: list[tuple[Box, float, int]] = []
        for _ in range(rng.integers(0, 5)):
            x, y = rng.uniform(0, 200, 2)
            w, h = rng.uniform(20, 80, 2)
            category = int(rng.integers(0, 2))
            truth.append(((x, y, x + w, y + h), category))
            for _ in range(rng.integers(0, 3)):
                dx, dy = rng.normal(0, 6, 2)
                predicted.append(((x + dx, y + dy, x + w + dx, y + h + dy), float(rng.uniform()), category))
        predicted.append(((0.0, 0.0, 15.0, 15.0), float(rng.uniform()), int(rng.integers(0, 2))))
        frames.append(frame(predicted, truth))
    return frames


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_the_definition(seed: int):
    frames = random_frames(seed)
    scores = score_detections(frames, NAMES)
    present = sorted({int(c) for f in frames for c in f.truth.class_ids})
    thresholds = [0.5 + 0.05 * i for i in range(10)]
    expected = {c: [slow_ap(frames, c, t) for t in thresholds] for c in present}
    assert scores["ap"] == pytest.approx(np.mean([expected[c] for c in present]), abs=1e-6)
    assert scores["ap50"] == pytest.approx(np.mean([expected[c][0] for c in present]), abs=1e-6)
    assert scores["ap75"] == pytest.approx(np.mean([expected[c][5] for c in present]), abs=1e-6)
    assert scores["class_ap"] == pytest.approx({NAMES[c]: np.mean(expected[c]) for c in present}, abs=1e-6)


def test_average_recall_is_the_share_found_over_thresholds():
    frames = random_frames(11)
    present = sorted({int(c) for f in frames for c in f.truth.class_ids})
    recalls = [
        sum(hits) / total
        for c in present
        for t in [0.5 + 0.05 * i for i in range(10)]
        for hits, total in [slow_hits(frames, c, t)]
    ]
    assert score_detections(frames, NAMES)["ar"] == pytest.approx(np.mean(recalls), abs=1e-6)


def test_perfect_boxes_score_one():
    boxes: list[tuple[Box, int]] = [((10, 10, 60, 60), 0), ((100, 20, 180, 90), 1)]
    scores = score_detections([frame([(b, 0.9, c) for b, c in boxes], boxes)], NAMES)
    assert (scores["ap"], scores["ap50"], scores["ar"]) == pytest.approx((1, 1, 1))


def test_a_wrong_box_ahead_of_the_right_one_halves_precision():
    predicted = [((200, 200, 250, 250), 0.9, 0), ((10, 10, 60, 60), 0.8, 0)]
    scores = score_detections([frame(predicted, [((10, 10, 60, 60), 0)])], NAMES)
    assert scores["ap50"] == pytest.approx(0.5)
    assert scores["ar"] == pytest.approx(1.0)


def test_no_frames_no_truth_no_predictions():
    assert score_detections([], NAMES)["ap"] is None
    assert score_detections([frame([((0, 0, 9, 9), 0.5, 0)], [])], NAMES)["ap"] is None
    nothing = score_detections([frame([], [((10, 10, 60, 60), 0)])], NAMES)
    assert (nothing["ap"], nothing["ap50"], nothing["ar"]) == (0, 0, 0)


def test_predictions_of_classes_without_truth_do_not_punish():
    boxes: list[tuple[Box, int]] = [((10, 10, 60, 60), 0)]
    predicted = [((10, 10, 60, 60), 0.5, 0), ((10, 10, 60, 60), 0.9, 1)]
    assert score_detections([frame(predicted, boxes)], NAMES)["ap"] == pytest.approx(1)
    only_other = [((10, 10, 60, 60), 0.9, 1)]
    assert score_detections([frame(only_other, boxes)], NAMES)["ap"] == 0


def test_crowd_boxes_neither_count_nor_punish():
    crowd = DetectionFrame(
        detections([((10, 10, 60, 60), 0.9, 0), ((200, 100, 250, 160), 0.95, 0)]),
        detections([((10, 10, 60, 60), 1.0, 0), ((190, 90, 300, 200), 1.0, 0)]),
        np.array([False, True]),
    )
    assert score_detections([crowd], NAMES)["ap"] == pytest.approx(1)
