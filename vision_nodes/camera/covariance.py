"""Moving a pose covariance from one rigidly attached frame to another."""

from __future__ import annotations

import numpy as np


def covariance_of_attached_frame(
    covariance: np.ndarray, T_odom_cam: np.ndarray, T_cam_base: np.ndarray
) -> np.ndarray:
    """Covariance of T_odom_base from that of T_odom_cam.

    Args:
        covariance: (6, 6), ROS order (x y z, rotation about x y z), errors expressed in odom: the true
            pose is ``Exp(rotation error) R`` and ``t + translation error``.
        T_odom_cam: (4, 4) pose the covariance belongs to.
        T_cam_base: (4, 4) base in the camera frame.

    Returns:
        (6, 6) float64, same order and frame. A rotation error swings the lever arm between both.
    """
    x, y, z = T_odom_cam[:3, :3] @ T_cam_base[:3, 3]
    J = np.eye(6)
    J[:3, 3:] = -np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(J @ covariance @ J.T)


def rotated_covariance(covariance: np.ndarray, R_a_b: np.ndarray) -> np.ndarray:
    """(6, 6) covariance expressed in frame b -> the same expressed in frame a."""
    J = np.kron(np.eye(2), R_a_b)
    return np.asarray(J @ covariance @ J.T)
