"""Rigid motions, pinhole projection and two-view triangulation, vectorised.

Poses are (4, 4) float64; `T_a_b` maps points of frame b into frame a. Small motions are (6,) vectors
(translation, rotation) applied on the left: ``exp_se3(xi) @ T`` (Solà et al. 2018, "A micro Lie theory").
"""

from __future__ import annotations

import numpy as np


def skew(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3, 3) matrices with ``skew(a) @ b == cross(a, b)``."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    zero = np.zeros_like(x)
    rows = [np.stack([zero, -z, y], -1), np.stack([z, zero, -x], -1), np.stack([-y, x, zero], -1)]
    return np.stack(rows, axis=-2)


def exp_so3(rotation: np.ndarray) -> np.ndarray:
    """(..., 3) rotation vectors, rad -> (..., 3, 3) rotation matrices (Rodrigues)."""
    rotation = np.asarray(rotation, dtype=np.float64)
    angle_squared = np.sum(rotation * rotation, axis=-1)[..., None, None]
    angle = np.sqrt(angle_squared)
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1.0 - angle_squared / 6, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle_squared / 24, (1 - np.cos(safe)) / (safe * safe))
    generator = skew(rotation)
    return np.eye(3) + a * generator + b * (generator @ generator)


def log_so3(R: np.ndarray) -> np.ndarray:
    """(3, 3) rotation matrix -> (3,) rotation vector, rad, norm in [0, pi]."""
    axis = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    sine, cosine = 0.5 * np.linalg.norm(axis), 0.5 * (np.trace(R) - 1)
    angle = np.arctan2(sine, cosine)
    if sine > 1e-7:
        return axis * (0.5 * angle / sine)
    if cosine > 0:
        return 0.5 * axis
    # At pi the axis is the eigenvector of R for the eigenvalue 1: a column of R + I.
    columns = R + np.eye(3)
    column = columns[:, int(np.argmax(np.linalg.norm(columns, axis=0)))]
    return angle * column / np.linalg.norm(column)


def exp_se3(xi: np.ndarray) -> np.ndarray:
    """(..., 6) translation and rotation -> (..., 4, 4); translation and rotation are not coupled."""
    xi = np.asarray(xi, dtype=np.float64)
    T = np.zeros((*xi.shape[:-1], 4, 4))
    T[..., :3, :3] = exp_so3(xi[..., 3:])
    T[..., :3, 3] = xi[..., :3]
    T[..., 3, 3] = 1.0
    return T


def log_se3(T: np.ndarray) -> np.ndarray:
    """(4, 4) -> (6,) translation and rotation vector, the inverse of `exp_se3`."""
    return np.concatenate([T[:3, 3], log_so3(T[:3, :3])])


def make_pose(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(3, 3) rotation and (3,) translation -> (4, 4)."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, np.asarray(t).reshape(3)
    return T


def invert(T: np.ndarray) -> np.ndarray:
    """(..., 4, 4) rigid motions -> their inverses."""
    R_inverse = np.swapaxes(T[..., :3, :3], -1, -2)
    inverse = np.zeros_like(T)
    inverse[..., :3, :3] = R_inverse
    inverse[..., :3, 3] = -(R_inverse @ T[..., :3, 3, None])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse


def orthonormalise(T: np.ndarray) -> np.ndarray:
    """(4, 4) nearly rigid -> the nearest rigid motion, so that products do not drift from SO(3)."""
    U, _, Vt = np.linalg.svd(T[:3, :3])
    R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    return make_pose(R, T[:3, 3])


def transform(T: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(4, 4) and (N, 3) -> (N, 3)."""
    return points @ T[:3, :3].T + T[:3, 3]


def bearings(xy: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N, 2) px -> (N, 3) float64 rays with z = 1."""
    xy = np.asarray(xy, dtype=np.float64)
    rays = np.ones((len(xy), 3))
    rays[:, 0] = (xy[:, 0] - K[0, 2]) / K[0, 0]
    rays[:, 1] = (xy[:, 1] - K[1, 2]) / K[1, 1]
    return rays


def project(K: np.ndarray, points_cam: np.ndarray) -> np.ndarray:
    """(N, 3) points in the camera frame -> (N, 2) px; depth is floored at 1e-9 to stay finite."""
    z = np.maximum(points_cam[:, 2], 1e-9)
    return np.stack(
        [K[0, 0] * points_cam[:, 0] / z + K[0, 2], K[1, 1] * points_cam[:, 1] / z + K[1, 2]], axis=1
    )


def projection_jacobians(K: np.ndarray, points_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the pixel by the point in the camera frame and by a left motion of the pose.

    Args:
        K: (3, 3) px.
        points_cam: (N, 3) with positive depth.

    Returns:
        (N, 2, 3) px per length, and (N, 2, 6) px per (translation, rotation) of ``exp_se3(xi) @ T_cam_odom``.
    """
    x, y = points_cam[:, 0], points_cam[:, 1]
    iz = 1.0 / np.maximum(points_cam[:, 2], 1e-9)
    u, v = x * iz, y * iz
    fx, fy = K[0, 0], K[1, 1]
    J_point = np.zeros((len(x), 2, 3))
    J_point[:, 0, 0], J_point[:, 0, 2] = fx * iz, -fx * u * iz
    J_point[:, 1, 1], J_point[:, 1, 2] = fy * iz, -fy * v * iz
    J_pose = np.empty((len(x), 2, 6))
    J_pose[:, :, :3] = J_point
    J_pose[:, 0, 3], J_pose[:, 0, 4], J_pose[:, 0, 5] = -fx * u * v, fx * (1 + u * u), -fx * v
    J_pose[:, 1, 3], J_pose[:, 1, 4], J_pose[:, 1, 5] = -fy * (1 + v * v), fy * u * v, fy * u
    return J_point, J_pose


def triangulate(T_b_a: np.ndarray, rays_a: np.ndarray, rays_b: np.ndarray) -> np.ndarray:
    """Intersect rays of two views (least squares along both rays; Hartley & Sturm's midpoint in depth form).

    Args:
        T_b_a: (4, 4) or (N, 4, 4), one relative pose per ray.
        rays_a, rays_b: (N, 3) with z = 1.

    Returns:
        (N, 2) depths along z in view a and view b; NaN where the rays are parallel.
    """
    R, t = T_b_a[..., :3, :3], T_b_a[..., :3, 3]
    turned = (R @ rays_a[..., None])[..., 0]
    # depth_b * rays_b = depth_a * turned + t, two unknowns, three equations
    aa, ab, bb = (turned * turned).sum(-1), (turned * rays_b).sum(-1), (rays_b * rays_b).sum(-1)
    at, bt = (turned * t).sum(-1), (rays_b * t).sum(-1)
    determinant = aa * bb - ab * ab
    safe = np.where(determinant > 1e-12 * aa * bb, determinant, np.nan)
    return np.stack([(ab * bt - bb * at) / safe, (aa * bt - ab * at) / safe], axis=-1)
