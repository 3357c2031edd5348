"""`~/reset` and `~/set_pose` of a running odometry node in another process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nav_msgs.srv import SetMap
from std_srvs.srv import Trigger

from vision_nodes.bags.writer import BagWriter
from vision_nodes.camera.model import CameraModel
from vision_nodes.messages.from_ros import odometry_from_ros, odometry_state_from_ros
from vision_nodes.messages.to_ros import pose_to_ros
from vision_nodes.messages.typestore import build_typestore
from vision_nodes.nodes.live import LiveRecording, LiveSession, running_container
from vision_nodes.simulation.drive_messages import DriveMessages
from vision_nodes.simulation.world import World

CAMERA = CameraModel((320, 240), np.array([[250.0, 0, 159.5], [0, 250.0, 119.5], [0, 0, 1]]))
STORE = build_typestore()
PART, RATE_HZ = 20, 8.0


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One rendered drive, cut into three bags."""
    world, make = World.indoor(3), DriveMessages()
    drive, folder, paths = world.drive(10.0, 3 * PART / 10), tmp_path_factory.mktemp("parts"), []
    for part in range(3):
        paths.append(folder / f"{part}.mcap")
        with BagWriter(paths[-1]) as writer:
            for index in range(part * PART, (part + 1) * PART):
                stamp = int(drive.stamps_ns[index])
                image = world.render(drive.T_world_cam[index], CAMERA).image
                writer.write_object("/camera_info", make.camera_info(stamp, CAMERA), stamp)
                writer.write_object("/image_raw", make.image(stamp, image, "rgb8"), stamp)
    return paths


def positions(recording: LiveRecording) -> np.ndarray:
    found = [STORE.deserialize_cdr(m.data, m.msgtype) for m in recording.messages if m.topic == "/odometry"]
    return np.array([odometry_from_ros(message).T_parent_child[:3, 3] for message in found]).reshape(-1, 3)


def states(recording: LiveRecording) -> list[str]:
    found = [m for m in recording.messages if m.topic == "/odometry/state"]
    return [odometry_state_from_ros(STORE.deserialize_cdr(m.data, m.msgtype)).state.value for m in found]


def call(session: LiveSession, name: str, request: Any) -> Any:
    kind = {"reset": Trigger, "set_pose": SetMap}[name]
    client = session.node.create_client(kind, f"/odometry_node/{name}")
    assert client.wait_for_service(20)
    future, deadline = client.call_async(request), time.monotonic() + 20
    while not future.done() and time.monotonic() < deadline:
        time.sleep(0.02)
    return future.result()


def pose_request(x: float, y: float, frame: str, w: float = 1.0) -> SetMap.Request:
    request, T = SetMap.Request(), np.eye(4)
    T[:2, 3] = x, y
    request.initial_pose.header.frame_id = frame
    request.initial_pose.pose.pose = pose_to_ros(T)
    request.initial_pose.pose.pose.orientation.w = w
    return request


def test_reset_goes_on_from_the_last_pose_and_set_pose_from_the_given_one(parts: list[Path]) -> None:
    settings = ["odometry_node:base_frame:=''", "odometry_node:odometry.scale:=unscaled"]
    with running_container(("odometry",), settings) as process, LiveSession(("odometry",)) as session:
        session.wait_until_active(process)
        first = positions(session.play(parts[0], RATE_HZ))
        assert len(first) >= 3
        answer = call(session, "reset", Trigger.Request())
        assert answer.success and "continuous" in answer.message
        recording = session.play(parts[1], RATE_HZ)
        second = positions(recording)
        assert states(recording)[0] == "initialising"  # the old map is gone
        step = np.linalg.norm(np.diff(first, axis=0), axis=1).max()
        assert np.linalg.norm(second[0] - first[-1]) < 12 * step  # frames of the new map's making

        for refused in (pose_request(1, 2, "map"), pose_request(1, 2, "odom", w=0.0)):
            assert not call(session, "set_pose", refused).success
        assert call(session, "set_pose", pose_request(70.0, -30.0, "odom")).success
        recording = session.play(parts[2], RATE_HZ)
        third = positions(recording)
        assert states(recording)[0] == "initialising"
        # It starts there, and the poses are of the map's unit: it cannot have gone far.
        assert np.linalg.norm(third[0] - [70.0, -30.0, 0.0]) < 12 * step
        assert np.linalg.norm(second[-1] - third[0]) > 40.0
