"""Maps between processes over the real middleware: one process builds and saves, another loads and localises."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Classification

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import invert
from vision_nodes.datatypes import OdometryEstimate, TrackingState
from vision_nodes.errors import MapError
from vision_nodes.messages.from_ros import pose_from_ros
from vision_nodes.messages.to_ros import (
    camera_info_to_ros,
    image_to_ros,
    odometry_state_to_ros,
    odometry_to_ros,
)
from vision_nodes.nodes.base import RELIABLE
from vision_nodes.nodes.extrinsics import T_BODY_OPTICAL
from vision_nodes.nodes.live import running_processes, shared_memory_environment
from vision_nodes.places.map_directory import map_path
from vision_nodes.simulation.world import World

CAMERA = CameraModel((640, 480), np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]]))
LIMIT_S = 120.0  # of one answer: the machine may be shared
pytestmark = pytest.mark.timeout(600)
# Best effort may lose a frame on a busy machine, and this test shows each one once.
LOSSLESS = tuple(
    f"qos_overrides./preprocessed/{name}.subscription.reliability:=reliable"
    for name in ("image", "camera_info", "source_camera_info")
)
EVERY_FRAME = ("places.keyframe_distance_depths:=0.0", "places.keyframe_distance_m:=0.0")

View = tuple[int, np.ndarray, np.ndarray]  # stamp, RGB, T_map_cam


@pytest.fixture(scope="module")
def laps() -> tuple[list[View], list[View]]:
    """8 views of the first 2 s of a drive, and 8 of its second pass; the first camera is the map's origin."""
    world = World.indoor(0)
    drive = world.drive(15.0, 25.0)
    start = drive.T_world_cam[0]
    away = np.linalg.norm(drive.T_world_cam[:, :3, 3] - start[:3, 3], axis=1)
    again = 150 + int(np.argmin(away[150:]))

    def view(index: int) -> View:
        picture = world.render(drive.T_world_cam[index], CAMERA).image
        return int(drive.stamps_ns[index]) + 10**9, picture, invert(start) @ drive.T_world_cam[index]

    return [view(i) for i in range(0, 32, 4)], [view(again + i) for i in range(0, 16, 4)]


class Robot:
    """Camera and odometry of a place node that runs in another process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._context = rclpy.Context()
        rclpy.init(context=self._context, args=[])
        self.node = rclpy.create_node("robot", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._out = {
            name: self.node.create_publisher(kind, name, qos)
            for name, kind, qos in (
                ("preprocessed/image", Image, RELIABLE),
                ("preprocessed/camera_info", CameraInfo, RELIABLE),
                ("preprocessed/source_camera_info", CameraInfo, RELIABLE),
                ("odometry", Odometry, RELIABLE),
                ("odometry/state", DiagnosticArray, RELIABLE),
            )
        }
        self.matches: list[Any] = []
        self.localized: list[Any] = []
        self.node.create_subscription(Classification, "place_matches", self.matches.append, RELIABLE)
        self.node.create_subscription(
            PoseWithCovarianceStamped, "place_node/localized_pose", self.localized.append, RELIABLE
        )
        self.wait(lambda: all(out.get_subscription_count() for out in self._out.values()))

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait(self, condition: Any) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert self.process.poll() is None, "the place node ended"
            assert time.monotonic() < deadline, "no answer in time"
            self._executor.spin_once(timeout_sec=0.1)

    def see(self, view: View, T_odom_map: np.ndarray) -> None:
        """Show a view with its odometry and wait for the keyframe's answer."""
        stamp, picture, T_map_cam = view
        T_odom_cam, seen = T_odom_map @ T_map_cam, len(self.matches)
        header = (stamp, "camera")
        estimate = OdometryEstimate(stamp, TrackingState.TRACKING, T_odom_cam, np.eye(6) * 1e-4)
        T_odom_base = T_odom_cam @ invert(T_BODY_OPTICAL)
        self._out["odometry"].publish(
            odometry_to_ros(T_odom_base, np.eye(6) * 1e-4, (stamp, "odom"), "camera")
        )
        self._out["odometry/state"].publish(odometry_state_to_ros(estimate, "camera"))
        for name in ("camera_info", "source_camera_info"):
            self._out[f"preprocessed/{name}"].publish(camera_info_to_ros(CAMERA, header))
        self._out["preprocessed/image"].publish(image_to_ros(picture, header))
        self.wait(lambda: len(self.matches) > seen)

    def call(self, name: str, kind: type = Trigger, **values: Any) -> Any:
        client = self.node.create_client(kind, f"/place_node/{name}")
        assert client.wait_for_service(LIMIT_S)
        future = client.call_async(kind.Request(**values))
        self.wait(future.done)
        return future.result()


