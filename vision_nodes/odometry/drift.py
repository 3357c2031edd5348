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
# Guessed, not calibrated yet (ANEES on real sequences is far above 1): the landmarks that carry a pose over
# are themselves uncertain and their errors common to all points, so that one hop costs more than the
# reprojection covariance says.
HOP_INFLATION = 4.0
FRAME_INFLATION = 4.0
SCALE_PER_HOP = 0.004  # relative scale drift (1 sigma) of one hop


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


def keyframe_covariance(local_map: LocalMap, keyframe: Keyframe, covariance_cam: np.ndarray) -> np.ndarray:
    """(7, 7) covariance of a new keyframe from the oldest one it is tied to."""
    anchor = _anchor(local_map, keyframe)
    if anchor is None:
        return keyframe.covariance
    displacement = keyframe.T_odom_cam[:3, 3] - anchor.T_odom_cam[:3, 3]
    covariance = propagate(anchor.covariance, displacement)
    covariance[:6, :6] += HOP_INFLATION * in_odom(covariance_cam, keyframe.T_odom_cam)
    covariance[6, 6] += SCALE_PER_HOP**2
    return covariance


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
    covariance = covariance + FRAME_INFLATION * in_odom(covariance_cam, T_odom_cam)
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
