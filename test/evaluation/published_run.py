"""A results bag written message by message: truth of all five tasks, and answers with errors that are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision_nodes.bags.from_labelled import _SetMessages
from vision_nodes.bags.writer import BagWriter
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import quat_xyzw_from_matrix

WIDTH, HEIGHT, PERIOD_NS, START_NS = 64, 48, 100_000_000, 5_000_000_000
CAMERA = CameraModel((WIDTH, HEIGHT), np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]]))
LABELS = ["road", "wall", "sky"]
REVISIT = 10  # frame i + 10 sees again what frame i saw


@dataclass(frozen=True)
class Errors:
    """What is wrong with the published answers."""

    box_shift_px: float = 0.0
    lost_boxes: int = 0  # of every third frame, so many are missing
    wrong_columns: int = 0  # columns of the mask with the wrong class
    depth_factor: float = 1.0
    position_noise_m: float = 0.0
    scale: float = 1.0
    live: bool = False


class RunMessages(_SetMessages):
    """Message objects of results and truth."""

    def labels_of(self, stamp: int) -> Any:
        return self.labels(stamp, [{"id": i, "name": name} for i, name in enumerate(LABELS)])

    def new(self, kind: str, /, **fields: Any) -> Any:
        package, kind = kind.split("/")
        return self.types[f"{package}/msg/{kind}"](**fields)

    def detections(self, stamp: int, rows: list[tuple[list[float], str, float, str]]) -> Any:
        """Rows: box xyxy, class, score, id."""
        made = []
        for (x0, y0, x1, y1), name, score, ident in rows:
            box = {"bbox": [x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0], "category_id": 0}
            one = self._box(self.header(stamp, "camera_optical_frame"), box, name)
            one.results[0].hypothesis.score = score
            one.id = ident
            made.append(one)
        header = self.header(stamp, "camera_optical_frame")
        return self.new("vision_msgs/Detection2DArray", header=header, detections=made)

    def pose(self, T: np.ndarray) -> Any:
        x, y, z = (float(v) for v in T[:3, 3])
        return self.new(
            "geometry_msgs/Pose",
            position=self.new("geometry_msgs/Point", x=x, y=y, z=z),
            orientation=self._quaternion([float(v) for v in quat_xyzw_from_matrix(T)]),
        )

    def pose_stamped(self, stamp: int, T: np.ndarray) -> Any:
        return self.new("geometry_msgs/PoseStamped", header=self.header(stamp, "world"), pose=self.pose(T))

    def odometry(self, stamp: int, T: np.ndarray, variance: float) -> Any:
        covariance = (variance * np.eye(6)).ravel()
        zero = self.new("geometry_msgs/Vector3", x=0.0, y=0.0, z=0.0)
        return self.new(
            "nav_msgs/Odometry",
            header=self.header(stamp, "odom"),
            child_frame_id="base_link",
            pose=self.new("geometry_msgs/PoseWithCovariance", pose=self.pose(T), covariance=covariance),
            twist=self.new(
                "geometry_msgs/TwistWithCovariance",
                twist=self.new("geometry_msgs/Twist", linear=zero, angular=zero),
                covariance=np.zeros(36),
            ),
        )

    def state(self, stamp: int, state: str) -> Any:
        values = {
            "scale_state": "from_depth",
            "scale_sigma": "0.1",
            "inliers": "9",
            "tracked": "9",
            "keyframe": "false",
            "reason": "",
        }
        pairs = [self.new("diagnostic_msgs/KeyValue", key=k, value=v) for k, v in values.items()]
        status = self.new(
            "diagnostic_msgs/DiagnosticStatus",
            level=0,
            name="odometry",
            message=state,
            hardware_id="",
            values=pairs,
        )
        return self.new("diagnostic_msgs/DiagnosticArray", header=self.header(stamp, ""), status=[status])

    def classification(self, stamp: int, frame_id: str, results: list[tuple[str, float]]) -> Any:
        hypotheses = [self.new("vision_msgs/ObjectHypothesis", class_id=c, score=s) for c, s in results]
        return self.new("vision_msgs/Classification", header=self.header(stamp, frame_id), results=hypotheses)

    def closure(self, stamp: int, matched: int, T: np.ndarray) -> Any:
        pose = self.new("geometry_msgs/PoseWithCovariance", pose=self.pose(T), covariance=np.eye(6).ravel())
        header = self.header(stamp, f"keyframe_{matched}")
        return self.new("geometry_msgs/PoseWithCovarianceStamped", header=header, pose=pose)


def stamp_of(i: int) -> int:
    return START_NS + i * PERIOD_NS


def true_pose(i: int) -> np.ndarray:
    """T_world_cam on a circle that closes after `REVISIT` frames."""
    T, angle = np.eye(4), 2 * np.pi * i / REVISIT
    T[:3, 3] = [2 * np.cos(angle), 2 * np.sin(angle), 0.02 * i]
    return T


def true_boxes(i: int) -> list[tuple[list[float], str, float, str]]:
    return [
        ([4 + i % 5, 6, 24 + i % 5, 30], "person", 1.0, "model_1"),
        ([34, 10, 58, 40], "car", 0.9, "model_2"),
        ([0, 0, 8, 8], "car", 0.1, "model_3"),  # a tenth visible: not asked for
    ]


def write_run(path: Path, frames: int = 20, errors: Errors | None = None, *, truth: bool = True) -> Path:
    """Images, answers and (by default) truth; answers come 30 ms after their image when live."""
    errors = errors or Errors()
    rng, make = np.random.default_rng(0), RunMessages()
    with BagWriter(path) as writer:
        writer.write_object("/tf_static", make.static_transform(START_NS), START_NS)
        for topic in ("/segmentation/label_info", "/ground_truth/label_info"):
            writer.write_object(topic, make.labels_of(START_NS), START_NS)
        for i in range(frames):
            later = stamp_of(i) + (30_000_000 if errors.live else 0)
            for topic, message in inputs_and_truth(make, i, rng, truth=truth):
                writer.write_object(topic, message, stamp_of(i))
            for topic, message in answers(make, i, rng, errors):
                writer.write_object(topic, message, later)
        values = {"model.detection": "toy fp32 onnxruntime-cpu 00", "frames": str(frames)}
        writer.add_metadata("vision_nodes", values | ({"mode": "live"} if errors.live else {}))
    return path


def inputs_and_truth(make: Any, i: int, rng: np.random.Generator, *, truth: bool) -> list[tuple[str, Any]]:
    stamp = stamp_of(i)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8), (0, 0), 3)
    messages = [
        ("/image_raw", make.image(stamp, "camera_optical_frame", picture)),
        ("/camera_info", make.camera_info(stamp, CAMERA)),
    ]
    if not truth:
        return messages
    if i >= REVISIT:
        loops = make.classification(stamp, "camera_optical_frame", [(str(stamp_of(i - REVISIT)), 0.9)])
        messages.append(("/ground_truth/loops", loops))
    return [
        *messages,
        ("/ground_truth/detections", make.detections(stamp, true_boxes(i))),
        ("/ground_truth/segmentation", make.image(stamp, "camera_optical_frame", true_mask())),
        ("/ground_truth/depth", make.image(stamp, "camera_optical_frame", true_depth_mm())),
        ("/ground_truth/pose", make.pose_stamped(stamp, true_pose(i))),
    ]


def true_mask() -> np.ndarray:
    mask = np.repeat([2, 1, 0], HEIGHT // 3).astype(np.uint8)
    return np.ascontiguousarray(np.tile(mask[:, None], (1, WIDTH)))


def true_depth_mm() -> np.ndarray:
    return np.tile(np.linspace(1000, 6000, WIDTH).astype(np.uint16), (HEIGHT, 1))


def answers(make: Any, i: int, rng: np.random.Generator, errors: Errors) -> list[tuple[str, Any]]:
    stamp, frame = stamp_of(i), "camera_optical_frame"
    shown = true_boxes(i)[:2]
    kept = shown[errors.lost_boxes :] if i % 3 == 0 else shown
    boxes = [
        ([v + errors.box_shift_px for v in box], name, 0.6 + 0.1 * n, str(n + 1))
        for n, (box, name, _, _) in enumerate(kept)
    ]
    mask = true_mask()
    mask[:, : errors.wrong_columns] = 1
    depth = (true_depth_mm() * errors.depth_factor).astype(np.uint16)
    T = true_pose(i)
    T[:3, 3] = errors.scale * (T[:3, 3] + rng.normal(0, 1, 3) * errors.position_noise_m)
    T_base_cam = np.eye(4)
    T_base_cam[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    messages = [
        ("/detections", make.detections(stamp, boxes)),
        ("/segmentation/mask", make.image(stamp, frame, mask)),
        ("/depth/image", make.image(stamp, frame, depth)),
        ("/depth/camera_info", make.camera_info(stamp, CAMERA)),
        (
            "/odometry",
            make.odometry(stamp, T @ np.linalg.inv(T_base_cam), max(errors.position_noise_m, 1e-3) ** 2),
        ),
        ("/odometry/state", make.state(stamp, "tracking")),
        ("/place_matches", make.classification(stamp, f"keyframe_{i}", _matches(i))),
    ]
    if i >= REVISIT:
        true = np.linalg.inv(true_pose(i - REVISIT)) @ true_pose(i)
        messages.append(
            ("/loop_closures", make.closure(stamp, i - REVISIT, T_base_cam @ true @ T_base_cam.T))
        )
    return messages


def _matches(i: int) -> list[tuple[str, float]]:
    if i == REVISIT:
        return [("3", 0.7), ("0", 0.6)]  # the right one comes second
    return [(str(i - REVISIT), 0.95 - 0.01 * (i - REVISIT))] if i > REVISIT else []