@contextmanager
def place_node(directory: Path, *parameters: str) -> Iterator[Robot]:
    assignments = (f"map_directory:={directory}", "base_frame:=''", *EVERY_FRAME, *LOSSLESS, *parameters)
    for name, value in shared_memory_environment().items():
        os.environ.setdefault(name, value)  # of the robot's side
    with running_processes([("vision_nodes.nodes.place_node",)], assignments) as (process,):
        robot = Robot(process)
        try:
            yield robot
        finally:
            robot.close()


def test_a_map_of_one_process_localises_another(laps: tuple[list[View], list[View]], tmp_path: Path) -> None:
    first, second = laps
    with place_node(tmp_path) as robot:
        nothing = robot.call("localize")
        assert not nothing.success and "none so far" in nothing.message
        for view in first:
            robot.see(view, np.eye(4))
        saved = robot.call("save_map")
        assert saved.success and "8 keyframes" in saved.message
    assert map_path(tmp_path, "map").is_file()
    T_odom_map = invert(second[0][2])  # the other session's odometry starts at its own first camera
    with place_node(tmp_path) as robot:
        loaded = robot.call("load_map")
        assert loaded.success and "8 keyframes" in loaded.message, loaded.message
        assert robot.call("set_mode", SetBool, data=False).message == "localisation"
        robot.see(second[0], T_odom_map)
        answer = robot.call("localize")
        assert answer.success and " in map: " in answer.message, answer.message
        robot.wait(lambda: robot.localized)
        (message,) = robot.localized
        T_map_cam = pose_from_ros(message.pose.pose) @ T_BODY_OPTICAL
        error = invert(second[0][2]) @ T_map_cam
        assert np.linalg.norm(error[:3, 3]) < 0.05
        assert np.arccos((np.trace(error[:3, :3]) - 1) / 2) < np.deg2rad(1.0)
        assert message.header.frame_id == "map" and message.header.stamp.sec == second[0][0] // 10**9
        assert np.linalg.eigvalsh(np.reshape(message.pose.covariance, (6, 6)))[0] > 0
        for view in second[1:]:
            robot.see(view, T_odom_map)
        assert "8 keyframes" in robot.call("save_map").message  # localisation added none


def test_a_map_of_another_model_or_a_broken_one_is_refused_and_the_node_goes_on(
    laps: tuple[list[View], list[View]], tmp_path: Path
) -> None:
    first, _ = laps
    with place_node(tmp_path) as robot:
        for view in first[:2]:
            robot.see(view, np.eye(4))
        assert robot.call("save_map").success
        path = map_path(tmp_path, "map")
        good = path.read_bytes()
        name = good[16 : 16 + int.from_bytes(good[12:16], "little")]
        for bad, reason in (
            (good[: len(good) // 2], "cut off"),
            (good[:-7] + b"spoiled", "checksum"),
            (other_model(good, name), "cannot be compared"),
            (b"", "another kind"),
        ):
            path.write_bytes(bad)
            answer = robot.call("load_map")
            assert not answer.success and reason in answer.message, answer.message
        path.unlink()
        assert "No such file" in robot.call("load_map").message
        assert "2 keyframes" in robot.call("save_map").message  # what was there before is still there
        robot.see(first[2], np.eye(4))


def other_model(good: bytes, header: bytes) -> bytes:
    """The same file as another descriptor network would have written it."""
    content = json.loads(header)
    content["descriptor_model"] = "another"
    encoded = json.dumps(content, sort_keys=True).encode()
    head = good[:12] + len(encoded).to_bytes(4, "little") + encoded
    return head + hashlib.sha256(head).digest() + good[16 + len(header) + 32 :]


@pytest.mark.parametrize("name", ["../outside", "/etc/map", "a/../../b", "", "link/map", "."])
def test_names_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    root = tmp_path / "maps"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(MapError, match="a map name below"):
        map_path(root, name)
    assert map_path(root, "floor/2") == root / "floor" / "2.vnmap"
    assert map_path(root, "a.map") == root / "a.map"
