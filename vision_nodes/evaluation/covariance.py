"""Whether a published pose covariance is as large as the errors (Bar-Shalom's NEES)."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from vision_nodes.evaluation.odometry import anees

MAX_CONDITION = 1e12  # beyond this a covariance says nothing about some direction


def pose_anees(estimate: np.ndarray, truth: np.ndarray, covariances: np.ndarray) -> dict[str, float | None]:
    """ANEES of poses whose first is taken as exact, as odometry's own frame begins there.

    Args:
        estimate, truth: (N, 4, 4) poses of the same body, the same unit of length.
        covariances: (N, 6, 6) x y z and rotation about x y z in the estimate's fixed frame (ROS order).

    Returns:
        ``anees``, ``anees_position``, ``anees_rotation``: 1 is calibrated, above is overconfident. None when
        no covariance can be inverted.
    """
    T_odom_world = estimate[0] @ np.linalg.inv(truth[0])
    expected = T_odom_world @ truth
    position = estimate[:, :3, 3] - expected[:, :3, 3]
    turned = estimate[:, :3, :3] @ np.swapaxes(expected[:, :3, :3], 1, 2)
    errors = np.concatenate([position, Rotation.from_matrix(turned).as_rotvec()], axis=1)
    usable = np.array([np.isfinite(C).all() and np.linalg.cond(C) < MAX_CONDITION for C in covariances])
    usable[0] = False  # its error is zero by construction
    if not usable.any():
        return {"anees": None, "anees_position": None, "anees_rotation": None}
    e, C = errors[usable], covariances[usable]
    return {
        "anees": anees(e, C),
        "anees_position": anees(e[:, :3], C[:, :3, :3]),
        "anees_rotation": anees(e[:, 3:], C[:, 3:, 3:]),
    }
