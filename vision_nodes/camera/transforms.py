"""Rigid transforms as (4, 4) float64 matrices: `T_a_b` maps points of frame b into frame a."""

from __future__ import annotations

import math

import numpy as np


def make_transform(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(4, 4) float64 from a (3, 3) rotation and a (3,) translation, metres."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = np.asarray(t, dtype=np.float64).reshape(3)
    return T


def invert(T_a_b: np.ndarray) -> np.ndarray:
    """(4, 4) T_b_a of a rigid T_a_b."""
    R_b_a = np.asarray(T_a_b, dtype=np.float64)[:3, :3].T
    return make_transform(R_b_a, -R_b_a @ T_a_b[:3, 3])


def quat_xyzw_from_matrix(R: np.ndarray) -> np.ndarray:
    """(4,) unit quaternion x y z w, w >= 0, of a (3, 3) rotation or the rotation of a (4, 4) transform.

    Shepperd 1978: the largest component comes from the diagonal, the others from sums and differences
    across it, so that nothing small is divided by. The result is normalised.
    """
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = np.asarray(R)[:3, :3].tolist()
    trace = r00 + r11 + r22
    largest = max(trace, r00, r11, r22)
    if largest == trace:
        quat = (r21 - r12, r02 - r20, r10 - r01, 1 + trace)
    elif largest == r00:
        quat = (1 + r00 - r11 - r22, r01 + r10, r02 + r20, r21 - r12)
    elif largest == r11:
        quat = (r01 + r10, 1 + r11 - r00 - r22, r12 + r21, r02 - r20)
    else:
        quat = (r02 + r20, r12 + r21, 1 + r22 - r00 - r11, r10 - r01)
    norm = math.copysign(math.hypot(*quat), quat[3])
    return np.array(quat) / norm


def matrix_from_quat_xyzw(quat_xyzw: np.ndarray) -> np.ndarray:
    """(3, 3) float64 rotation of a quaternion x y z w, normalised first.

    Raises:
        ValueError: the quaternion is zero or not finite and so is no rotation.
    """
    quat = np.asarray(quat_xyzw, dtype=np.float64).reshape(4)
    norm = np.linalg.norm(quat)
    if not np.isfinite(norm) or norm < 1e-9:
        raise ValueError(f"expected a unit quaternion x y z w, received {quat.tolist()}")
    x, y, z, w = quat / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
