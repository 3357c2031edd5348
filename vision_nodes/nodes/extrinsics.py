"""Where the camera sits on the robot: from a parameter or from TF, never guessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rclpy.node import Node

from vision_nodes.camera.transforms import make_transform, matrix_from_quat_xyzw
from vision_nodes.config import setting
from vision_nodes.datatypes import OdometryEstimate, TrackingState
from vision_nodes.errors import CalibrationError, ConfigError, VisionNodesError
from vision_nodes.nodes.transforms import TransformBuffer, TransformListener

# REP 103: the body of a camera looks along x with z up; its optical frame along z with y down.
T_BODY_OPTICAL = make_transform(matrix_from_quat_xyzw(np.array([-0.5, 0.5, -0.5, 0.5])), np.zeros(3))


@dataclass(frozen=True)
class ExtrinsicSettings:
    """Which body the pose belongs to and where the camera sits on it."""

    base_frame: str = setting("base_link", "body frame; empty = track the camera's own frame", live=False)
    base_to_camera: str = setting(
        "", "pose of the camera optical frame in base_frame, 'x y z qx qy qz qw'; empty = from TF", live=False
    )


class Extrinsics:
    """T_base_cam of an image frame; fixed after the first answer."""

    def __init__(self, node: Node, settings: ExtrinsicSettings, buffer: TransformBuffer | None) -> None:
        self._node, self._settings = node, settings
        self._buffer = buffer or TransformBuffer()
        self._known: dict[str, np.ndarray] = {}
        self._listener: TransformListener | None = None
        self._fixed = _parse(settings.base_to_camera) if settings.base_to_camera else None
        self._listens = self._fixed is None and bool(settings.base_frame) and buffer is None
        self._listen()

    def lookup(self, camera_frame: str) -> np.ndarray:
        """(4, 4) T_base_cam, metres.

        Without a base frame the body is the camera itself, seen as a REP-103 body (x forward, z up).

        Raises:
            CalibrationError: no transform known; names the frames there are.
        """
        if not self._settings.base_frame:
            return T_BODY_OPTICAL
        if self._fixed is not None:
            return self._fixed
        if camera_frame not in self._known:
            T = self._buffer.lookup(self._settings.base_frame, camera_frame)
            if T is None:
                self._listen()
                raise CalibrationError(
                    f"a transform {self._settings.base_frame} -> {camera_frame or '(empty frame_id)'} on /tf_static",
                    f"frames {', '.join(self._buffer.frames()) or 'none'}",
                    "publish it (robot_state_publisher or static_transform_publisher), set the parameter "
                    "base_to_camera, or set base_frame to '' to track the camera itself",
                )
            self._known[camera_frame] = T
            self.close()  # /tf brings a message per frame and more; an answer that is fixed needs none of them
        return self._known[camera_frame]

    def _listen(self) -> None:
        if self._listens and self._listener is None:
            self._listener = TransformListener(self._node, self._buffer)

    @staticmethod
    def missing(stamp_ns: int, error: VisionNodesError) -> OdometryEstimate:
        """The state message of a frame that has no extrinsics."""
        return OdometryEstimate(stamp_ns, TrackingState.INITIALISING, None, None, message=str(error))

    def close(self) -> None:
        """Unsubscribe from TF."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.destroy(self._node)


def _parse(text: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in text.replace(",", " ").split()])
    except ValueError:
        values = np.zeros(0)
    if values.shape != (7,) or not np.isfinite(values).all() or not 0.99 < np.linalg.norm(values[3:]) < 1.01:
        raise ConfigError(
            "base_to_camera as 'x y z qx qy qz qw' with a unit quaternion", repr(text), "correct it"
        )
    return make_transform(matrix_from_quat_xyzw(values[3:]), values[:3])
