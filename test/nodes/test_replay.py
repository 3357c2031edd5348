"""Lock-step replay of the real nodes: every frame, the same bytes, and every kind of bad input."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vision_nodes.bags.reader import BagReader
from vision_nodes.engine.models import list_models
from vision_nodes.errors import BagError, ConfigError, ModelError
from vision_nodes.messages.from_ros import stamp_ns
from vision_nodes.nodes.replay import ReplaySummary, replay
from vision_nodes.resources import resource_directories

HERE = {manifest.name for manifest in list_models()}
ALL_TASKS = [
    t for t in ("detection", "segmentation", "depth", "odometry", "place") if t == "odometry" or t in HERE
]
RESULT_TOPIC = {
    "detection": "/detections",
    "segmentation": "/segmentation/mask",
    "depth": "/depth/image",
    "odometry": "/odometry/state",
}


def topics_of(bag: Path) -> Counter[str]:
    return Counter(message.topic for message in BagReader(bag).messages())


def run(
    recording: Any, tmp_path: Path, tasks: tuple[str, ...] = ("odometry",), **options: Any
) -> ReplaySummary:
    return replay(recording.write(tmp_path / "in.mcap"), tmp_path / "out.mcap", tasks=tasks, **options)


def test_all_five_tasks_are_shipped() -> None:
    assert len(ALL_TASKS) == 5


def test_every_frame_has_every_answer_and_its_stamp(good_bag: Callable[[int], Path], tmp_path: Path) -> None:
    summary = replay(good_bag(6), tmp_path / "out.mcap", tasks=ALL_TASKS)
    assert summary.frames == summary.processed == 6 and summary.problem == ""
    reader = BagReader(tmp_path / "out.mcap")
    stamps: dict[str, list[int]] = {}
    for message in reader.messages():
        decoded = reader.deserialize(message)
        if hasattr(decoded, "header"):
            stamps.setdefault(message.topic, []).append(stamp_ns(decoded.header))
    want = [10_000_000_000 + i * 100_000_000 for i in range(6)]
    for task in ALL_TASKS:
        if task != "place":
            assert stamps[RESULT_TOPIC[task]] == want, task
    if "place" in ALL_TASKS:
        assert stamps["/place_matches"] and set(stamps["/place_matches"]) <= set(want)
    assert all(counts.get("failed", 0) == 0 for counts in summary.counts.values())


def test_two_runs_give_the_same_bytes(good_bag: Callable[[int], Path], tmp_path: Path) -> None:
    bag = good_bag(8)
    for name in ("a", "b"):
        replay(bag, tmp_path / f"{name}.mcap", tasks=ALL_TASKS)
    assert (tmp_path / "a.mcap").read_bytes() == (tmp_path / "b.mcap").read_bytes()


def spoil(message: Any, **changes: Any) -> Any:
    return dataclasses.replace(message, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": "rgb7"},
        {"height": 0, "width": 0, "data": np.zeros(0, np.uint8)},
        {"data": np.zeros(1000, np.uint8)},
        {"step": 10},
    ],
    ids=["encoding", "zero size", "short data", "small step"],
)
def test_a_bad_image_is_dropped_and_counted_and_the_rest_goes_on(
    recording: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    for i in range(5):
        recording.add(i, image=spoil(recording.image(i), **changes) if i == 2 else None)
    summary = run(recording, tmp_path)
    assert summary.frames == 5 and summary.processed == 4
    assert summary.counts["preprocess_node"]["rejected"] == 1
    assert topics_of(tmp_path / "out.mcap")["/odometry/state"] == 4


def test_nan_in_K_drops_those_frames_only(recording: Any, tmp_path: Path) -> None:
    for i in range(4):
        K = recording.info(i).k.copy()
        K[0] = np.nan
        recording.add(i, info=spoil(recording.info(i), k=K) if i == 1 else None)
    summary = run(recording, tmp_path)
    assert summary.processed == 3 and summary.counts["preprocess_node"]["rejected"] == 1


def test_an_unknown_distortion_model_drops_those_frames_only(recording: Any, tmp_path: Path) -> None:
    for i in range(4):
        info = spoil(recording.info(i), distortion_model="fancy", d=np.full(5, 0.1)) if i == 1 else None
        recording.add(i, info=info)
    summary = run(recording, tmp_path)
    assert summary.processed == 3 and summary.counts["preprocess_node"]["rejected"] == 1


def test_resolution_changing_in_mid_stream_goes_on(recording: Any, tmp_path: Path) -> None:
    for i in range(6):
        if i < 3:
            recording.add(i)
            continue
        image = recording.make.image(
            recording.stamp(i), "camera_optical_frame", np.full((120, 160, 3), 90, np.uint8)
        )
        K = recording.info(i).k / 2
        K[8] = 1
        recording.add(
            i, image=image, info=spoil(recording.info(i), width=160, height=120, k=K, p=np.zeros(12))
        )
    summary = run(recording, tmp_path)
    assert summary.processed == 6
    assert all(counts.get("failed", 0) == 0 for counts in summary.counts.values())


def test_stamps_going_backwards(recording: Any, tmp_path: Path) -> None:
    for i in (0, 1, 3, 2, 4):  # a frame out of order: dropped
        recording.add(i)
    summary = run(recording, tmp_path)
    assert summary.processed == 4 and summary.counts["preprocess_node"]["rejected"] == 1


def test_a_bag_loop_starts_again(recording: Any, tmp_path: Path) -> None:
    for i in [*range(15), *range(4)]:
        recording.add(i)
    summary = run(recording, tmp_path)
    assert summary.processed == 19
    assert all(counts.get("failed", 0) == 0 for counts in summary.counts.values())


def test_uncalibrated_runs_and_gives_no_metres(recording: Any, tmp_path: Path) -> None:
    for i in range(3):
        recording.add(i, info=spoil(recording.info(i), k=np.zeros(9), p=np.zeros(12)))
    tasks = tuple(t for t in ALL_TASKS if t != "place")
    summary = run(recording, tmp_path, tasks)
    assert summary.processed == 3
    found = topics_of(tmp_path / "out.mcap")
    assert found["/depth/image"] == 0 and found["/odometry"] == 0 and found["/odometry/state"] == 3
    if "depth" in tasks:
        assert found["/depth/unscaled"] == 3


def test_missing_extrinsics_are_said_never_identity(recording: Any, tmp_path: Path) -> None:
    del recording.messages[0]
    for i in range(3):
        recording.add(i)
    run(recording, tmp_path)
    reader = BagReader(tmp_path / "out.mcap")
    states = [reader.deserialize(m) for m in reader.messages(["/odometry/state"])]
    assert len(states) == 3 and topics_of(tmp_path / "out.mcap")["/odometry"] == 0
    assert "base_frame" in " ".join(v.value for v in states[0].status[0].values)


def test_a_bag_cut_off_in_the_middle_keeps_what_was_read(
    good_bag: Callable[[int], Path], tmp_path: Path
) -> None:
    data = good_bag(12).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: len(data) * 3 // 4])
    summary = replay(tmp_path / "cut.mcap", tmp_path / "out.mcap", tasks=["odometry"])
    assert 0 < summary.processed < 12 and "expected a whole bag" in summary.problem
    assert topics_of(tmp_path / "out.mcap")["/odometry/state"] == summary.processed


def test_a_bag_without_usable_images_is_an_error(recording: Any, tmp_path: Path) -> None:
    recording.add(0, image=spoil(recording.image(0), encoding="rgb7"))
    with pytest.raises(BagError, match="at least one usable image"):
        run(recording, tmp_path)


def test_unknown_task_and_unknown_parameter_value_are_errors(recording: Any, tmp_path: Path) -> None:
    recording.add(0)
    with pytest.raises(ConfigError, match="dance"):
        run(recording, tmp_path, ("dance",))
    with pytest.raises(ConfigError, match="score_threshold"):
        run(recording, tmp_path, ("detection",), parameters={"detection_node": {"score_threshold": 2.0}})


def test_a_model_file_whose_hash_differs_is_refused(
    recording: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models,) = [d for d in resource_directories("models") if (d / "detection.yaml").exists()][:1]
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    for path in copy.glob("detection*.onnx"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    recording.add(0)
    parameters = {"detection_node": {"model": str(copy / "detection.yaml")}}
    with pytest.raises(ModelError, match=r"(?i)sha"):
        run(recording, tmp_path, ("detection",), parameters=parameters)
