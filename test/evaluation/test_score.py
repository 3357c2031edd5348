"""Scoring a bag whose errors are known gives those errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published_run import Errors, stamp_of, write_run

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.writer import BagWriter
from vision_nodes.errors import BagError
from vision_nodes.evaluation.recording import read_recording
from vision_nodes.evaluation.score import score_bag, score_recording
from vision_nodes.evaluation.trajectory_files import write_trajectories


def test_perfect_answers_score_perfectly(tmp_path: Path):
    metrics = score_bag(write_run(tmp_path / "run.mcap"))
    assert metrics["detection"]["ap"] == pytest.approx(1)
    assert metrics["detection"]["f1"] == 1
    assert metrics["detection"]["tracking"]["hota"] == pytest.approx(1)
    assert metrics["segmentation"]["miou"] == 1
    assert metrics["depth"]["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert metrics["odometry"]["ate_se3_m"] == pytest.approx(0, abs=1e-9)
    assert metrics["odometry"]["tracked_fraction"] == 1
    assert metrics["places"]["recall_at_5"] == 1
    assert metrics["places"]["recall_at_1"] == pytest.approx(0.9)  # one right match comes second
    assert metrics["places"]["recall_at_100_precision"] == pytest.approx(0.9)
    assert metrics["places"]["loop_recall"] == 1 and metrics["places"]["false_closures"] == 0
    assert metrics["places"]["closure_translation_max_m"] == pytest.approx(0, abs=1e-9)


def test_known_errors_come_out_as_they_went_in(tmp_path: Path):
    errors = Errors(lost_boxes=1, wrong_columns=16, depth_factor=1.2, scale=0.5, live=True)
    metrics = score_bag(write_run(tmp_path / "run.mcap", 21, errors))
    assert metrics["detection"]["recall"] == pytest.approx(35 / 42)  # one of two, every third frame
    assert metrics["detection"]["precision"] == 1
    assert metrics["segmentation"]["pixel_accuracy"] == pytest.approx(1 - 16 / 64 * 2 / 3)
    assert metrics["depth"]["abs_rel"] == pytest.approx(0.2, abs=1e-3)
    assert metrics["depth"]["abs_rel_scaled"] == pytest.approx(0, abs=1e-3)
    assert metrics["odometry"]["scale_error"] == pytest.approx(0.5)
    assert metrics["odometry"]["ate_sim3_m"] == pytest.approx(0, abs=1e-9)
    assert metrics["latency_ms"]["p50"] == pytest.approx(30)
    assert metrics["rate_hz"] == pytest.approx(10)


def test_scoring_twice_gives_the_same_bytes(tmp_path: Path):
    bag = write_run(tmp_path / "run.mcap", errors=Errors(position_noise_m=0.1))
    first, second = (json.dumps(score_bag(bag), sort_keys=True, allow_nan=False) for _ in range(2))
    assert first == second


def test_truth_from_another_bag(tmp_path: Path):
    truth = write_run(tmp_path / "truth.mcap")
    bare = write_run(tmp_path / "run.mcap", truth=False)
    assert "no truth on" in score_bag(bare)["detection"]["reason"]
    assert score_bag(bare, ground_truth=truth)["detection"]["ap"] == pytest.approx(1)


def test_truth_that_does_not_overlap_in_time_is_named(tmp_path: Path):
    bare = write_run(tmp_path / "run.mcap", truth=False)
    shifted = tmp_path / "late.mcap"
    reader = BagReader(write_run(tmp_path / "truth.mcap"))
    with BagWriter(shifted) as writer:
        for message in reader.messages():
            if message.topic in ("/ground_truth/pose", "/ground_truth/detections"):
                decoded = reader.deserialize(message)
                decoded.header.stamp.sec += 1000
                writer.write_object(message.topic, decoded, message.log_time_ns)
    metrics = score_bag(bare, ground_truth=shifted)
    assert "no common stamp: results span 5.000 to 6.900 s" in metrics["odometry"]["reason"]
    assert "1005.000" in metrics["detection"]["reason"]


def test_a_bag_without_results_names_what_it_has(tmp_path: Path):
    reader = BagReader(write_run(tmp_path / "run.mcap"))
    with BagWriter(tmp_path / "camera.mcap") as writer:
        for message in reader.messages(["/image_raw", "/camera_info"]):
            writer.write(message)
    with pytest.raises(BagError, match=r"topics: /camera_info, /image_raw.*replay"):
        read_recording(tmp_path / "camera.mcap")


def test_one_frame_and_zero_detections(tmp_path: Path):
    metrics = score_bag(write_run(tmp_path / "one.mcap", 1, Errors(lost_boxes=2)))
    assert metrics["detection"]["ap"] == 0 and metrics["detection"]["ece"] is None
    assert metrics["odometry"]["associated"] == 1 and "ate_sim3_m" not in metrics["odometry"]
    assert metrics["segmentation"]["miou"] == 1
    json.dumps(metrics, allow_nan=False)


def test_results_of_an_older_version_are_counted_and_the_rest_is_scored(tmp_path: Path):
    reader = BagReader(write_run(tmp_path / "run.mcap"))
    with BagWriter(tmp_path / "old.mcap") as writer:
        for message in reader.messages():
            if message.topic == "/odometry/state":
                decoded = reader.deserialize(message)
                decoded.status[0].values = []  # an older version wrote no scale state
                writer.write_object(message.topic, decoded, message.log_time_ns)
            else:
                writer.write(message)
    metrics = score_bag(tmp_path / "old.mcap")
    assert metrics["provenance"]["unreadable_messages"] == 20
    assert metrics["odometry"]["reason"] == "no results on /odometry/state that this version can read"
    assert metrics["detection"]["ap"] == pytest.approx(1)


def test_a_cut_off_bag_is_scored_as_far_as_it_goes(tmp_path: Path):
    whole = write_run(tmp_path / "run.mcap", 60).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: len(whole) * 2 // 3])
    try:
        metrics = score_bag(tmp_path / "cut.mcap")
    except BagError as error:  # the cut may fall before the first chunk of results
        pytest.fail(str(error))
    assert "expected a whole bag" in metrics["provenance"]["problem"]


def test_trajectories_in_tum_and_kitti_form(tmp_path: Path):
    scores = score_recording(read_recording(write_run(tmp_path / "run.mcap")))
    names = {path.name for path in write_trajectories(scores, tmp_path)}
    assert names == {f"trajectory_{n}.{f}" for n in ("estimate", "truth") for f in ("tum", "kitti")}
    rows = [line.split() for line in (tmp_path / "trajectory_truth.tum").read_text().splitlines()]
    assert rows[3][0] == "5.300000000" and len(rows) == 20
    assert stamp_of(3) == 5_300_000_000
    kitti = (tmp_path / "trajectory_truth.kitti").read_text().split("\n")[0].split()
    assert [float(kitti[i]) for i in (3, 7, 11)] == pytest.approx([2, 0, 0])
