"""Ids on exact synthetic motion: empty input first, crossings, occlusions, camera motion, bad stamps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vision_nodes.datatypes import Detections
from vision_nodes.tracking.tracker import UNTRACKED, Tracker, TrackerSettings

FRAME_NS = 66_666_667


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Rows of centre x, centre y, width, height, score, class."""
    if not rows:
        return Detections.empty()
    table = np.array(rows, np.float64)
    xy, wh = table[:, :2], table[:, 2:4]
    boxes = np.concatenate([xy - wh / 2, xy + wh / 2], axis=1).astype(np.float32)
    return Detections(boxes, table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def test_nothing_seen_is_a_result() -> None:
    tracker = Tracker()
    for k in range(3):
        result = tracker.update(Detections.empty(), k * FRAME_NS)
        assert len(result) == 0
        assert result.track_ids is not None and result.track_ids.shape == (0,)
    first = tracker.update(detections((100, 100, 40, 40, 0.9, 0)), 3 * FRAME_NS)
    assert first.track_ids.tolist() == [UNTRACKED]
    assert tracker.update(detections((100, 100, 40, 40, 0.9, 0)), 4 * FRAME_NS).track_ids.tolist() == [0]


def test_rows_come_back_unchanged_and_in_order() -> None:
    given = detections((50, 50, 20, 20, 0.95, 1), (200, 80, 30, 60, 0.7, 0), (90, 200, 30, 30, 0.05, 2))
    result = Tracker(TrackerSettings(confirm_hits=1)).update(given, 0)
    np.testing.assert_array_equal(result.boxes_xyxy, given.boxes_xyxy)
    np.testing.assert_array_equal(result.scores, given.scores)
    assert result.track_ids.tolist() == [0, 1, UNTRACKED]  # 0.05 starts nothing


def crossing(k: int) -> list[tuple[float, float, float, float, float, int]]:
    """Two people walk through each other; the one behind vanishes while hidden by more than half."""
    a = (100 + 6.0 * k, 200.0, 50.0, 120.0, 0.9, 0)
    b = (500 - 6.0 * k, 205.0, 50.0, 118.0, 0.9, 0)
    gap = abs(a[0] - b[0])
    if gap < 25:
        return [a]
    return [a, (*b[:4], 0.3, 0)] if gap < 45 else [a, b]


def test_crossing_objects_keep_their_ids_through_occlusion() -> None:
    tracker = Tracker()
    for k in range(67):
        rows = crossing(k)
        order = [1, 0] if k % 2 and len(rows) == 2 else list(range(len(rows)))
        result = tracker.update(detections(*[rows[i] for i in order]), k * FRAME_NS)
        if k < 2:
            continue
        got = {order[row]: int(i) for row, i in enumerate(result.track_ids)}
        assert got[0] == 0, k
        if 1 in got:
            assert got[1] == 1, k


def test_hidden_object_comes_back_with_its_id_and_a_forgotten_one_does_not() -> None:
    tracker = Tracker(TrackerSettings(memory_s=1.0))

    def at(k: int) -> Detections:
        return detections((100 + 5.0 * k, 100, 60, 60, 0.8, 3))

    for k in range(10):
        tracker.update(at(k), k * FRAME_NS)
    for k in range(10, 20):  # 0.67 s behind a pillar
        tracker.update(Detections.empty(), k * FRAME_NS)
    assert tracker.update(at(20), 20 * FRAME_NS).track_ids.tolist() == [0]
    for k in range(21, 50):
        tracker.update(Detections.empty(), k * FRAME_NS)
    tracker.update(at(50), 50 * FRAME_NS)
    assert tracker.update(at(51), 51 * FRAME_NS).track_ids.tolist() == [1]


def test_weak_boxes_keep_an_id_alive_but_start_none() -> None:
    tracker = Tracker()
    for k in range(20):
        score = 0.9 if k < 3 else 0.2
        result = tracker.update(
            detections((100, 100, 40, 40, score, 0), (300, 100, 40, 40, 0.2, 0)), k * FRAME_NS
        )
        if k >= 1:
            assert result.track_ids.tolist() == [0, UNTRACKED], k


def test_classes_are_kept_apart() -> None:
    tracker = Tracker(TrackerSettings(confirm_hits=1))
    first = tracker.update(detections((100, 100, 40, 40, 0.9, 0)), 0).track_ids[0]
    second = tracker.update(detections((100, 100, 40, 40, 0.9, 1)), FRAME_NS).track_ids[0]
    assert first != second


def panned(texture: np.ndarray, x: int) -> np.ndarray:
    return np.ascontiguousarray(texture[40:280, x : x + 320])


@pytest.mark.parametrize("follow", [True, False])
def test_camera_motion_is_followed(follow: bool) -> None:
    """Two small neighbours under a pan of one spacing per frame: without flow their ids wander."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 255, (80, 400), np.uint8).astype(np.uint8), (1600, 320))
    tracker = Tracker(TrackerSettings(compensate_motion=follow))
    kept = []
    for k, x in enumerate([0, 0, 0, 40, 110, 180, 180, 110, 60, 140]):
        rows = [(c - x, 100, 30, 30, 0.9, 0) for c in (260, 300)]
        result = tracker.update(detections(*rows), k * FRAME_NS, panned(texture, x))
        if k >= 1:
            kept.append(result.track_ids.tolist() == [0, 1])
    assert all(kept) is follow


def test_same_input_same_ids() -> None:
    rng = np.random.default_rng(3)
    stream = [
        detections(*[(*rng.uniform(50, 400, 2), *rng.uniform(20, 80, 2), rng.uniform(0, 1), int(rng.integers(3)))
                     for _ in range(8)])
        for _ in range(30)
    ]  # fmt: skip
    runs = []
    for _ in range(2):
        tracker = Tracker()
        runs.append([tracker.update(d, k * FRAME_NS).track_ids.tolist() for k, d in enumerate(stream)])
    assert runs[0] == runs[1]


def test_no_id_is_given_twice_in_one_frame_and_stamps_going_back_start_anew() -> None:
    tracker = Tracker(TrackerSettings(confirm_hits=1))
    rows = [(100, 100, 40, 40, 0.9, 0), (104, 100, 40, 40, 0.8, 0), (98, 103, 40, 40, 0.7, 0)]
    seen: set[int] = set()
    for k in range(5):
        ids = tracker.update(detections(*rows), 10**9 + k * FRAME_NS).track_ids.tolist()
        assert len(set(ids)) == 3
        seen.update(ids)
    after = tracker.update(detections(*rows), 0).track_ids.tolist()
    assert not seen & set(after)


def test_long_gap_and_repeated_stamp_stay_finite() -> None:
    tracker = Tracker()
    for stamp in (0, 0, FRAME_NS, FRAME_NS, 3600 * 10**9, 3600 * 10**9 + 1):
        result = tracker.update(detections((100, 100, 40, 40, 0.9, 0)), stamp)
        assert np.isfinite(result.boxes_xyxy).all()


def test_image_size_change_does_not_stop_it() -> None:
    tracker = Tracker()
    for k, size in enumerate([(240, 320), (480, 640), (480, 640), (4, 4)]):
        result = tracker.update(
            detections((100, 100, 40, 40, 0.9, 0)), k * FRAME_NS, np.zeros(size, np.uint8)
        )
        assert len(result) == 1 and np.isfinite(result.boxes_xyxy).all()
