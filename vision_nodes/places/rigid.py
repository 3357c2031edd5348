"""Rigid transforms as (4, 4) float64 arrays, and their errors in ROS order (x y z, rotation about x y z).

A small error (dt, dθ) of ``T_a_b`` is expressed in frame a: t + dt and Exp(dθ) R, which is how ROS states
the covariance of a pose (translation and rotation about the fixed axes of the header's frame).
"""

from __future__ import annotations

import numpy as np


def inverse(T_a_b: np.ndarray) -> np.ndarray:
    """T_b_a of a (..., 4, 4) rigid transform."""
    T_b_a = np.zeros_like(T_a_b)
    R_b_a = np.swapaxes(T_a_b[..., :3, :3], -1, -2)
    T_b_a[..., :3, :3] = R_b_a
    T_b_a[..., :3, 3] = -(R_b_a @ T_a_b[..., :3, 3:])[..., 0]
    T_b_a[..., 3, 3] = 1.0
    return T_b_a


def skew(v: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3, 3) cross-product matrices."""
    v = np.asarray(v, dtype=np.float64)
    S = np.zeros((*v.shape, 3))
    S[..., 0, 1], S[..., 0, 2], S[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    S[..., 1, 0], S[..., 2, 0], S[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return S


def rotation_exp(theta: np.ndarray) -> np.ndarray:
    """(3,) rotation vector, rad -> (3, 3) rotation (Rodrigues)."""
    angle = float(np.linalg.norm(theta))
    S = skew(theta)
    if angle < 1e-8:
        return np.eye(3) + S + 0.5 * S @ S
    return np.eye(3) + np.sin(angle) / angle * S + (1 - np.cos(angle)) / angle**2 * S @ S


def rotation_log(R: np.ndarray) -> np.ndarray:
    """(3, 3) rotation -> (3,) rotation vector, rad, norm in [0, pi]."""
    # atan2 of the quaternion's parts stays accurate at 0 and at pi, where arccos of the trace does not.
    q_xyzw = quaternion(R)
    if q_xyzw[3] < 0:
        q_xyzw = -q_xyzw
    sine = float(np.linalg.norm(q_xyzw[:3]))
    if sine < 1e-12:
        return 2.0 * q_xyzw[:3]
    return q_xyzw[:3] * (2.0 * np.arctan2(sine, q_xyzw[3]) / sine)


def quaternion(R: np.ndarray) -> np.ndarray:
    """(3, 3) rotation -> (4,) unit quaternion xyzw (Shepperd: divides by the largest part)."""
    diagonal = np.diag(R)
    trace = diagonal.sum()
    parts = np.append(diagonal, trace)
    k = int(np.argmax(parts))
    if k == 3:
        q = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], 1.0 + trace])
    else:
        i, j, m = k, (k + 1) % 3, (k + 2) % 3
        q = np.zeros(4)
        q[i] = 1.0 + 2.0 * R[i, i] - trace
        q[j], q[m] = R[j, i] + R[i, j], R[m, i] + R[i, m]
        q[3] = R[m, j] - R[j, m]
    return q / np.linalg.norm(q)


def retract(T_a_b: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """`T_a_b` moved by the (6,) error (dt, dθ) in frame a."""
    T = T_a_b.copy()
    T[:3, :3] = rotation_exp(delta[3:]) @ T_a_b[:3, :3]
    T[:3, 3] += delta[:3]
    return T


def difference(T_a_b: np.ndarray, T_a_c: np.ndarray) -> np.ndarray:
    """(6,) error that `retract` needs to turn `T_a_b` into `T_a_c`, metres and radians in frame a."""
    rotation = rotation_log(T_a_c[:3, :3] @ T_a_b[:3, :3].T)
    return np.concatenate([T_a_c[:3, 3] - T_a_b[:3, 3], rotation])


def interpolate(T_a_b: np.ndarray, T_a_c: np.ndarray, fraction: float) -> np.ndarray:
    """The pose `fraction` of the way from b to c: straight line and constant-rate rotation."""
    return retract(T_a_b, fraction * difference(T_a_b, T_a_c))


def transform(T_a_b: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """(N, 3) points of frame b -> frame a."""
    return points_b @ T_a_b[:3, :3].T + T_a_b[:3, 3]


def angle_between(T_a_b: np.ndarray, T_a_c: np.ndarray) -> float:
    """Rotation between two poses, rad."""
    return float(np.linalg.norm(rotation_log(T_a_c[:3, :3] @ T_a_b[:3, :3].T)))


def orthonormalised(T_a_b: np.ndarray) -> np.ndarray:
    """The nearest rigid transform (SVD), so that long products cannot drift off the manifold."""
    U, _, Vt = np.linalg.svd(T_a_b[:3, :3])
    T = np.eye(4)
    T[:3, :3] = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    T[:3, 3] = T_a_b[:3, 3]
    return T
