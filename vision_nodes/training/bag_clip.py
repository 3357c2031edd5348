"""A user's bag as training material: pictures at the network's size, our odometry's poses, its landmarks.

Metres come from what the bag knows, in this order: a depth camera, wheel odometry, the camera's height, and else
from the depth network itself, whose many answers along the way agree on one scale better than each alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.datatypes import DepthMap
from vision_nodes.errors import FrameError, TrainingError
from vision_nodes.messages.from_ros import depth_image_from_ros, odometry_from_ros, stamp_ns
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.odometry.visual_odometry import VisualOdometry
from vision_nodes.preprocess.frame import Frame
from vision_nodes.preprocess.pairing import StampPairer
from vision_nodes.preprocess.preprocessor import Preprocessor

logger = logging.getLogger(__name__)
TRUTH_DEPTH, TRUTH_INFO = "/ground_truth/depth", "/ground_truth/camera_info"
ASK_NETWORK_EVERY = 4  # frames; the scale filter needs no more
MAX_LANDMARKS = 200  # kept per frame
MAX_FRAMES = 3000
Predict = Callable[[np.ndarray], "tuple[np.ndarray, np.ndarray]"]


@dataclass(frozen=True)
class BagScale:
    """Where metres come from; all empty = the network."""

    depth_topic: str = ""  # depth camera registered to the image, 16UC1 mm or 32FC1 m
    wheels_topic: str = ""  # nav_msgs/Odometry of the wheels
    camera_height_m: float = 0.0  # above the floor that it sees

    @property
    def settings(self) -> OdometrySettings:
        """Of the odometry that makes the poses."""
        if self.depth_topic:
            return OdometrySettings(scale="from_depth", lock_step=True)
        if self.wheels_topic:
            return OdometrySettings(scale="from_odometry", lock_step=True)
        if self.camera_height_m > 0:
            return OdometrySettings(scale="from_height", camera_height_m=self.camera_height_m, lock_step=True)
        return OdometrySettings(scale="from_depth", lock_step=True)


@dataclass(frozen=True)
class Clip:
    """N frames in order.

    Attributes:
        images: (N, H, W, 3) uint8 RGB at the network's size, rectified. K: (3, 3) at that size.
        poses: (N, 4, 4) T_odom_cam in metres, NaN where the odometry had none.
        runs: (N,) frames with the same number belong to one unbroken track.
        landmarks: (M, 4) float32: frame number, u, v (px of `images`), depth in metres.
        truth: (N, H / 2, W / 2) float32 metres, NaN unknown; (0, ...) for a bag without. Never trained on.
    """

    images: np.ndarray
    K: np.ndarray
    poses: np.ndarray
    runs: np.ndarray
    landmarks: np.ndarray
    truth: np.ndarray

    def save(self, path: Path) -> None:
        """As npz, so that a resumed run need not read the bag again."""
        temporary = path.with_suffix(".partial.npz")
        np.savez(temporary, **{item.name: getattr(self, item.name) for item in fields(self)})
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Clip:
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(**{item.name: stored[item.name] for item in fields(cls)})


def read_clip(
    bag: Path, size_wh: tuple[int, int], predict: Predict, scale: BagScale, topic: str = ""
) -> Clip:
    """Run the odometry over the bag and keep what training needs.

    Args:
        size_wh: the network's input size.
        predict: (H, W, 3) uint8 of that size -> depth and confidence (h, w) float32; depth in metres per px of
            focal length at the network's width. Asked every few frames, when nothing else knows the scale.

    Raises:
        BagError: no bag, or no camera in it.
        TrainingError: the camera is not calibrated, or no frame could be read.
    """
    with BagReader(bag) as reader, VisualOdometry(scale.settings) as odometry:
        maker = _ClipMaker(odometry, size_wh, predict, scale)
        topics = find_camera_topics(reader.topics(), topic)
        for frame in _frames(reader, topics.image, topics.camera_info, maker):
            maker.add(frame)
            if len(maker.images) == MAX_FRAMES:
                logger.warning("the first %d frames of %s are used", MAX_FRAMES, bag)
                break
    return maker.clip()


def _frames(reader: BagReader, image: str, info: str, maker: _ClipMaker) -> Iterator[Frame]:
    """Frames as the graph sees them; other topics go to `maker` as they come."""
    pairer, preprocessor = StampPairer(), Preprocessor()
    for message in reader.messages():
        pairs: list[Any] = []
        if message.topic == image:
            pairs = pairer.add_image(reader.deserialize(message), message.log_time_ns)
        elif message.topic == info:
            pairs = pairer.add_camera_info(reader.deserialize(message), message.log_time_ns)
        elif message.topic in maker.topics:
            maker.hear(message.topic, reader.deserialize(message))
        for picture, camera_info, received in pairs:
            yield from _frame(preprocessor, picture, camera_info, received)
    for picture, camera_info, received in pairer.flush():
        yield from _frame(preprocessor, picture, camera_info, received)


def _frame(preprocessor: Preprocessor, picture: Any, info: Any, received: int) -> Iterator[Frame]:
    try:
        yield preprocessor.process(picture, info, received)
    except FrameError as error:  # one damaged picture is no reason to stop
        logger.warning("%s", error)


class _ClipMaker:
    """Collects frames, poses, landmarks and truth."""

    def __init__(
        self, odometry: VisualOdometry, size_wh: tuple[int, int], predict: Predict, scale: BagScale
    ) -> None:
        self.odometry, self.size_wh, self.predict, self.scale = odometry, size_wh, predict, scale
        self.topics = {TRUTH_DEPTH, TRUTH_INFO, scale.depth_topic, scale.wheels_topic} - {""}
        self.images: list[np.ndarray] = []
        self.stamps: list[int] = []
        self.poses: list[np.ndarray] = []
        self.runs: list[int] = []
        self.landmarks: list[np.ndarray] = []
        self.truth: dict[int, np.ndarray] = {}
        self.camera: CameraModel | None = None
        self._run, self._tracked = 0, False

    def hear(self, topic: str, message: Any) -> None:
        """Truth is kept; a depth camera and wheels tell the odometry its scale."""
        if topic == TRUTH_DEPTH:
            size = (self.size_wh[0] // 2, self.size_wh[1] // 2)
            depth = depth_image_from_ros(message)
            self.truth[stamp_ns(message.header)] = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
        elif topic == self.scale.depth_topic and self.camera is not None:
            depth = depth_image_from_ros(message)
            camera = _resized(self.camera, (depth.shape[1], depth.shape[0]))
            stamp = stamp_ns(message.header)
            self.odometry.add_depth(stamp, DepthMap(depth, metric=True), camera, sensor=True)
        elif topic == self.scale.wheels_topic:
            pose = odometry_from_ros(message)
            self.odometry.add_wheel_odometry(pose.stamp_ns, pose.T_parent_child)

    def add(self, frame: Frame) -> None:
        """One frame in order."""
        if frame.camera is None:
            raise TrainingError("a calibrated camera", "no camera_info, or K = 0", "calibrate, and record it")
        self.camera = frame.camera
        picture = frame.resized(self.size_wh)
        estimate = self.odometry.process(frame)
        by_network = not (self.scale.depth_topic or self.scale.wheels_topic or self.scale.camera_height_m > 0)
        if by_network and len(self.images) % ASK_NETWORK_EVERY == 0:
            self._tell_scale(frame, picture)
        posed = estimate.T_odom_cam is not None and estimate.scale_state.value != "unscaled"
        if posed and not self._tracked:
            self._run += 1
        self._tracked = posed
        if posed:
            self._keep_landmarks(frame)
        pose = estimate.T_odom_cam if posed else None
        self.poses.append(np.full((4, 4), np.nan) if pose is None else pose)
        self.runs.append(self._run if posed else 0)
        self.images.append(np.ascontiguousarray(picture))
        self.stamps.append(frame.stamp_ns)

    def _tell_scale(self, frame: Frame, picture: np.ndarray) -> None:
        camera = _resized(frame.camera, self.size_wh)
        depth, confidence = self.predict(picture)
        depth = (depth * camera.fx).astype(np.float32)
        own = _resized(camera, (depth.shape[1], depth.shape[0]))
        self.odometry.add_depth(frame.stamp_ns, DepthMap(depth, metric=True, confidence=confidence), own)

    def _keep_landmarks(self, frame: Frame) -> None:
        points, pixels = self.odometry.landmarks()
        if len(points) == 0:
            return
        stride = -(-len(points) // MAX_LANDMARKS)
        uv = frame.map_to(self.size_wh).to_target(pixels[::stride])
        number = np.full(len(uv), len(self.images))
        self.landmarks.append(np.column_stack([number, uv, points[::stride, 2]]).astype(np.float32))

    def clip(self) -> Clip:
        """Everything, as arrays."""
        if self.camera is None:
            raise TrainingError(
                "frames in the bag", "none that could be read", "look at vision-nodes bag info"
            )
        half = (self.size_wh[1] // 2, self.size_wh[0] // 2)
        unknown = np.full(half, np.nan, np.float32)
        truth = [self.truth.get(stamp, unknown) for stamp in self.stamps] if self.truth else []
        landmarks = np.concatenate(self.landmarks) if self.landmarks else np.zeros((0, 4), np.float32)
        return Clip(
            images=np.stack(self.images),
            K=_resized(self.camera, self.size_wh).K,
            poses=np.stack(self.poses),
            runs=np.array(self.runs),
            landmarks=landmarks,
            truth=np.array(truth, np.float32).reshape(-1, *half),
        )


def _resized(camera: CameraModel, size_wh: tuple[int, int]) -> CameraModel:
    return CameraModel(size_wh, ResizeMap(camera.size_wh, size_wh).camera_matrix(camera.K))
