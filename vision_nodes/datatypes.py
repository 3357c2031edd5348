"""Results and frames as frozen dataclasses that check themselves on construction.

Conventions (REP 103/105/118, docs of each class): images are (H, W, 3) uint8 RGB; the centre of the
top-left pixel is (0, 0); stamps are `int` nanoseconds; ``T_a_b`` maps points of frame b into frame a.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_array(array: np.ndarray, name: str, shape: tuple[int | None, ...], dtype: type) -> None:
    matches = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape)
    )
    _check(
        matches and array.dtype == dtype,
        f"{name}: expected shape {shape} {np.dtype(dtype)}, received {array.shape} {array.dtype}",
    )


@dataclass(frozen=True)
class Detections:
    """N boxes in one image's pixels, best score first.

    The pixels are those of the image the producer names: network pixels inside `tasks`, source
    pixels in everything published.
    """

    boxes_xyxy: np.ndarray  # (N, 4) float32, px, left top right bottom
    scores: np.ndarray  # (N,) float32 in [0, 1]
    class_ids: np.ndarray  # (N,) int64, index into the model's class names
    track_ids: np.ndarray | None = None  # (N,) int64, -1 = not tracked yet

    def __post_init__(self) -> None:
        n = len(self.scores)
        _check_array(self.boxes_xyxy, "boxes_xyxy", (n, 4), np.float32)
        _check_array(self.scores, "scores", (n,), np.float32)
        _check_array(self.class_ids, "class_ids", (n,), np.int64)
        if self.track_ids is not None:
            _check_array(self.track_ids, "track_ids", (n,), np.int64)
        _check(
            bool(np.isfinite(self.boxes_xyxy).all())
            and bool(((self.scores >= 0) & (self.scores <= 1)).all()),
            "detections: expected finite boxes and scores in [0, 1]",
        )

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> Detections:
        """Those with at least this score, in the same order."""
        return self.select(self.scores >= threshold)

    def select(self, which: np.ndarray) -> Detections:
        """Those picked by a boolean mask or an index array."""
        tracks = None if self.track_ids is None else self.track_ids[which]
        return Detections(self.boxes_xyxy[which], self.scores[which], self.class_ids[which], tracks)

    def with_boxes(self, boxes_xyxy: np.ndarray) -> Detections:
        """The same objects with boxes in another image's pixels."""
        return Detections(boxes_xyxy, self.scores, self.class_ids, self.track_ids)

    @classmethod
    def empty(cls) -> Detections:
        """No detections: a result too."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Segmentation:
    """Class id per pixel at network resolution; 255 = unlabelled."""

    labels: np.ndarray  # (H, W) uint8
    confidence: np.ndarray | None = None  # (H, W) float32 in [0, 1]

    def __post_init__(self) -> None:
        _check_array(self.labels, "labels", (None, None), np.uint8)
        if self.confidence is not None:
            _check_array(self.confidence, "confidence", self.labels.shape, np.float32)


@dataclass(frozen=True)
class DepthMap:
    """Depth along the optical axis, at network resolution; NaN = invalid (REP 118).

    `metric` is False when the camera is uncalibrated (K = 0): values are then relative, never metres.
    """

    depth_m: np.ndarray  # (H, W) float32, metres along z when metric
    metric: bool
    confidence: np.ndarray | None = None  # (H, W) float32 in [0, 1]

    def __post_init__(self) -> None:
        _check_array(self.depth_m, "depth_m", (None, None), np.float32)
        if self.confidence is not None:
            _check_array(self.confidence, "confidence", self.depth_m.shape, np.float32)


@dataclass(frozen=True)
class Features:
    """N local features in the frame's image pixels."""

    keypoints_xy: np.ndarray  # (N, 2) float32 px
    scores: np.ndarray  # (N,) float32
    descriptors: np.ndarray  # (N, D) float32 unit norm, or (N, B) uint8 binary

    def __post_init__(self) -> None:
        n = len(self.scores)
        _check_array(self.keypoints_xy, "keypoints_xy", (n, 2), np.float32)
        _check_array(self.scores, "scores", (n,), np.float32)
        _check(
            self.descriptors.ndim == 2 and len(self.descriptors) == n,
            f"descriptors: expected ({n}, D), received {self.descriptors.shape}",
        )


class TrackingState(str, Enum):
    """Odometry state, published for every frame."""

    INITIALISING = "initialising"
    TRACKING = "tracking"
    DEGRADED = "degraded"
    LOST = "lost"


class ScaleState(str, Enum):
    """Where the metric scale of monocular odometry comes from."""

    UNSCALED = "unscaled"
    FROM_DEPTH = "from_depth"
    FROM_ODOMETRY = "from_odometry"
    FROM_HEIGHT = "from_height"


@dataclass(frozen=True)
class OdometryEstimate:
    """Camera pose for one frame, or the honest absence of one.

    `T_odom_cam` is None unless the state is tracking or degraded. The covariance is that of
    `T_odom_cam` in ROS order (x y z, rotation about x y z) expressed in the odom frame, metres and
    radians; it includes the scale's uncertainty. Until the scale is known (`unscaled`) lengths are in
    units of the map's first baseline.
    """

    stamp_ns: int
    state: TrackingState
    T_odom_cam: np.ndarray | None  # (4, 4) float64
    covariance: np.ndarray | None  # (6, 6) float64
    scale_state: ScaleState = ScaleState.UNSCALED
    scale_sigma: float = float("nan")  # relative 1-sigma of the scale
    inliers: int = 0
    tracked: int = 0
    is_keyframe: bool = False
    message: str = ""  # why, when not tracking

    def __post_init__(self) -> None:
        has_pose = self.T_odom_cam is not None
        _check(
            has_pose == (self.state in (TrackingState.TRACKING, TrackingState.DEGRADED)),
            f"a pose goes with tracking or degraded only, received state {self.state.value}, "
            f"pose {'present' if has_pose else 'absent'}",
        )
        if self.T_odom_cam is not None and self.covariance is not None:
            _check_array(self.T_odom_cam, "T_odom_cam", (4, 4), np.float64)
            _check_array(self.covariance, "covariance", (6, 6), np.float64)
            _check(
                bool(np.isfinite(self.T_odom_cam).all() and np.isfinite(self.covariance).all()),
                "pose and covariance: expected finite values",
            )
        else:
            _check(not has_pose, "a pose needs its covariance")


@dataclass(frozen=True)
class LoopClosure:
    """A geometrically verified revisit: the query keyframe seen from the matched one."""

    query_id: int
    matched_id: int
    T_matched_query: np.ndarray  # (4, 4) float64, camera to camera, metres (odometry's scale)
    covariance: np.ndarray  # (6, 6) float64, ROS order, in the matched camera's frame
    inliers: int
    score: float
    # Monocular odometry's unit drifts: log(matched's unit lengths of one thing / query's), and its 1-sigma.
    log_scale: float = 0.0
    log_scale_sigma: float = float("inf")  # not measured


@dataclass(frozen=True)
class PlaceResult:
    """What place recognition says about one keyframe: ranked candidates, and what was verified."""

    stamp_ns: int
    keyframe_id: int
    candidate_ids: tuple[int, ...] = ()
    candidate_scores: tuple[float, ...] = ()  # cosine similarity, best first
    closure: LoopClosure | None = None
    extra: dict[str, float] = field(default_factory=dict)
