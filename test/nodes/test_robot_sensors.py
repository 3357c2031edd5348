"""Metres from the robot's other sensors: wheel odometry, a depth camera, the camera's height; real nodes, replayed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from vision_nodes.bags.writer import BagWriter
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import invert, quat_xyzw_from_matrix
from vision_nodes.datatypes import DepthMap
from vision_nodes.evaluation.odometry import ate
from vision_nodes.evaluation.recording import read_recording
from vision_nodes.evaluation.score_motion import trajectories_of
from vision_nodes.messages.to_ros import camera_info_to_ros, depth_to_ros
from vision_nodes.nodes.odometry_node import OdometryNode
from vision_nodes.nodes.replay import replay
from vision_nodes.simulation.drive_messages import DriveMessages
from vision_nodes.simulation.path import optical_pose
from vision_nodes.simulation.world import World

CAMERA = CameraModel((480, 360), np.array([[375.0, 0, 239.5], [0, 375.0, 179.5], [0, 0, 1]]))
FRAMES, RATE_HZ = 55, 10.0


def wheel_message(make: DriveMessages, stamp: int, T: np.ndarray) -> Any:
    kind = make.types
    x, y, z = (float(v) for v in T[:3, 3])
    qx, qy, qz, qw = (float(v) for v in quat_xyzw_from_matrix(T[:3, :3]))
    pose = kind["geometry_msgs/msg/Pose"](
        position=kind["geometry_msgs/msg/Point"](x=x, y=y, z=z),
        orientation=kind["geometry_msgs/msg/Quaternion"](x=qx, y=qy, z=qz, w=qw),
    )
    zero = kind["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
    twist = kind["geometry_msgs/msg/Twist"](linear=zero, angular=zero)
    return kind["nav_msgs/msg/Odometry"](
        header=make.header(stamp, "wheels"),
        child_frame_id="base_link",
        pose=kind["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
        twist=kind["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
    )


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered street with everything a robot may have: its wheels in a frame of their own, a depth camera."""
    path, make = tmp_path_factory.mktemp("robot") / "robot.mcap", DriveMessages()
    world = World.street(4)
    drive = world.drive(RATE_HZ, FRAMES / RATE_HZ)
    T_base_cam = optical_pose(np.array([0, 0, world.style.height_m]), 0.0, world.style.pitch)
    T_wheels_world = np.linalg.inv(drive.T_world_cam[5] @ invert(T_base_cam))
    with BagWriter(path) as writer:
        first = int(drive.stamps_ns[0])
        writer.write_object("/tf_static", make.static_transform(first, T_base_cam), first)
        for stamp, T in zip(drive.stamps_ns.tolist(), drive.T_world_cam):
            view = world.render(T, CAMERA)
            wheels = T_wheels_world @ T @ invert(T_base_cam)
            millimetres = np.nan_to_num(view.depth_m * 1000, nan=0.0).clip(0, 65535).astype(np.uint16)
            writer.write_object("/wheel_odometry", wheel_message(make, stamp, wheels), stamp)
            writer.write_object("/depth/camera_info", make.camera_info(stamp, CAMERA), stamp)
            writer.write_object("/depth/image_rect", make.image(stamp, millimetres, "16UC1"), stamp)
            writer.write_object("/camera_info", make.camera_info(stamp, CAMERA), stamp)
            writer.write_object("/image_raw", make.image(stamp, view.image, "rgb8"), stamp)
            writer.write_object("/ground_truth/pose", make.pose(stamp, T), stamp)
    (path.parent / "height").write_text(repr(float(world.style.height_m)))
    return path


def metric_figures(bag: Path, out: Path, **parameters: Any) -> tuple[float, float, set[str]]:
    """ATE in metres without scaling, scale error, and where the scale is said to come from."""
    replay(bag, out, tasks=("odometry",), topic="/image_raw", parameters={"odometry_node": parameters})
    recording = read_recording(out, bag)
    trajectories = trajectories_of(recording, corrected=False)
    assert len(trajectories.stamps_ns) > 0.6 * FRAMES
    states = {s.scale_state.value for s in recording.states.values() if s.state.value == "tracking"}
    rigid, similar = ate(trajectories, with_scale=False)[0], ate(trajectories, with_scale=True)[1]
    return rigid, abs(similar.scale - 1.0), states


def test_wheel_odometry_gives_the_metres(bag: Path, tmp_path: Path) -> None:
    error_m, scale_error, states = metric_figures(
        bag, tmp_path / "out.mcap", **{"odometry.scale": "from_odometry"}
    )
    assert states == {"from_odometry"} and scale_error < 0.05 and error_m < 0.3


def test_a_depth_camera_gives_the_metres_at_once(bag: Path, tmp_path: Path) -> None:
    error_m, scale_error, states = metric_figures(bag, tmp_path / "out.mcap", depth_image="/depth/image_rect")
    assert states == {"from_depth"} and scale_error < 0.03 and error_m < 0.2


def test_the_cameras_height_gives_the_metres(bag: Path, tmp_path: Path) -> None:
    height = float((bag.parent / "height").read_text())
    _, scale_error, states = metric_figures(
        bag,
        tmp_path / "out.mcap",
        **{"odometry.scale": "from_height", "odometry.camera_height_m": height},
    )
    assert states == {"from_height"} and scale_error < 0.15


def test_without_any_of_them_lengths_are_said_to_have_no_unit(bag: Path, tmp_path: Path) -> None:
    *_, states = metric_figures(
        bag,
        tmp_path / "out.mcap",
        **{"odometry.scale": "from_odometry", "wheel_odometry": "none", "odometry.scale_timeout_s": 0.5},
    )
    assert states == {"unscaled"}


def test_the_topics_of_a_running_node_reach_the_estimator() -> None:
    context = rclpy.Context()
    rclpy.init(context=context, args=[])
    values = {"odometry.scale": "from_odometry", "depth_image": "/rgbd/depth/image", "base_frame": ""}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = OdometryNode(context=context, parameter_overrides=overrides)
    robot = rclpy.create_node("robot", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        wheels = robot.create_publisher(Odometry, "wheel_odometry", 5)
        info = robot.create_publisher(CameraInfo, "/rgbd/depth/camera_info", 5)
        depth = robot.create_publisher(Image, "/rgbd/depth/image", 5)
        seen, message = [], Odometry()
        node._odometry.add_wheel_odometry = lambda stamp, T: seen.append(("wheels", stamp, T[0, 3]))
        node._odometry.add_depth = lambda stamp, d, camera, sensor: seen.append(
            (d.depth_m.shape, stamp, sensor)
        )
        message.header.stamp.sec, message.pose.pose.position.x, message.pose.pose.orientation.w = 3, 2.5, 1.0
        header = (4 * 10**9, "camera")
        deadline = time.monotonic() + 30
        while len({kind for kind, *_ in seen}) < 2 and time.monotonic() < deadline:
            wheels.publish(message)
            info.publish(camera_info_to_ros(CAMERA, header))
            depth.publish(depth_to_ros(DepthMap(np.ones((360, 480), np.float32), True), header))
            executor.spin_once(timeout_sec=0.1)
        assert ("wheels", 3 * 10**9, 2.5) in seen and ((360, 480), 4 * 10**9, True) in seen
    finally:
        node.trigger_deactivate()
        node.trigger_cleanup()
        executor.shutdown()
        node.destroy_node()
        robot.destroy_node()
        rclpy.shutdown(context=context)
