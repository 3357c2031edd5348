"""Sequence folder -> ROS 2 bag with images, camera_info, extrinsics and ground truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision_nodes.bags.folder import NS, Sequence, SequenceFrame, read_sequence
from vision_nodes.bags.writer import BagWriter
from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import BagError
from vision_nodes.messages.typestore import build_typestore

BASE_FRAME, CAMERA_FRAME, WORLD_FRAME = "base_link", "camera_optical_frame", "world"
OPTICAL_QUAT_XYZW = (-0.5, 0.5, -0.5, 0.5)  # REP 103: optical z forward, y down, seen from x forward, z up
STAMP_TOLERANCE_NS = 500_000  # truth files round stamps; a pose this near an image belongs to it


def write_folder_bag(folder: str | Path, out: str | Path, *, compressed: bool = False) -> dict[str, int]:
    """Write a bag of a sequence folder.

    Topics: ``/image_raw`` (or ``/image_raw/compressed`` with the files' own bytes), ``/camera_info``,
    ``/tf_static`` (base_link is the camera's own body: x forward, z up, same origin),
    ``/ground_truth/pose`` (PoseStamped, camera in world), ``/ground_truth/depth`` (16UC1 mm) with
    ``/ground_truth/camera_info``, ``/ground_truth/loops`` (Classification: class_id = stamp in ns of
    the other frame, score = view overlap).

    Returns:
        Messages written per topic.

    Raises:
        BagError: unknown layout or an unreadable image.
    """
    sequence = read_sequence(folder)
    make = _MessageFactory()
    with BagWriter(out) as writer:
        writer.write_object(
            "/tf_static", make.static_transform(sequence.frames[0].stamp_ns), sequence.frames[0].stamp_ns
        )
        truth = _truth_by_stamp(sequence)
        for frame in sequence.frames:
            for topic, message in _frame_messages(make, sequence.camera, frame, compressed):
                writer.write_object(topic, message, frame.stamp_ns)
            for topic, message in make.truth(frame.stamp_ns, truth[frame.stamp_ns]):
                writer.write_object(topic, message, frame.stamp_ns)
        return dict(writer.counts)


def _frame_messages(
    make: _MessageFactory, camera: CameraModel | None, frame: SequenceFrame, compressed: bool
) -> Iterator[tuple[str, Any]]:
    if compressed:
        yield "/image_raw/compressed", make.compressed(frame)
    else:
        yield "/image_raw", make.image(frame.stamp_ns, CAMERA_FRAME, _read(frame.image))
    if camera is not None:
        yield "/camera_info", make.camera_info(frame.stamp_ns, camera)
    if frame.depth is not None:
        depth_mm = _read(frame.depth)
        if depth_mm.dtype != np.uint16 or depth_mm.ndim != 2:
            raise BagError("16-bit depth in millimetres", f"{frame.depth}: {depth_mm.dtype}", "convert it")
        yield "/ground_truth/depth", make.image(frame.stamp_ns, CAMERA_FRAME, depth_mm)
        if camera is not None:
            yield "/ground_truth/camera_info", make.camera_info(frame.stamp_ns, camera)


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BagError("a readable image", str(path), "copy the file again")
    return image


def _truth_by_stamp(sequence: Sequence) -> dict[int, dict[str, Any]]:
    """Frame stamp -> pose and loop partners, with truth stamps snapped to the images'."""
    stamps = np.array([frame.stamp_ns for frame in sequence.frames])
    truth: dict[int, dict[str, Any]] = defaultdict(lambda: {"pose": None, "loops": []})
    for stamp_ns, pose in sequence.poses:
        nearest = int(stamps[np.abs(stamps - stamp_ns).argmin()])
        if abs(nearest - stamp_ns) <= STAMP_TOLERANCE_NS:
            truth[nearest]["pose"] = pose
    for query_ns, other_ns, overlap in sequence.loops:
        truth[query_ns]["loops"].append((other_ns, overlap))
    return truth


class _MessageFactory:
    """rosbags message objects of the types a folder bag needs."""

    def __init__(self) -> None:
        self.types = build_typestore().types

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self.types["builtin_interfaces/msg/Time"](sec=stamp_ns // NS, nanosec=stamp_ns % NS)
        return self.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    def image(self, stamp_ns: int, frame_id: str, image: np.ndarray) -> Any:
        """mono8, bgr8 or 16UC1 Image of an array as OpenCV reads it."""
        encoding = "16UC1" if image.dtype == np.uint16 else "mono8" if image.ndim == 2 else "bgr8"
        return self.types["sensor_msgs/msg/Image"](
            header=self.header(stamp_ns, frame_id),
            height=image.shape[0],
            width=image.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=image.strides[0],
            data=np.ascontiguousarray(image).view(np.uint8).reshape(-1),
        )

    def compressed(self, frame: SequenceFrame) -> Any:
        return self.types["sensor_msgs/msg/CompressedImage"](
            header=self.header(frame.stamp_ns, CAMERA_FRAME),
            format="png" if frame.image.suffix.lower() == ".png" else "jpeg",
            data=np.frombuffer(frame.image.read_bytes(), np.uint8),
        )

    def camera_info(self, stamp_ns: int, camera: CameraModel) -> Any:
        P = np.zeros((3, 4))
        P[:, :3] = camera.K if camera.P is None else camera.P
        distortion = camera.distortion if len(camera.distortion) else np.zeros(5)
        return self.types["sensor_msgs/msg/CameraInfo"](
            header=self.header(stamp_ns, CAMERA_FRAME),
            height=camera.size_wh[1],
            width=camera.size_wh[0],
            distortion_model=camera.distortion_model,
            d=distortion.astype(np.float64),
            k=camera.K.reshape(-1),
            r=camera.R.reshape(-1),
            p=P.reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=self.types["sensor_msgs/msg/RegionOfInterest"](
                x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
            ),
        )

    def static_transform(self, stamp_ns: int) -> Any:
        vector = self.types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        rotation = self._quaternion(OPTICAL_QUAT_XYZW)
        stamped = self.types["geometry_msgs/msg/TransformStamped"](
            header=self.header(stamp_ns, BASE_FRAME),
            child_frame_id=CAMERA_FRAME,
            transform=self.types["geometry_msgs/msg/Transform"](translation=vector, rotation=rotation),
        )
        return self.types["tf2_msgs/msg/TFMessage"](transforms=[stamped])

    def truth(self, stamp_ns: int, truth: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        if truth["pose"] is not None:
            x, y, z, *quat_xyzw = (float(value) for value in truth["pose"])
            pose = self.types["geometry_msgs/msg/Pose"](
                position=self.types["geometry_msgs/msg/Point"](x=x, y=y, z=z),
                orientation=self._quaternion(quat_xyzw),
            )
            header = self.header(stamp_ns, WORLD_FRAME)
            yield "/ground_truth/pose", self.types["geometry_msgs/msg/PoseStamped"](header=header, pose=pose)
        if truth["loops"]:
            hypothesis = self.types["vision_msgs/msg/ObjectHypothesis"]
            results = [hypothesis(class_id=str(other), score=overlap) for other, overlap in truth["loops"]]
            header = self.header(stamp_ns, CAMERA_FRAME)
            yield (
                "/ground_truth/loops",
                self.types["vision_msgs/msg/Classification"](header=header, results=results),
            )

    def _quaternion(self, quat_xyzw: Any) -> Any:
        x, y, z, w = quat_xyzw
        return self.types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)
