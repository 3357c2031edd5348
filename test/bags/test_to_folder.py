"""A bag written as a folder and read back is the same camera, the same pictures, the same truth."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_nodes.bags.folder import read_sequence
from vision_nodes.bags.from_folder import write_folder_bag
from vision_nodes.bags.from_labelled import write_labelled_bag
from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.to_folder import LAYOUTS, write_bag_folder
from vision_nodes.errors import BagError, ConfigError

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from published_run import CAMERA, REVISIT, stamp_of, true_boxes, true_mask, true_pose, write_run

FRAMES = 12


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("bag") / "run.mcap", FRAMES)


def messages(bag: Path, topic: str) -> list[object]:
    reader = BagReader(bag)
    return [reader.deserialize(message) for message in reader.messages([topic])]


@pytest.mark.parametrize("layout", ["7scenes", "kitti", "euroc"])
def test_sequences_come_back_as_they_were(bag: Path, tmp_path: Path, layout: str):
    counts = write_bag_folder(bag, tmp_path / "folder", layout)
    assert counts["images"] == counts["poses"] == counts["odometry"] == FRAMES
    sequence = read_sequence(tmp_path / "folder")
    assert [frame.stamp_ns for frame in sequence.frames] == [stamp_of(i) for i in range(FRAMES)]
    assert sequence.camera is not None
    np.testing.assert_array_equal(sequence.camera.K, CAMERA.K)
    for i, (stamp, pose) in enumerate(sequence.poses):
        assert stamp == stamp_of(i)
        np.testing.assert_allclose(pose[:3], true_pose(i)[:3, 3], atol=1e-8)
    write_folder_bag(tmp_path / "folder", tmp_path / "again.mcap")
    topics = ["/image_raw", "/ground_truth/pose"]
    if layout == "7scenes":
        topics += ["/ground_truth/depth"]
        assert sequence.loops == [(stamp_of(i), stamp_of(i - REVISIT), 0.9) for i in range(REVISIT, FRAMES)]
    for topic in topics:
        before, after = messages(bag, topic), messages(tmp_path / "again.mcap", topic)
        assert len(before) == len(after)
        if topic != "/ground_truth/pose":
            for a, b in zip(before, after):
                assert a.encoding == b.encoding and np.array_equal(a.data, b.data)


def test_tum_lists_name_files_by_their_stamp(bag: Path, tmp_path: Path):
    write_bag_folder(bag, tmp_path / "tum", "tum")
    rows = [line.split() for line in (tmp_path / "tum/depth.txt").read_text().splitlines()]
    assert rows[2][0] == "5.200000000" and len(rows) == FRAMES
    depth = cv2.imread(str(tmp_path / "tum" / rows[2][1]), cv2.IMREAD_UNCHANGED)
    assert depth[0, 0] == 5000 and depth.dtype == np.uint16  # one metre
    assert len((tmp_path / "tum/rgb.txt").read_text().splitlines()) == FRAMES


def test_kitti_poses_and_projection(bag: Path, tmp_path: Path):
    write_bag_folder(bag, tmp_path / "kitti", "kitti")
    poses = np.loadtxt(tmp_path / "kitti/poses.txt").reshape(-1, 3, 4)
    np.testing.assert_allclose(poses[5], true_pose(5)[:3], atol=1e-8)
    assert (tmp_path / "kitti/calib.txt").read_text().startswith("P0: 5.0")


def test_coco_round_trip(bag: Path, tmp_path: Path):
    counts = write_bag_folder(bag, tmp_path / "coco", "coco")
    assert counts == {"images": FRAMES, "boxes": 3 * FRAMES}
    data = json.loads((tmp_path / "coco/val.json").read_text())
    assert (data["images"][0]["width"], data["images"][0]["height"]) == CAMERA.size_wh
    assert write_labelled_bag(tmp_path / "coco", tmp_path / "again.mcap").task == "detection"
    first = messages(tmp_path / "again.mcap", "/ground_truth/detections")[0]
    box, name, _, _ = true_boxes(0)[0]
    assert first.detections[0].results[0].hypothesis.class_id == name
    assert first.detections[0].bbox.center.position.x == pytest.approx((box[0] + box[2]) / 2)


def test_camvid_round_trip(bag: Path, tmp_path: Path):
    write_bag_folder(bag, tmp_path / "camvid", "camvid", class_names=["never", "used"])
    classes = json.loads((tmp_path / "camvid/classes.json").read_text())["classes"]
    assert [entry["name"] for entry in classes] == ["road", "wall", "sky"]
    assert write_labelled_bag(tmp_path / "camvid", tmp_path / "again.mcap").task == "segmentation"
    mask = messages(tmp_path / "again.mcap", "/ground_truth/segmentation")[3]
    assert np.array_equal(np.asarray(mask.data).reshape(mask.height, mask.width), true_mask())


def test_what_cannot_be_written_is_refused(bag: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="7scenes"):
        write_bag_folder(bag, tmp_path / "a", "voc")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(BagError, match="empty or new"):
        write_bag_folder(bag, tmp_path / "full")
    bare = write_run(tmp_path / "bare.mcap", 2, truth=False)
    for layout in ("coco", "camvid"):
        with pytest.raises(BagError, match="/ground_truth/"):
            write_bag_folder(bare, tmp_path / layout, layout)
    assert set(LAYOUTS) == {"7scenes", "tum", "kitti", "euroc", "coco", "camvid"}
