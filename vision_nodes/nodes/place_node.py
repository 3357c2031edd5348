"""Place recognition and loop closure from frames and odometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Classification
from visualization_msgs.msg import MarkerArray

from vision_nodes.camera.transforms import invert
from vision_nodes.config import replace_checked, setting
from vision_nodes.datatypes import OdometryEstimate, PlaceResult
from vision_nodes.errors import FrameError
from vision_nodes.messages.to_ros import (
    image_to_ros,
    loop_closure_to_ros,
    path_to_ros,
    place_matches_to_ros,
    pose_graph_to_ros,
    transform_to_ros,
)
from vision_nodes.nodes.base import Sink
from vision_nodes.nodes.engine_node import EngineNode, EngineSettings
from vision_nodes.nodes.extrinsics import Extrinsics, ExtrinsicSettings
from vision_nodes.nodes.map_services import MapServices
from vision_nodes.nodes.parameters import declare_settings
from vision_nodes.nodes.pose_subscription import PoseSubscription
from vision_nodes.nodes.robot_sensors import DepthBuffer, DepthCamera, DepthCameraSettings, RobotSensor
from vision_nodes.nodes.spin import run_node
from vision_nodes.nodes.task_node import TaskNode
from vision_nodes.nodes.transforms import DYNAMIC_QOS, TransformBuffer, as_tf_message
from vision_nodes.nodes.worker import Worker
from vision_nodes.overlay import draw_place_match
from vision_nodes.places.recogniser import MODES, PlaceRecogniser
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import DescriptorExtractor


@dataclass(frozen=True)
class PlaceNodeSettings(EngineSettings, ExtrinsicSettings, DepthCameraSettings):
    """Model, frames and TF."""

    model: str = setting("place", "model name, name:precision or manifest path", live=False)
    map_frame: str = setting("map", "frame of the corrected trajectory (REP 105)", live=False)
    odom_frame: str = setting("odom", "frame of odometry's poses (REP 105)", live=False)
    publish_tf: bool = setting(True, "publish map -> odom on /tf")
    use_odometry: bool = setting(True, "wait for odometry's answer for each frame", live=False)
    mode: str = setting(
        "mapping", "localisation looks frames up and adds none; ~/set_mode", choices=MODES
    )  # fmt: skip
    map_directory: str = setting("", "where maps live; empty = $ROS_HOME/vision_nodes_maps", live=False)
    map_file: str = setting("map", "name of the map that ~/save_map and ~/load_map mean, below map_directory")
    start_map: str = setting("", "map loaded at configure; empty = start with none", live=False)


class PlaceNode(EngineNode):
    """`place_matches` per keyframe, `loop_closures` when verified, `pose_graph`, TF map -> odom."""

    task = "place"

    def __init__(
        self,
        *,
        buffer: TransformBuffer | None = None,
        lock_step: bool = False,
        sink: Sink | None = None,
        **options: Any,
    ) -> None:
        super().__init__("place_node", PlaceNodeSettings, sink=sink, **options)
        self._place_settings = declare_settings(self, PlaceSettings, "places.")
        self._buffer, self._lock_step = buffer, lock_step
        self._recogniser: PlaceRecogniser | None = None
        self._map_services: MapServices | None = None
        self._poses: PoseSubscription | None = None
        self.sensors: list[RobotSensor] = []
        self._depths = DepthBuffer()  # of a depth camera: a network's would be too rough for landmarks
        self._tracked: Worker[tuple[Frame, np.ndarray | None]] = Worker(
            "place_node", lambda item: self.process_tracked(*item)
        )

    def open_task(self) -> None:
        """Load the descriptor network, start the pose-graph process, create the outputs."""
        super().open_task()
        self._descriptor = DescriptorExtractor(self.engine)
        self._recogniser = PlaceRecogniser(
            replace_checked(
                self._place_settings,
                {"descriptor_model": self._descriptor.model, "lock_step": self._lock_step},
            )
        )
        self._extrinsics = Extrinsics(self, self.settings, self._buffer)
        self._matches = self.output(Classification, "place_matches")
        self._closures = self.output(PoseWithCovarianceStamped, "loop_closures")
        self._graph = self.output(MarkerArray, "pose_graph")
        self._path = self.output(Path, "map_path")
        self._tf = self.output(TFMessage, "/tf", DYNAMIC_QOS)
        self._overlay = self.output(Image, "~/overlay", on_demand=True)
        self._recogniser.set_mode(self.settings.mode)
        self._map_services = MapServices(
            self, self._recogniser, self._extrinsics, self._timed_descriptor, self._redraw_graph
        )
        self._redraw_graph()
        if self.settings.start_map:
            self.get_logger().info(self._map_services.load(self.settings.start_map))

    def apply_settings(self, settings: PlaceNodeSettings) -> None:
        """The mode reaches the recogniser; names are read when they are used."""
        super().apply_settings(settings)
        if self._recogniser is not None:
            self._recogniser.set_mode(settings.mode)

    def close_task(self) -> None:
        """Free the engine and stop the pose-graph process."""
        services, self._map_services = self._map_services, None
        if services is not None:
            services.close()  # first: one in work may still need engine and recogniser
        super().close_task()
        recogniser, self._recogniser = self._recogniser, None
        if recogniser is not None:
            recogniser.close()
            self._extrinsics.close()

    def start_task(self) -> None:
        """Frames come with their odometry answer: in process, or joined by stamp from topics."""
        if self.settings.depth_image:
            self.sensors.append(DepthCamera(self, self.settings.depth_image, self._depths.accept))
        if self.sink is not None:
            return
        if self.settings.use_odometry and not self._composed:
            self._tracked.start()
            self._poses = PoseSubscription(self, self._extrinsics, self.accept_tracked)
        elif self._composed:
            self._tracked.start()
        else:
            TaskNode.start_task(self)

    def stop_task(self) -> None:
        """Unsubscribe and stop the worker."""
        super().stop_task()
        self._tracked.stop()
        if self._poses is not None:
            self._poses.close()
            self._poses = None
        for sensor in self.sensors:
            sensor.close()
        self.sensors = []

    def describe(self) -> dict[str, str]:
        """Dropped frames and size of the map."""
        values = super().describe()
        values["dropped"] = str(self.worker.dropped + self._tracked.dropped)
        if self._recogniser is not None:
            values["keyframes"] = str(self._recogniser.keyframe_count)
            values["mode"] = self._recogniser.mode
        return values

    def accept_tracked(self, frame: Frame, T_odom_cam: np.ndarray | None) -> None:
        """A frame with its camera pose, None when odometry has none; newest wins."""
        if self.active:
            self.statistics.count("received")
            self._tracked.put((frame, T_odom_cam))

    def accept_estimate(self, frame: Frame, estimate: OdometryEstimate) -> None:
        """The in-process form of `accept_tracked`."""
        self.accept_tracked(frame, estimate.T_odom_cam)

    def accept(self, frame: Frame) -> None:
        """A frame of a graph without odometry."""
        self.accept_tracked(frame, None)

    def process(self, frame: Frame) -> None:
        """A frame alone (no odometry in this graph)."""
        self._process_pair(frame, None)

    def process_tracked(self, frame: Frame, T_odom_cam: np.ndarray | None) -> None:
        """One frame with its pose, in the calling thread, with the node's error policy."""
        self.guarded(lambda: self._process_pair(frame, T_odom_cam))

    def _process_pair(self, frame: Frame, T_odom_cam: np.ndarray | None) -> None:
        assert self._recogniser is not None
        if frame.image.size == 0:
            raise FrameError("a frame with pixels", "an empty one", "check the camera")
        with self.statistics.stage("total"):
            result = self._recogniser.process(
                frame, self._timed_descriptor, T_odom_cam, self._depths.of(frame.stamp_ns)
            )
        T_map_odom = self._recogniser.T_map_odom
        if T_odom_cam is not None and T_map_odom is not None and self.settings.publish_tf:
            header = (frame.stamp_ns, self.settings.map_frame)
            self._tf.publish(as_tf_message(transform_to_ros(T_map_odom, header, self.settings.odom_frame)))
        if result is not None:
            self._publish(frame, result)
            self.statistics.finished()

    def _timed_descriptor(self, frame: Frame) -> np.ndarray:
        with self.statistics.stage("network"):
            return self._descriptor(frame)

    def _redraw_graph(self) -> None:
        self._graph_version = -1

    def _publish(self, frame: Frame, result: PlaceResult) -> None:
        assert self._recogniser is not None
        self._matches.publish(place_matches_to_ros(result))
        if result.closure is not None:
            T_base_cam = self._extrinsics.lookup(frame.frame_id)
            self._closures.publish(loop_closure_to_ros(result.closure, result.stamp_ns, T_base_cam))
        if self._recogniser.graph_version != self._graph_version:
            self._publish_graph(frame)
        if self._overlay.wanted():
            drawn = draw_place_match(frame.image, self._recogniser.keyframe_image(result.closure), result)
            self._overlay.publish(image_to_ros(drawn, (frame.stamp_ns, frame.frame_id)))

    def _publish_graph(self, frame: Frame) -> None:
        """Markers of the graph, and the robot's way through the map as it is known now."""
        assert self._recogniser is not None
        self._graph_version = self._recogniser.graph_version
        T_cam_base = invert(self._extrinsics.lookup(frame.frame_id))
        poses = {i: T @ T_cam_base for i, T in self._recogniser.keyframe_poses().items()}
        header = (frame.stamp_ns, self.settings.map_frame)
        self._graph.publish(pose_graph_to_ros(poses, self._recogniser.edges(), header))
        stamps = self._recogniser.keyframe_stamps()
        self._path.publish(path_to_ros([(stamps[i], T) for i, T in poses.items() if i in stamps], header))


def main() -> None:
    """Run alone: ``place_node``."""
    run_node(PlaceNode)


if __name__ == "__main__":
    main()
