"""Odometry, transforms, loop closures and the pose graph as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import (
    Point,
    PoseStamped,
    PoseWithCovariance,
    PoseWithCovarianceStamped,
    Transform,
    TransformStamped,
    Twist,
    TwistWithCovariance,
    Vector3,
)
from nav_msgs.msg import Odometry, Path
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from vision_nodes.camera.covariance import covariance_of_attached_frame, rotated_covariance
from vision_nodes.camera.transforms import invert
from vision_nodes.datatypes import LoopClosure, OdometryEstimate, TrackingState
from vision_nodes.messages.names import ODOMETRY_STATUS_NAME, keyframe_frame
from vision_nodes.messages.to_ros.header import (
    StampedFrame,
    header_to_ros,
    point_to_ros,
    pose_to_ros,
    quaternion_to_ros,
)

UNKNOWN_VARIANCE = 1e9  # says "not measured" to a filter without the NaN that would poison it

_LEVELS = {
    TrackingState.INITIALISING: DiagnosticStatus.WARN,
    TrackingState.TRACKING: DiagnosticStatus.OK,
    TrackingState.DEGRADED: DiagnosticStatus.WARN,
    TrackingState.LOST: DiagnosticStatus.ERROR,
}


def odometry_to_ros(
    T_odom_base: np.ndarray,
    covariance: np.ndarray,
    header: StampedFrame,
    child_frame_id: str,
    twist: np.ndarray | None = None,
) -> Odometry:
    """nav_msgs/Odometry of the child frame in header's frame.

    Args:
        T_odom_base: (4, 4) pose of the child frame, metres.
        covariance: (6, 6) of x y z and rotation about x y z, in header's frame.
        header: the image's stamp and the odometry frame.
        child_frame_id: the moving frame.
        twist: (6,) linear m/s and angular rad/s in the child frame, or None: zero with
            `UNKNOWN_VARIANCE`, since the message has no other way to say that it is not measured.
    """
    variance = UNKNOWN_VARIANCE if twist is None else 0.0
    values = np.zeros(6) if twist is None else np.asarray(twist, dtype=np.float64)
    return Odometry(
        header=header_to_ros(header),
        child_frame_id=child_frame_id,
        pose=_pose_with_covariance(T_odom_base, covariance),
        twist=TwistWithCovariance(
            twist=Twist(linear=_vector_to_ros(values[:3]), angular=_vector_to_ros(values[3:])),
            covariance=(variance * np.eye(6)).ravel(),
        ),
    )


def odometry_state_to_ros(estimate: OdometryEstimate, frame_id: str = "") -> DiagnosticArray:
    """The state of odometry for one frame, also when lost; the header is the image's."""
    values = {
        "scale_state": estimate.scale_state.value,
        "scale_sigma": repr(float(estimate.scale_sigma)),
        "inliers": str(int(estimate.inliers)),
        "tracked": str(int(estimate.tracked)),
        "keyframe": "true" if estimate.is_keyframe else "false",
        "reason": estimate.message,
    }
    status = DiagnosticStatus(
        level=_LEVELS[estimate.state],
        name=ODOMETRY_STATUS_NAME,
        message=estimate.state.value,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=header_to_ros((estimate.stamp_ns, frame_id)), status=[status])


def transform_to_ros(T_a_b: np.ndarray, header: StampedFrame, child_frame_id: str) -> TransformStamped:
    """TransformStamped of a (4, 4) T_a_b in metres: a is header's frame, b the child frame."""
    return TransformStamped(
        header=header_to_ros(header),
        child_frame_id=child_frame_id,
        transform=Transform(
            translation=_vector_to_ros(T_a_b[:3, 3]), rotation=quaternion_to_ros(T_a_b[:3, :3])
        ),
    )


def pose_stamped_to_ros(T_a_b: np.ndarray, header: StampedFrame) -> PoseStamped:
    """PoseStamped of b in header's frame."""
    return PoseStamped(header=header_to_ros(header), pose=pose_to_ros(T_a_b))


