"""Tracking figures by hand, and against TrackEval where it is installed (pip install --no-deps trackeval)."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from vision_nodes.evaluation.tracks import TrackFrame, score_tracks


def frames_of(true: list[list[int]], found: list[list[int]], overlap: float = 1.0) -> list[TrackFrame]:
    """Frames in which the n-th found object lies on the n-th true one."""
    made = []
    for t, f in zip(true, found):
        matrix = np.zeros((len(t), len(f)))
        for i in range(min(len(t), len(f))):
            matrix[i, i] = overlap
        made.append(TrackFrame(np.array(t, int), np.array(f, int), matrix))
    return made


def test_perfect_tracks_score_one():
    figures = score_tracks(frames_of([[7, 8]] * 5, [[1, 2]] * 5))
    assert (figures["hota"], figures["mota"], figures["motp"], figures["idf1"]) == pytest.approx((1, 1, 1, 1))
    assert figures["id_switches"] == 0


def test_a_switch_half_way():
    """One object, ids 1 1 2 2: all boxes right, identity right for half the frames."""
    figures = score_tracks(frames_of([[5]] * 4, [[1], [1], [2], [2]]))
    assert figures["id_switches"] == 1
    assert figures["mota"] == pytest.approx(3 / 4)
    assert figures["idf1"] == pytest.approx(2 * 2 / 8)
    assert figures["deta"] == pytest.approx(1)
    assert figures["assa"] == pytest.approx(0.5)  # each match: 2 together, 4 true + 2 found - 2
    assert figures["hota"] == pytest.approx(np.sqrt(0.5))


def test_missed_and_invented_boxes():
    """Two objects, one never found, one box of nothing in every frame."""
    matrix = np.array([[1.0, 0.0], [0.0, 0.0]])
    frames = [TrackFrame(np.array([1, 2]), np.array([1, 9]), matrix) for _ in range(3)]
    figures = score_tracks(frames)
    assert figures["mota"] == pytest.approx((3 - 3) / 6)
    assert figures["deta"] == pytest.approx(3 / 9)
    assert figures["idf1"] == pytest.approx(2 * 3 / 12)


def test_hota_weighs_overlap_over_thresholds():
    """IoU 0.52 counts at the ten thresholds up to 0.5 of nineteen."""
    figures = score_tracks(frames_of([[1]] * 3, [[1]] * 3, overlap=0.52))
    assert figures["hota"] == pytest.approx(10 / 19)
    assert figures["motp"] == pytest.approx(0.52)


def test_nothing_true_nothing_found():
    assert score_tracks([])["hota"] is None
    empty = score_tracks(frames_of([[1]] * 2, [[], []]))
    assert (empty["hota"], empty["mota"], empty["idf1"], empty["motp"]) == (0, 0, 0, None)
    assert score_tracks(frames_of([[]], [[3]]))["found_boxes"] == 1


@pytest.mark.skipif(importlib.util.find_spec("trackeval") is None, reason="trackeval is not installed")
@pytest.mark.parametrize("seed", range(4))
def test_figures_agree_with_trackeval(seed: int, capsys: pytest.CaptureFixture[str]):
    from trackeval.metrics import CLEAR, HOTA, Identity

    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(30):
        true = rng.permutation(6)[: rng.integers(0, 6)]
        found = rng.permutation(8)[: rng.integers(0, 7)]
        overlap = rng.random((len(true), len(found))) * (rng.random((len(true), len(found))) < 0.5)
        overlap[true[:, None] == found[None]] = 0.8
        frames.append(TrackFrame(true, found, overlap))
    data = {
        "num_timesteps": len(frames),
        "num_gt_ids": 6,
        "num_tracker_ids": 8,
        "num_gt_dets": sum(len(f.true_ids) for f in frames),
        "num_tracker_dets": sum(len(f.found_ids) for f in frames),
        "gt_ids": [f.true_ids for f in frames],
        "tracker_ids": [f.found_ids for f in frames],
        "similarity_scores": [f.overlap for f in frames],
    }
    hota, clear, identity = (kind().eval_sequence(data) for kind in (HOTA, CLEAR, Identity))
    figures = score_tracks(frames)
    assert figures["hota"] == pytest.approx(np.mean(hota["HOTA"]))
    assert figures["deta"] == pytest.approx(np.mean(hota["DetA"]))
    assert figures["assa"] == pytest.approx(np.mean(hota["AssA"]))
    assert figures["mota"] == pytest.approx(clear["MOTA"])
    assert figures["motp"] == pytest.approx(clear["MOTP"])
    assert figures["id_switches"] == clear["IDSW"]
    assert figures["idf1"] == pytest.approx(identity["IDF1"])
