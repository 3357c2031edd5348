"""Sequence folders of each layout become bags whose stamps, images and truth are those of the files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_nodes.bags.folder import read_camera_yaml, read_sequence
from vision_nodes.bags.from_folder import write_folder_bag
from vision_nodes.bags.reader import BagReader
from vision_nodes.errors import BagError, CalibrationError
from vision_nodes.messages.from_ros import (
    camera_model_from_ros,
    depth_image_from_ros,
    image_from_ros,
    pose_stamped_from_ros,
    stamp_ns,
)

CAMERA = """
image_width: 32
image_height: 24
camera_matrix: {rows: 3, cols: 3, data: [30, 0, 16, 0, 31, 12, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.1, 0.01, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [30, 0, 16, 0, 0, 31, 12, 0, 0, 0, 1, 0]}
"""


def picture(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def rgbd_folder(folder: Path) -> Path:
    (folder / "rgb").mkdir(parents=True)
    rows = ["index,timestamp,rgb,depth"]
    for i in (0, 2, 4):
        cv2.imwrite(str(folder / f"rgb/{i}.png"), picture(i))
        rows.append(f"{i},{i / 30:.6f},rgb/{i}.png,{f'depth{i}.png' if i == 0 else ''}")
    cv2.imwrite(str(folder / "depth0.png"), np.full((24, 32), 1500, np.uint16))
    (folder / "frames.csv").write_text("\n".join(rows) + "\n")
    (folder / "camera.yaml").write_text(CAMERA)
    (folder / "groundtruth.txt").write_text("# t\n0.000000 1 2 3 0 0 0 1\n0.066667 1 2 4 0 0 0 1\n")
    (folder / "loops.csv").write_text("i,j,dist_m,angle_deg,overlap\n4,0,0.1,2,0.75\n3,0,0,0,0.9\n")
    return folder


def test_rgbd_folder_round_trip(tmp_path: Path) -> None:
    counts = write_folder_bag(rgbd_folder(tmp_path / "seq"), tmp_path / "out.mcap")
    assert counts["/image_raw"] == counts["/camera_info"] == 3
    reader = BagReader(tmp_path / "out.mcap")
    by_topic: dict[str, list[object]] = {}
    for message in reader.messages():
        by_topic.setdefault(message.topic, []).append(reader.deserialize(message))
    for i, image in zip((0, 2, 4), by_topic["/image_raw"]):
        assert stamp_ns(image.header) == round(i / 30 * 1e6) * 1000  # type: ignore[attr-defined]
        assert np.array_equal(image_from_ros(image), picture(i)[..., ::-1])
    camera = camera_model_from_ros(by_topic["/camera_info"][0])
    assert camera is not None and camera.fx == 30 and camera.distortion[0] == -0.1
    assert np.allclose(depth_image_from_ros(by_topic["/ground_truth/depth"][0]), 1.5)
    poses = by_topic["/ground_truth/pose"]
    assert len(poses) == 2
    second = pose_stamped_from_ros(poses[1])
    assert np.allclose(second.T_parent_child[:3, 3], [1, 2, 4]) and second.stamp_ns == 66_667_000
    (loops,) = by_topic["/ground_truth/loops"]
    assert [(r.class_id, r.score) for r in loops.results] == [("0", 0.75)]  # type: ignore[attr-defined]
    (tf,) = by_topic["/tf_static"]
    rotation = tf.transforms[0].transform.rotation  # type: ignore[attr-defined]
    assert (rotation.x, rotation.y, rotation.z, rotation.w) == (-0.5, 0.5, -0.5, 0.5)


def test_compressed_keeps_the_files_bytes(tmp_path: Path) -> None:
    write_folder_bag(rgbd_folder(tmp_path / "seq"), tmp_path / "out.mcap", compressed=True)
    reader = BagReader(tmp_path / "out.mcap")
    first = reader.deserialize(next(reader.messages(["/image_raw/compressed"])))
    assert bytes(first.data) == (tmp_path / "seq/rgb/0.png").read_bytes() and first.format == "png"


def test_kitti_layout(tmp_path: Path) -> None:
    (tmp_path / "image_0").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"image_0/{i:06d}.png"), picture(i)[..., 0])
    (tmp_path / "times.txt").write_text("0.0\n0.104499\n")
    sequence = read_sequence(tmp_path)
    assert [f.stamp_ns for f in sequence.frames] == [0, 104_499_000] and sequence.camera is None


def test_euroc_layout_snaps_rounded_truth_to_image_stamps(tmp_path: Path) -> None:
    (tmp_path / "cam0").mkdir()
    cv2.imwrite(str(tmp_path / "cam0/1403715274312143104.png"), picture(0)[..., 0])
    (tmp_path / "groundtruth.txt").write_text("1403715274.312143 0 0 0 0 0 0 1\n")
    write_folder_bag(tmp_path, tmp_path / "out.mcap")
    reader = BagReader(tmp_path / "out.mcap")
    pose = reader.deserialize(next(reader.messages(["/ground_truth/pose"])))
    assert stamp_ns(pose.header) == 1403715274312143104


def test_unknown_layout_missing_image_and_bad_camera_are_explained(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such folder"):
        read_sequence(tmp_path / "no")
    with pytest.raises(BagError, match="frames.csv"):
        read_sequence(tmp_path)
    folder = rgbd_folder(tmp_path / "seq")
    (folder / "rgb/2.png").unlink()
    with pytest.raises(BagError, match="1 of 3 missing"):
        read_sequence(folder)
    (folder / "camera.yaml").write_text("image_width: 3")
    with pytest.raises(CalibrationError, match="camera_info YAML"):
        read_camera_yaml(folder / "camera.yaml")