def path_to_ros(poses: Sequence[tuple[int, np.ndarray]], header: StampedFrame) -> Path:
    """nav_msgs/Path of (stamp_ns, (4, 4) pose in header's frame) in order of time.

    A path is published again and again with a few new poses at its end, so the messages of known
    poses are kept and shared between paths: do not change them.
    """
    stamped = [
        _kept_pose(stamp, header[1], np.ascontiguousarray(T, np.float64).tobytes()) for stamp, T in poses
    ]
    return Path(header=header_to_ros(header), poses=stamped)


@lru_cache(maxsize=4096)
def _kept_pose(stamp_ns: int, frame_id: str, T: bytes) -> PoseStamped:
    return pose_stamped_to_ros(np.frombuffer(T).reshape(4, 4), (stamp_ns, frame_id))


def pose_with_covariance_to_ros(
    T_a_b: np.ndarray, covariance: np.ndarray, header: StampedFrame
) -> PoseWithCovarianceStamped:
    """PoseWithCovarianceStamped of b in header's frame; (6, 6) covariance in the same frame."""
    return PoseWithCovarianceStamped(
        header=header_to_ros(header), pose=_pose_with_covariance(T_a_b, covariance)
    )


def loop_closure_to_ros(
    closure: LoopClosure, stamp_ns: int, T_base_cam: np.ndarray | None = None
) -> PoseWithCovarianceStamped:
    """T_matched_query in frame `keyframe_<matched id>`, stamped with the query keyframe's image.

    With `T_base_cam` both keyframes are those of the base frame, else those of the camera.
    """
    T, covariance = closure.T_matched_query, closure.covariance
    if T_base_cam is not None:
        T_cam_base = invert(T_base_cam)
        covariance = covariance_of_attached_frame(covariance, T, T_cam_base)
        covariance = rotated_covariance(covariance, T_base_cam[:3, :3])
        T = T_base_cam @ T @ T_cam_base
    return pose_with_covariance_to_ros(T, covariance, (stamp_ns, keyframe_frame(closure.matched_id)))


def pose_graph_to_ros(
    poses: Mapping[int, np.ndarray], edges: Sequence[tuple[int, int, bool]], header: StampedFrame
) -> MarkerArray:
    """Markers of the pose graph: keyframes, odometry edges, loop edges.

    Args:
        poses: keyframe id -> (4, 4) pose in header's frame, metres.
        edges: (from id, to id, is a loop closure).
        header: stamp and map frame.
    """
    points = {key: point_to_ros(T[:3, 3]) for key, T in poses.items()}
    nodes = list(points.values())
    lines: tuple[list[Point], list[Point]] = ([], [])
    for start, end, is_loop in edges:
        lines[bool(is_loop)].extend((points[start], points[end]))
    return MarkerArray(
        markers=[
            _marker("keyframes", Marker.SPHERE_LIST, nodes, (0.1, 0.6, 1.0), header),
            _marker("odometry", Marker.LINE_LIST, lines[0], (0.7, 0.7, 0.7), header),
            _marker("loop_closures", Marker.LINE_LIST, lines[1], (1.0, 0.3, 0.1), header),
        ]
    )


def _marker(
    namespace: str, kind: int, points: list[Point], rgb: tuple[float, float, float], header: StampedFrame
) -> Marker:
    width_m = 0.08 if kind == Marker.SPHERE_LIST else 0.03
    marker = Marker(
        header=header_to_ros(header),
        ns=namespace,
        id=0,
        type=kind,
        action=Marker.ADD if points else Marker.DELETE,  # RViz warns about a list without points
        scale=Vector3(x=width_m, y=width_m, z=width_m),
        color=ColorRGBA(r=rgb[0], g=rgb[1], b=rgb[2], a=1.0),
        points=points,
    )
    marker.pose.orientation.w = 1.0
    return marker


def _pose_with_covariance(T_a_b: np.ndarray, covariance: np.ndarray) -> PoseWithCovariance:
    return PoseWithCovariance(
        pose=pose_to_ros(T_a_b), covariance=np.ascontiguousarray(covariance, dtype=np.float64).ravel()
    )


def _vector_to_ros(xyz: np.ndarray) -> Vector3:
    x, y, z = (float(value) for value in xyz)
    return Vector3(x=x, y=y, z=z)
