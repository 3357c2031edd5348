"""Worst frames: the right ones, apart in time, with their errors drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from published_run import Errors, write_run
from test_detection_metrics import detections

from vision_nodes.evaluation.detection import DetectionFrame
from vision_nodes.evaluation.recording import read_recording
from vision_nodes.evaluation.score import score_recording
from vision_nodes.evaluation.worst import HIT, IGNORED, INVENTED, MISSED, apart, draw_matches, worst_frames

NS = 1_000_000_000


def test_neighbours_of_the_worst_are_left_out():
    errors = {0: 1.0, NS // 2: 5.0, NS: 4.0, 2 * NS: 3.0, 3 * NS: 3.0}
    assert apart(errors, 2) == [NS // 2, 2 * NS]
    assert apart({}, 2) == []


def test_every_kind_of_error_has_its_colour():
    truth = detections([((10, 40, 40, 80), 1.0, 0), ((60, 40, 90, 80), 1.0, 0), ((110, 40, 140, 80), 1.0, 0)])
    found = detections([((11, 41, 41, 81), 0.9, 0), ((160, 40, 190, 80), 0.8, 0)])
    frame = DetectionFrame(found, truth, np.array([False, False, True]))
    drawn = draw_matches(np.zeros((120, 220, 3), np.uint8), frame, ["person"])
    for (x, y), color in (((41, 60), HIT), ((60, 60), MISSED), ((110, 60), IGNORED), ((160, 60), INVENTED)):
        assert tuple(drawn[y, x]) == color


def test_frames_of_a_run(tmp_path: Path):
    errors = Errors(lost_boxes=1, wrong_columns=9, depth_factor=1.2)
    worst = worst_frames(score_recording(read_recording(write_run(tmp_path / "run.mcap", 24, errors))))
    assert [len(worst[task]) for task in ("detection", "segmentation", "depth")] == [2, 2, 2]
    assert worst["detection"][0].caption.startswith("at 0.00 s: 1 missed")
    assert worst["segmentation"][0].picture.shape == (48, 128, 3)
    assert "AbsRel 0.2" in worst["depth"][0].caption or "AbsRel 0.19" in worst["depth"][0].caption


def test_a_run_without_errors_or_results_has_none(tmp_path: Path):
    worst = worst_frames(score_recording(read_recording(write_run(tmp_path / "run.mcap", 5))))
    assert worst["detection"] == []
    bare = write_run(tmp_path / "bare.mcap", 5, truth=False)
    assert worst_frames(score_recording(read_recording(bare)))["depth"] == []
