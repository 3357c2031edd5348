"""Bootstrap intervals: they cover the truth as often as they say, and find real differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from published_run import Errors, write_run

from vision_nodes.evaluation.compare import Row, block_weights, compare, frame_weights, row_of, weighted_mean
from vision_nodes.evaluation.comparison_page import write_page
from vision_nodes.evaluation.recording import read_recording
from vision_nodes.evaluation.score import Scores, score_recording


def test_intervals_cover_the_true_difference_as_often_as_they_say():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        a = rng.normal(1.0, 0.3, 60)
        b = a + rng.normal(0.05, 0.2, 60)
        weights = frame_weights(60, rng, 300)
        (row,) = row_of("depth.abs_rel", (weighted_mean(a), weighted_mean(b)), weights, 60)
        covered += row.low <= 0.05 <= row.high
    assert 0.88 <= covered / 200 <= 0.99


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 5, 50)  # frames differ far more than the runs do
    weights = frame_weights(50, rng)
    (row,) = row_of("x.f", (weighted_mean(hard), weighted_mean(hard + 0.1)), weights, 50)
    assert row.low == pytest.approx(0.1) and row.high == pytest.approx(0.1)


def test_blocks_are_drawn_whole():
    stamps = np.arange(40) * 100_000_000  # 10 Hz: blocks of twenty frames
    weights = block_weights(stamps, np.random.default_rng(2), 2.0, 50)
    assert weights.shape == (51, 40)
    assert (weights[:, :20] == weights[:, :1]).all() and (weights[:, 20:] == weights[:, 20:21]).all()
    assert (weights[:, 0] + weights[:, 20] == 2).all()


@pytest.mark.parametrize(
    ("metric", "low", "high", "verdict"),
    [
        ("depth.abs_rel", 0.01, 0.02, "B is worse"),
        ("detection.ap", 0.01, 0.02, "B is better"),
        ("detection.ap", -0.01, 0.02, "no difference shown"),
        ("odometry.ate_sim3_m", -0.3, -0.1, "B is better"),
    ],
)
def test_verdicts_know_which_way_is_better(metric: str, low: float, high: float, verdict: str):
    middle = (low + high) / 2
    assert Row(metric, 1.0, 1.0 + middle, low, high, 9).verdict == verdict


def scores_of(path: Path, frames: int, errors: Errors) -> Scores:
    return score_recording(read_recording(write_run(path, frames, errors)))


def test_every_task_is_compared(tmp_path: Path):
    good = scores_of(tmp_path / "a.mcap", 60, Errors(position_noise_m=0.02, live=True))
    bad = scores_of(
        tmp_path / "b.mcap",
        60,
        Errors(lost_boxes=1, wrong_columns=5, depth_factor=1.3, position_noise_m=0.3, live=True),
    )
    comparison = compare(good, bad, ("a", "b"))
    verdicts = {row.metric: row.verdict for row in comparison.rows}
    for metric in (
        "detection.ap",
        "detection.ap50",
        "segmentation.miou",
        "depth.abs_rel",
        "odometry.ate_sim3_m",
    ):
        assert verdicts[metric] == "B is worse", metric
    assert verdicts["places.recall_at_1"] == verdicts["latency_ms.p50"] == "no difference shown"
    for row in comparison.rows:  # the figures are those of the metrics file
        task, _, name = row.metric.partition(".")
        if name in good.metrics.get(task, {}) and not name.startswith(("ate", "rpe", "ap")):
            assert row.a == pytest.approx(good.metrics[task][name], abs=1e-6), row.metric
            assert row.b == pytest.approx(bad.metrics[task][name], abs=1e-6), row.metric
    assert comparison.rows == compare(good, bad, ("a", "b")).rows  # the same seed, the same intervals
    write_page(comparison, tmp_path / "page.html")
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_class_lists_that_differ_are_said_and_not_compared(tmp_path: Path):
    a = scores_of(tmp_path / "a.mcap", 12, Errors(depth_factor=1.1))
    b = scores_of(tmp_path / "b.mcap", 12, Errors(depth_factor=1.1))
    assert compare(a, b, ("a", "b")).notes == []
    b.detection_names = ["person", "truck"]
    assert b.segmentation is not None
    b.segmentation.names = ["sky", "wall", "road"]
    comparison = compare(a, b, ("a", "b"))
    assert "only in A ['car'], only in B ['truck']" in comparison.notes[0]
    assert "['sky', 'wall', 'road']" in comparison.notes[1]
    assert not [row for row in comparison.rows if row.metric.startswith(("detection", "segmentation"))]
    assert [row for row in comparison.rows if row.metric.startswith("depth")]


def test_a_run_against_itself_shows_no_difference(tmp_path: Path):
    scores = scores_of(tmp_path / "a.mcap", 30, Errors(wrong_columns=5, depth_factor=1.1))
    assert {row.verdict for row in compare(scores, scores, ("a", "a")).rows} == {"no difference shown"}
