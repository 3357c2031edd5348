"""Camera, frames and exact truth of a rendered drive as ROS messages (rosbags objects, no ROS needed)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import quat_xyzw_from_matrix
from vision_nodes.messages.typestore import build_typestore
from vision_nodes.simulation.truth import TruthBoxes

NS = 1_000_000_000
BASE_FRAME, CAMERA_FRAME, WORLD_FRAME = "base_link", "camera_optical_frame", "world"


class DriveMessages:
    """Builds every message type of a drive bag."""

    def __init__(self) -> None:
        self.types = build_typestore().types

    def _new(self, name: str, **fields: Any) -> Any:
        package, kind = name.split("/")
        return self.types[f"{package}/msg/{kind}"](**fields)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """std_msgs/Header."""
        stamp = self._new("builtin_interfaces/Time", sec=stamp_ns // NS, nanosec=stamp_ns % NS)
        return self._new("std_msgs/Header", stamp=stamp, frame_id=frame_id)

    def image(self, stamp_ns: int, image: np.ndarray, encoding: str) -> Any:
        """sensor_msgs/Image of a (H, W) or (H, W, 3) array in the camera's frame."""
        pixels = np.ascontiguousarray(image)
        return self._new(
            "sensor_msgs/Image",
            header=self.header(stamp_ns, CAMERA_FRAME),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )

    def camera_info(self, stamp_ns: int, camera: CameraModel) -> Any:
        """sensor_msgs/CameraInfo; an undistorted camera gets five zeros."""
        P = np.zeros((3, 4))
        P[:, :3] = camera.K if camera.P is None else camera.P
        region = self._new(
            "sensor_msgs/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        return self._new(
            "sensor_msgs/CameraInfo",
            header=self.header(stamp_ns, CAMERA_FRAME),
            height=camera.size_wh[1],
            width=camera.size_wh[0],
            distortion_model=camera.distortion_model,
            d=np.asarray(camera.distortion if len(camera.distortion) else np.zeros(5), np.float64),
            k=camera.K.astype(np.float64).reshape(-1),
            r=camera.R.astype(np.float64).reshape(-1),
            p=P.reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=region,
        )

    def static_transform(self, stamp_ns: int, T_base_cam: np.ndarray) -> Any:
        """tf2_msgs/TFMessage base_link -> camera_optical_frame."""
        x, y, z = (float(v) for v in T_base_cam[:3, 3])
        transform = self._new(
            "geometry_msgs/Transform",
            translation=self._new("geometry_msgs/Vector3", x=x, y=y, z=z),
            rotation=self._quaternion(T_base_cam),
        )
        stamped = self._new(
            "geometry_msgs/TransformStamped",
            header=self.header(stamp_ns, BASE_FRAME),
            child_frame_id=CAMERA_FRAME,
            transform=transform,
        )
        return self._new("tf2_msgs/TFMessage", transforms=[stamped])

    def pose(self, stamp_ns: int, T_world_cam: np.ndarray) -> Any:
        """geometry_msgs/PoseStamped of the camera's optical frame in the world."""
        x, y, z = (float(v) for v in T_world_cam[:3, 3])
        pose = self._new(
            "geometry_msgs/Pose",
            position=self._new("geometry_msgs/Point", x=x, y=y, z=z),
            orientation=self._quaternion(T_world_cam),
        )
        return self._new("geometry_msgs/PoseStamped", header=self.header(stamp_ns, WORLD_FRAME), pose=pose)

    def detections(self, stamp_ns: int, boxes: TruthBoxes) -> Any:
        """vision_msgs/Detection2DArray: class_id = COCO name, score = visible fraction.

        `id` is ``photo_<n>`` for a thing in a real photograph, ``model_<n>`` for a modelled shape.
        """
        header = self.header(stamp_ns, CAMERA_FRAME)
        detections = [self._detection(header, boxes, index) for index in range(len(boxes.labels))]
        return self._new("vision_msgs/Detection2DArray", header=header, detections=detections)

    def _detection(self, header: Any, boxes: TruthBoxes, index: int) -> Any:
        x0, y0, x1, y1 = (float(v) for v in boxes.boxes_xyxy[index])
        score = float(boxes.visible_fraction[index])
        centre = self._new(
            "vision_msgs/Pose2D",
            position=self._new("vision_msgs/Point2D", x=(x0 + x1) / 2, y=(y0 + y1) / 2),
            theta=0.0,
        )
        result = self._new(
            "vision_msgs/ObjectHypothesisWithPose",
            hypothesis=self._new("vision_msgs/ObjectHypothesis", class_id=boxes.labels[index], score=score),
            pose=self._no_pose(),
        )
        kind = "photo" if boxes.is_photo[index] else "model"
        return self._new(
            "vision_msgs/Detection2D",
            header=header,
            results=[result],
            bbox=self._new("vision_msgs/BoundingBox2D", center=centre, size_x=x1 - x0, size_y=y1 - y0),
            id=f"{kind}_{boxes.instance_ids[index]}",
        )

    def loops(self, stamp_ns: int, partners: list[tuple[int, float]]) -> Any:
        """vision_msgs/Classification: class_id = stamp of the other frame in ns, score = view overlap."""
        results = [
            self._new("vision_msgs/ObjectHypothesis", class_id=str(stamp), score=overlap)
            for stamp, overlap in partners
        ]
        return self._new(
            "vision_msgs/Classification", header=self.header(stamp_ns, CAMERA_FRAME), results=results
        )

    def _no_pose(self) -> Any:
        """The 3D pose a 2D truth box does not have: NaN with -1 on the covariance, never a valid identity."""
        nan = float("nan")
        pose = self._new(
            "geometry_msgs/Pose",
            position=self._new("geometry_msgs/Point", x=nan, y=nan, z=nan),
            orientation=self._new("geometry_msgs/Quaternion", x=nan, y=nan, z=nan, w=nan),
        )
        covariance = np.zeros(36)
        covariance[0] = -1.0
        return self._new("geometry_msgs/PoseWithCovariance", pose=pose, covariance=covariance)

    def _quaternion(self, T_a_b: np.ndarray) -> Any:
        x, y, z, w = quat_xyzw_from_matrix(T_a_b).tolist()
        return self._new("geometry_msgs/Quaternion", x=x, y=y, z=z, w=w)
