"""Headers and elementary geometry of outgoing messages."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion
from std_msgs.msg import Header

from vision_nodes.camera.transforms import quat_xyzw_from_matrix

StampedFrame = tuple[int, str]  # (stamp in nanoseconds, frame_id) of the image a result belongs to


def time_to_ros(stamp_ns: int) -> Time:
    """builtin_interfaces/Time of a stamp in nanoseconds."""
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def header_to_ros(header: StampedFrame) -> Header:
    """std_msgs/Header of (stamp_ns, frame_id)."""
    return Header(stamp=time_to_ros(header[0]), frame_id=header[1])


def point_to_ros(xyz: np.ndarray) -> Point:
    """geometry_msgs/Point of (3,) metres."""
    x, y, z = (float(value) for value in xyz)
    return Point(x=x, y=y, z=z)


def quaternion_to_ros(R: np.ndarray) -> Quaternion:
    """geometry_msgs/Quaternion of a (3, 3) rotation."""
    x, y, z, w = quat_xyzw_from_matrix(R).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def pose_to_ros(T_a_b: np.ndarray) -> Pose:
    """geometry_msgs/Pose of b in a, from a (4, 4) transform in metres."""
    return Pose(position=point_to_ros(T_a_b[:3, 3]), orientation=quaternion_to_ros(T_a_b[:3, :3]))
