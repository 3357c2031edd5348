"""Visual odometry from frames, scaled by depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from nav_msgs.srv import SetMap
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from vision_nodes.camera.covariance import covariance_of_attached_frame
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import invert
from vision_nodes.config import setting
from vision_nodes.datatypes import DepthMap, OdometryEstimate
from vision_nodes.errors import CalibrationError, ConfigError
from vision_nodes.messages.from_ros import (
    camera_model_from_ros,
    depth_image_from_ros,
    pose_from_ros,
    stamp_ns,
)
from vision_nodes.messages.to_ros import (
    odometry_state_to_ros,
    odometry_to_ros,
    path_to_ros,
    transform_to_ros,
)
from vision_nodes.nodes.background_service import BackgroundServices
from vision_nodes.nodes.extrinsics import Extrinsics, ExtrinsicSettings
from vision_nodes.nodes.parameters import declare_settings
from vision_nodes.nodes.robot_sensors import (
    DepthCamera,
    DepthCameraSettings,
    RobotSensor,
    WheelOdometrySensor,
)
from vision_nodes.nodes.spin import run_node
from vision_nodes.nodes.task_node import TaskNode
from vision_nodes.nodes.trajectory import BoundedTrajectory
from vision_nodes.nodes.transforms import DYNAMIC_QOS, TransformBuffer, as_tf_message
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.odometry.visual_odometry import VisualOdometry
from vision_nodes.preprocess.frame import Frame

EstimateConsumer = Callable[[Frame, OdometryEstimate], None]


PATH_PERIOD_NS = 1_000_000_000  # a path of 1000 poses costs 7 ms to serialize


@dataclass(frozen=True)
class OdometryNodeSettings(ExtrinsicSettings, DepthCameraSettings):
    """Frames, TF and where metric scale comes from."""

    odom_frame: str = setting("odom", "frame of the pose (REP 105)", live=False)
    publish_tf: bool = setting(True, "publish odom -> base_frame on /tf while tracking")
    depth_sensor: bool = setting(
        False, "depth/image comes from a depth camera: trust it as metric", live=False
    )
    wheel_odometry: str = setting(
        "wheel_odometry", "nav_msgs/Odometry of the wheels, for odometry.scale = from_odometry", live=False
    )


@dataclass(frozen=True)
class GraphOdometrySettings(OdometrySettings):
    """In the graph the depth node is there to give the scale; without it poses stay unscaled, and say so."""

    scale: str = "from_depth"


class OdometryNode(TaskNode):
    """`odometry` and TF while tracking; `odometry/state` for every frame, also when lost."""

    def __init__(
        self, *, buffer: TransformBuffer | None = None, lock_step: bool = False, **options: Any
    ) -> None:
        super().__init__("odometry_node", OdometryNodeSettings, **options)
        self.consumers: list[EstimateConsumer] = []
        self._odometry_settings = declare_settings(self, GraphOdometrySettings, "odometry.")
        self._buffer, self._lock_step = buffer, lock_step
        self._odometry: VisualOdometry | None = None
        self._depth_subscriptions: list[Any] = []
        self.sensors: list[RobotSensor] = []
        self._depth_info: dict[int, CameraModel | None] = {}

    def open_task(self) -> None:
        """Start the estimator (its solver is a process of its own) and create the outputs."""
        self._extrinsics = Extrinsics(self, self.settings, self._buffer)
        self._odometry = VisualOdometry(replace(self._odometry_settings, lock_step=self._lock_step))
        self._commands: SimpleQueue[np.ndarray | None] = SimpleQueue()
        self._commands.put(np.eye(4))  # odom starts where base_frame is
        self._odom = self.output(Odometry, "odometry")
        self._state = self.output(DiagnosticArray, "odometry/state")
        self._tf = self.output(TFMessage, "/tf", DYNAMIC_QOS)
        self._path = self.output(Path, "path")
        self._trajectory, self._path_ns = BoundedTrajectory(), -PATH_PERIOD_NS
        self._requests = BackgroundServices(self)
        if self.sink is None:
            self._requests.add(Trigger, "~/reset", self._on_reset)
            self._requests.add(SetMap, "~/set_pose", self._on_set_pose)

    def close_task(self) -> None:
        """Stop the solver process."""
        odometry, self._odometry = self._odometry, None
        if odometry is not None:
            odometry.close()
            self._extrinsics.close()
            self._requests.close()

    def start_task(self) -> None:
        """Subscribe to depth when it comes from another process, and to the sensors that give the scale."""
        super().start_task()
        if self._odometry_settings.scale == "from_odometry":
            self.sensors.append(WheelOdometrySensor(self, self.settings.wheel_odometry, self._accept_wheels))
        if self.settings.depth_image:
            self.sensors.append(DepthCamera(self, self.settings.depth_image, self._accept_depth_camera))
        if self.sink is None and not self._composed:
            self._depth_subscriptions = [
                self.create_subscription(Image, "depth/image", self._on_depth_image, qos_profile_sensor_data),
                self.create_subscription(
                    CameraInfo, "depth/camera_info", self._on_depth_info, qos_profile_sensor_data
                ),
            ]

    def stop_task(self) -> None:
        """Unsubscribe."""
        super().stop_task()
        for subscription in self._depth_subscriptions:
            self.destroy_subscription(subscription)
        self._depth_subscriptions = []
        for sensor in self.sensors:
            sensor.close()
        self.sensors = []

    def _accept_wheels(self, stamp: int, T_odom_base: np.ndarray) -> None:
        if self._odometry is not None:
            self._odometry.add_wheel_odometry(stamp, T_odom_base)

    def _accept_depth_camera(self, stamp: int, depth: DepthMap, camera: CameraModel) -> None:
        if self._odometry is not None:
            self._odometry.add_depth(stamp, depth, camera, sensor=True)

    def accept_depth(self, stamp: int, depth: DepthMap, camera: CameraModel) -> None:
        """Depth of an earlier frame, from the depth node; a depth camera of its own makes it superfluous."""
        if self._odometry is not None and not self.settings.depth_image:
            self._odometry.add_depth(stamp, depth, camera, sensor=self.settings.depth_sensor)

    def process(self, frame: Frame) -> None:
        """Track one frame and publish pose and state."""
        assert self._odometry is not None
        T_base_cam = self._extrinsics.lookup(frame.frame_id)
        self._obey(T_base_cam)
        with self.statistics.stage("track"):
            estimate = self._odometry.process(frame)
        if estimate.T_odom_cam is not None:
            self._publish_pose(frame, estimate, T_base_cam)
        self._state.publish(odometry_state_to_ros(estimate, frame.frame_id))
        for consumer in self.consumers:
            consumer(frame, estimate)

    def _publish_pose(self, frame: Frame, estimate: OdometryEstimate, T_base_cam: np.ndarray) -> None:
        assert estimate.T_odom_cam is not None and estimate.covariance is not None
        T_cam_base = invert(T_base_cam)
        T_odom_base = estimate.T_odom_cam @ T_cam_base
        covariance = covariance_of_attached_frame(estimate.covariance, estimate.T_odom_cam, T_cam_base)
        child = self.settings.base_frame or frame.frame_id
        header = (estimate.stamp_ns, self.settings.odom_frame)
        self._odom.publish(odometry_to_ros(T_odom_base, covariance, header, child))
        if self.settings.publish_tf:
            self._tf.publish(as_tf_message(transform_to_ros(T_odom_base, header, child)))
        self._trajectory.add(estimate.stamp_ns, T_odom_base)
        if estimate.stamp_ns - self._path_ns >= PATH_PERIOD_NS or estimate.stamp_ns < self._path_ns:
            self._path_ns = estimate.stamp_ns
            self._path.publish(path_to_ros(self._trajectory.poses(), header))

    def process_now(self, frame: Frame) -> None:
        """As every task, and a missing extrinsic or calibration is also said in `odometry/state`."""
        try:
            self._extrinsics.lookup(frame.frame_id)
        except CalibrationError as error:
            self._state.publish(
                odometry_state_to_ros(self._extrinsics.missing(frame.stamp_ns, error), frame.frame_id)
            )
            self.reject(str(error))
            return
        super().process_now(frame)

    def _on_depth_info(self, message: CameraInfo) -> None:
        self._depth_info = {stamp_ns(message.header): camera_model_from_ros(message)}

    def _on_depth_image(self, message: Image) -> None:
        camera = self._depth_info.get(stamp_ns(message.header))
        if camera is None:
            self.statistics.count("depth_unpaired")
            return
        depth = DepthMap(depth_image_from_ros(message), metric=True)
        self.accept_depth(stamp_ns(message.header), depth, camera)

    def _obey(self, T_base_cam: np.ndarray) -> None:
        """Carry out what the services asked for, between two frames: the estimator belongs to one thread."""
        assert self._odometry is not None
        while not self._commands.empty():
            T_odom_base = self._commands.get()
            if T_odom_base is None:
                self._odometry.reset()
            else:
                self._odometry.set_pose(T_odom_base @ T_base_cam)
                self._trajectory = BoundedTrajectory()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> None:
        self._commands.put(None)
        response.success = True
        response.message = "a new map starts with the next frame; odom stays continuous"

    def _on_set_pose(self, request: SetMap.Request, response: SetMap.Response) -> None:
        """nav_msgs/SetMap is the common type whose request is a pose; its map must stay empty."""
        header = request.initial_pose.header
        if request.map.data:
            raise ConfigError(
                "an empty map with the pose", f"{len(request.map.data)} cells", "give only initial_pose"
            )
        if header.frame_id not in ("", self.settings.odom_frame):
            raise ConfigError(
                f"a pose in {self.settings.odom_frame}", header.frame_id, "the odometry knows no other frame"
            )
        self._commands.put(pose_from_ros(request.initial_pose.pose.pose))
        response.success = True


def main() -> None:
    """Run alone: ``odometry_node``."""
    run_node(OdometryNode)


if __name__ == "__main__":
    main()
