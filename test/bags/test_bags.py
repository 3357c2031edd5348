"""Bags: whole, empty, cut off, compressed, mcap and sqlite3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from vision_nodes.bags.reader import BagMessage, BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.bags.writer import BagWriter
from vision_nodes.errors import BagError
from vision_nodes.messages.typestore import build_typestore

STORE = build_typestore()
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sequences"


def image_message(stamp_ns: int, rng: np.random.Generator) -> object:
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    data = rng.integers(0, 255, 24 * 32 * 3, dtype=np.uint8)
    return types["sensor_msgs/msg/Image"](
        header=header, height=24, width=32, encoding="rgb8", is_bigendian=0, step=96, data=data
    )


def write_bag(path: Path, count: int) -> list[BagMessage]:
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for i in range(count):
            writer.write_object("/image_raw", image_message(i * 10**8, rng), i * 10**8)
    return list(BagReader(path).messages())


def test_empty_bag_has_no_messages_and_no_problem(tmp_path: Path) -> None:
    assert write_bag(tmp_path / "a.mcap", 0) == []
    reader = BagReader(tmp_path / "a.mcap")
    assert list(reader.messages()) == [] and reader.problem == ""


def test_round_trip_keeps_every_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    messages = write_bag(tmp_path / "a.mcap", 5)
    assert [m.log_time_ns for m in messages] == [i * 10**8 for i in range(5)]
    reader = BagReader(tmp_path / "a.mcap")
    for i, message in enumerate(messages):
        want = image_message(i * 10**8, rng)
        assert np.array_equal(reader.deserialize(message).data, want.data)  # type: ignore[attr-defined]


def test_same_messages_give_the_same_file(tmp_path: Path) -> None:
    write_bag(tmp_path / "a.mcap", 4)
    write_bag(tmp_path / "b.mcap", 4)
    assert (tmp_path / "a.mcap").read_bytes() == (tmp_path / "b.mcap").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_cut_off_bag_yields_what_lies_before_the_cut(tmp_path: Path, share: float) -> None:
    whole = tmp_path / "a.mcap"
    rng = np.random.default_rng(0)
    writer = BagWriter(whole, chunk_bytes=4000)
    for i in range(20):
        writer.write_object("/image_raw", image_message(i, rng), i)
    writer.close()
    data = whole.read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[: int(len(data) * share)])
    expected = list(BagReader(whole).messages())
    reader = BagReader(cut)
    found = list(reader.messages())
    assert found == expected[: len(found)]
    assert "expected a whole bag" in reader.problem
    if share == 0.9:
        assert len(found) >= 10


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.MESSAGE, CompressionMode.FILE])
def test_bags_of_rosbag2_are_read(tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode) -> None:
    rng = np.random.default_rng(1)
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    sent = [image_message(i, rng) for i in range(3)]
    with writer:
        connection = writer.add_connection("/cam/image_raw", "sensor_msgs/msg/Image", typestore=STORE)
        for i, message in enumerate(sent):
            writer.write(connection, i, bytes(STORE.serialize_cdr(message, "sensor_msgs/msg/Image")))
    reader = BagReader(tmp_path / "bag")
    got = [reader.deserialize(m) for m in reader.messages(["/cam/image_raw"])]
    assert reader.problem == ""
    assert [bytes(g.data) for g in got] == [bytes(s.data) for s in sent]  # type: ignore[attr-defined]


def test_a_damaged_sqlite_bag_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "broken.db3").write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    reader = BagReader(tmp_path / "broken.db3")
    assert list(reader.messages()) == []
    assert "broken.db3" in reader.problem


def test_missing_bag_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="nothing there"):
        BagReader(tmp_path / "no.mcap")
    with pytest.raises(BagError, match="none of them"):
        BagReader(tmp_path)


def test_corrupt_message_is_one_error(tmp_path: Path) -> None:
    write_bag(tmp_path / "a.mcap", 1)
    reader = BagReader(tmp_path / "a.mcap")
    with pytest.raises(BagError, match="valid sensor_msgs/msg/Image"):
        reader.deserialize(BagMessage("/image_raw", "sensor_msgs/msg/Image", 0, b"\x00\x01\x00\x00\x05"))


def test_unknown_type_says_so(tmp_path: Path) -> None:
    write_bag(tmp_path / "a.mcap", 1)
    with pytest.raises(BagError, match="known message type"):
        BagReader(tmp_path / "a.mcap").deserialize(
            BagMessage("/x", "my_msgs/msg/Odd", 0, b"\x00\x01\x00\x00")
        )


IMAGE, INFO, JPEG = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/CompressedImage"


def test_camera_topics_are_found_among_results_and_truth() -> None:
    topics = {
        "/cam/image_raw": IMAGE,
        "/cam/image_raw/compressed": JPEG,
        "/cam/camera_info": INFO,
        "/other/camera_info": INFO,
        "/ground_truth/depth": IMAGE,
        "/segmentation/mask": IMAGE,
    }
    found = find_camera_topics(topics)
    assert (found.image, found.camera_info) == ("/cam/image_raw", "/cam/camera_info")
    assert find_camera_topics(topics, "cam/image_raw/compressed").image == "/cam/image_raw/compressed"
    assert (
        "/cam/camera_info" in found
        and "/other/camera_info" not in found
        and "" not in find_camera_topics({"/a": IMAGE})
    )


def test_no_camera_and_several_cameras_are_errors_that_list_topics() -> None:
    with pytest.raises(BagError, match="/ground_truth/depth"):
        find_camera_topics({"/ground_truth/depth": IMAGE})
    with pytest.raises(BagError, match="choose one with --topic"):
        find_camera_topics({"/front/image_raw": IMAGE, "/rear/image_raw": IMAGE})
    with pytest.raises(BagError, match="image topics: /front/image_raw"):
        find_camera_topics({"/front/image_raw": IMAGE}, "/left")


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data absent")
@pytest.mark.parametrize("name", ["original/soccer_goal_12.mcap", "ros2_bag"])
def test_real_bag_with_odd_type_name_and_message_compression(name: str) -> None:
    reader = BagReader(SHARED / "bag_soccer_goal_mcap" / name)
    messages = list(reader.messages())
    assert [m.msgtype for m in messages] == [IMAGE] * 2 and reader.problem == ""
    assert reader.deserialize(messages[0]).encoding == "rgb8"
