"""The place node's services: save and load maps, localise, choose between mapping and localisation.

Only types of the common interface packages, so that every ROS installation can call them: `std_srvs/Trigger`
(its message carries the reason of a refusal) with the map's name in the parameter `map_file`, and
`std_srvs/SetBool`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from vision_nodes.camera.covariance import covariance_of_attached_frame
from vision_nodes.camera.transforms import invert, quat_xyzw_from_matrix
from vision_nodes.messages.to_ros import pose_with_covariance_to_ros
from vision_nodes.nodes.background_service import BackgroundServices
from vision_nodes.places.map_directory import map_path
from vision_nodes.places.recogniser import PlaceRecogniser
from vision_nodes.preprocess.frame import Frame

if TYPE_CHECKING:
    from vision_nodes.nodes.base import VisionNode
    from vision_nodes.nodes.extrinsics import Extrinsics


class MapServices:
    """`~/save_map`, `~/load_map`, `~/localize`, `~/set_mode`; a pose found is also published."""

    def __init__(
        self,
        node: VisionNode,
        recogniser: PlaceRecogniser,
        extrinsics: Extrinsics,
        descriptor: Callable[[Frame], np.ndarray],
        on_loaded: Callable[[], None],
    ) -> None:
        self._node, self._recogniser, self._extrinsics = node, recogniser, extrinsics
        self._descriptor, self._on_loaded = descriptor, on_loaded
        self._localized = node.output(PoseWithCovarianceStamped, "~/localized_pose")
        self._services = BackgroundServices(node)
        if node.sink is None:
            self._services.add(Trigger, "~/save_map", self._save)
            self._services.add(Trigger, "~/load_map", self._load)
            self._services.add(Trigger, "~/localize", self._localize)
            self._services.add(SetBool, "~/set_mode", self._set_mode)

    def close(self) -> None:
        """Withdraw the services."""
        self._services.close()

    def load(self, name: str) -> str:
        """Load a map by name and say what it holds; MapError when that cannot be done."""
        path = map_path(self._node.settings.map_directory, name)
        self._recogniser.load_map(path)
        self._on_loaded()
        return f"{path}: {self._recogniser.keyframe_count} keyframes"

    def _load(self, request: Any, response: Any) -> None:
        response.message = self.load(self._node.settings.map_file)
        response.success = True

    def _save(self, request: Any, response: Any) -> None:
        path = map_path(self._node.settings.map_directory, self._node.settings.map_file)
        self._recogniser.save_map(path)
        response.success = True
        response.message = f"{path}: {self._recogniser.keyframe_count} keyframes, {path.stat().st_size} bytes"

    def _set_mode(self, request: Any, response: Any) -> None:
        mode = "mapping" if request.data else "localisation"
        result = self._node.set_parameters([Parameter("mode", value=mode)])[0]
        response.success, response.message = result.successful, result.reason or mode

    def _localize(self, request: Any, response: Any) -> None:
        answer = self._recogniser.localize_newest(self._descriptor)
        if answer.T_map_cam is None or answer.covariance is None:
            best = (
                f", best score {max(answer.result.candidate_scores):.3f}"
                if answer.result.candidate_ids
                else ""
            )
            response.success = False
            response.message = f"not localised among {self._recogniser.keyframe_count} keyframes{best}"
            return
        T_cam_base = invert(self._extrinsics.lookup(answer.frame_id))
        T_map_base = answer.T_map_cam @ T_cam_base
        covariance = covariance_of_attached_frame(answer.covariance, answer.T_map_cam, T_cam_base)
        header = (answer.stamp_ns, self._node.settings.map_frame)
        self._localized.publish(pose_with_covariance_to_ros(T_map_base, covariance, header))
        numbers = [*T_map_base[:3, 3], *quat_xyzw_from_matrix(T_map_base[:3, :3])]
        assert answer.result.closure is not None
        response.success = True
        response.message = (
            f"x y z qx qy qz qw in {header[1]}: {' '.join(f'{v:.6f}' for v in numbers)}; keyframe "
            f"{answer.result.closure.matched_id}, {answer.result.closure.inliers} inliers, image stamp "
            f"{answer.stamp_ns} ns"
        )
