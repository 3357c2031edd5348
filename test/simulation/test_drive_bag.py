"""A short drive bag read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vision_nodes.bags.reader import BagReader
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import matrix_from_quat_xyzw
from vision_nodes.simulation.drive import DriveOptions, write_drive_bag
from vision_nodes.simulation.world import World

SMALL = CameraModel((160, 120), np.array([[125.0, 0, 79.5], [0, 125.0, 59.5], [0, 0, 1]]))


@pytest.fixture(scope="module")
def world() -> World:
    return World.indoor(7, px_m=20.0)


@pytest.fixture(scope="module")
def bag(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    counts = write_drive_bag(path, world, rate_hz=2.0, duration_s=20.0, options=DriveOptions(SMALL))
    assert counts["/image_raw"] == counts["/ground_truth/depth"] == 40 and counts["/tf_static"] == 1
    return path


def messages(path: Path, topic: str) -> list:
    with BagReader(path) as reader:
        return [reader.deserialize(m) for m in reader.messages() if m.topic == topic]


def test_images_and_truth_are_those_of_the_world(bag: Path, world: World) -> None:
    drive = world.drive(2.0, 20.0)
    image = messages(bag, "/image_raw")[11]
    frame = world.render(drive.T_world_cam[11], SMALL)
    assert image.encoding == "rgb8" and image.header.frame_id == "camera_optical_frame"
    assert bytes(image.data) == frame.image.tobytes()
    stamp = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
    assert stamp == drive.stamps_ns[11]
    depth = messages(bag, "/ground_truth/depth")[11]
    assert (depth.width, depth.height, depth.encoding) == (80, 60, "32FC1")
    info = messages(bag, "/ground_truth/camera_info")[11]
    half = CameraModel((80, 60), np.asarray(info.k).reshape(3, 3))
    want = world.depth(drive.T_world_cam[11], half)
    np.testing.assert_array_equal(np.frombuffer(bytes(depth.data), np.float32).reshape(60, 80), want)


def test_pose_and_static_transform_put_base_link_on_the_ground(bag: Path, world: World) -> None:
    drive = world.drive(2.0, 20.0)
    static = messages(bag, "/tf_static")[0].transforms[0]
    assert (static.header.frame_id, static.child_frame_id) == ("base_link", "camera_optical_frame")
    t, r = static.transform.translation, static.transform.rotation
    T_base_cam = np.eye(4)
    T_base_cam[:3, :3], T_base_cam[:3, 3] = (
        matrix_from_quat_xyzw(np.array([r.x, r.y, r.z, r.w])),
        (t.x, t.y, t.z),
    )
    for message, T_world_cam in zip(messages(bag, "/ground_truth/pose"), drive.T_world_cam):
        q = message.pose.orientation
        np.testing.assert_allclose(
            matrix_from_quat_xyzw(np.array([q.x, q.y, q.z, q.w])), T_world_cam[:3, :3], atol=1e-9
        )
        T_world_base = T_world_cam @ np.linalg.inv(T_base_cam)
        assert abs(T_world_base[2, 3]) < 0.06 and T_world_base[2, 2] > 0.999  # level, on the floor


def test_loops_name_frames_of_the_bag_at_least_5_s_away(bag: Path) -> None:
    stamps = {m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in messages(bag, "/image_raw")}
    loops = messages(bag, "/ground_truth/loops")
    assert len(loops) > 4
    best = 0.0
    for message in loops:
        own = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        for result in message.results:
            assert int(result.class_id) in stamps and abs(int(result.class_id) - own) >= 5e9
            best = max(best, result.score)
    assert best >= 0.5


def test_detections_carry_coco_names_inside_the_image(bag: Path) -> None:
    arrays = messages(bag, "/ground_truth/detections")
    assert len(arrays) == 40
    found = [d for array in arrays for d in array.detections]
    assert found
    for detection in found:
        hypothesis = detection.results[0].hypothesis
        assert hypothesis.class_id and 0 < hypothesis.score <= 1
        assert detection.id.startswith(("photo_", "model_"))
        assert detection.bbox.center.position.x - detection.bbox.size_x / 2 >= -0.5
        assert detection.bbox.center.position.x + detection.bbox.size_x / 2 <= 159.5


def test_empty_drive_is_a_bag_without_messages(world: World, tmp_path: Path) -> None:
    counts = write_drive_bag(tmp_path / "empty.mcap", world, duration_s=0.0)
    assert counts == {}


def test_equal_settings_give_equal_bytes(world: World, tmp_path: Path) -> None:
    options = DriveOptions(SMALL, shutter_s=0.02)
    paths = [tmp_path / f"{n}.mcap" for n in "ab"]
    for path in paths:
        write_drive_bag(path, world, rate_hz=2.0, duration_s=1.5, options=options)
    assert paths[0].read_bytes() == paths[1].read_bytes()
