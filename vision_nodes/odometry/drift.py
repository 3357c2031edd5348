"""How uncertain a pose is in odom: drift from keyframe to keyframe, the frame's own noise, and the scale.

The state is (x y z, rotation about x y z, log scale), errors expressed in odom. A keyframe inherits the
covariance of the oldest keyframe that it still shares enough landmarks with, so that a revisited place
brings the old, smaller covariance back.
"""

from __future__ import annotations

import numpy as np

from vision_nodes.odometry.geometry import skew
from vision_nodes.odometry.local_map import Keyframe, LocalMap

MIN_SHARED = 0.2  # of the new keyframe's landmarks
# Fitted by maximum likelihood on every other of 26 rendered drives (indoor and street, forwards and backwards, three
# rates): ANEES/6 1.03 there, 1.28 on those left out (docs/odometry.md). The landmarks that carry a pose over a hop are
# uncertain themselves and their errors common to all points: a hop costs far more than its reprojection errors say.
HOP_REPROJECTION, FRAME_REPROJECTION = 12.0, 21.0
HOP_TRANSLATION = 0.0022  # of the typical depth (1 sigma)
HOP_ROTATION = 0.0001  # rad
HOP_SCALE = 0.0024  # relative


def propagate(covariance: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Covariance of a pose `displacement` (3,) further on, the motion itself taken as exact.

    A rotation error swings the displacement, a scale error stretches it.

    Args:
        covariance: (7, 7) of the pose left behind.
    """
    F = np.eye(7)
    F[:3, 3:6] = -skew(np.asarray(displacement, np.float64))
    F[:3, 6] = displacement
    return F @ covariance @ F.T


def in_odom(covariance_cam: np.ndarray, T_odom_cam: np.ndarray) -> np.ndarray:
    """(6, 6) of the left motion of T_cam_odom -> (6, 6) of T_odom_cam, errors in odom axes."""
    J = np.kron(np.eye(2), T_odom_cam[:3, :3])
    return np.asarray(J @ covariance_cam @ J.T)


def keyframe_covariance(
    local_map: LocalMap, keyframe: Keyframe, covariance_cam: np.ndarray, typical_depth: float
) -> np.ndarray:
    """(7, 7) covariance of a new keyframe from the oldest one it is tied to.

    Args:
        covariance_cam: (6, 6) of the left motion of T_cam_odom, from the reprojection errors.
        typical_depth: median depth of the landmarks in view, map units.
    """
    anchor = _anchor(local_map, keyframe)
    if anchor is None:
        return keyframe.covariance
    displacement = keyframe.T_odom_cam[:3, 3] - anchor.T_odom_cam[:3, 3]
    covariance = propagate(anchor.covariance, displacement)
    covariance[:6, :6] += HOP_REPROJECTION * in_odom(covariance_cam, keyframe.T_odom_cam)
    variances = [(HOP_TRANSLATION * typical_depth) ** 2] * 3 + [HOP_ROTATION**2] * 3 + [HOP_SCALE**2]
    return covariance + np.diag(variances)


def frame_covariance(
    keyframe: Keyframe, T_odom_cam: np.ndarray, covariance_cam: np.ndarray, scale_sigma: float
) -> np.ndarray:
    """(6, 6) covariance of T_odom_cam, ROS order, for a frame that follows `keyframe`.

    Args:
        scale_sigma: relative 1-sigma of a scale that is measured; 0 = lengths are in map units.
    """
    start = keyframe.covariance.copy()
    start[6, 6] = max(start[6, 6], scale_sigma**2)
    covariance = propagate(start, T_odom_cam[:3, 3] - keyframe.T_odom_cam[:3, 3])[:6, :6]
    covariance = covariance + FRAME_REPROJECTION * in_odom(covariance_cam, T_odom_cam)
    return 0.5 * (covariance + covariance.T)


def _anchor(local_map: LocalMap, keyframe: Keyframe) -> Keyframe | None:
    owners, rows, _ = local_map.observations()
    seen = np.zeros(len(local_map.ids), bool)
    seen[rows[owners == keyframe.id]] = True
    ids, shared = np.unique(owners[seen[rows] & (owners != keyframe.id)], return_counts=True)
    tied = ids[shared >= MIN_SHARED * max(int(seen.sum()), 1)]
    if len(tied):
        return local_map.keyframes[int(tied[0])]
    earlier = [k for k in local_map.keyframes.values() if k.id != keyframe.id]
    return earlier[-1] if earlier else None
