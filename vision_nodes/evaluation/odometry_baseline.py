"""A plain and fair visual odometry out of OpenCV's own parts, to compare ours with in the same run.

Corners followed by pyramidal Lucas-Kanade with a forward-backward check; essential matrix by MAGSAC++ and its pose,
between keyframes 30 px of parallax apart; no map, no optimisation. Lengths it cannot know: it is given the true ones.
`recoverPose` needs its distance threshold by keyword: the default of 50 baselines throws most of the scene away at
video rate and then picks the twisted pose.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from vision_nodes.evaluation.odometry import Trajectories, ate, path_length
from vision_nodes.evaluation.odometry_inputs import OdometryInput

MAX_CORNERS = 800
MIN_CORNERS = 200
FORWARD_BACKWARD_PX = 1.0
KEYFRAME_PARALLAX_PX = 30.0
EPIPOLAR_PX = 1.0
LK = {"winSize": (21, 21), "maxLevel": 3}


def baseline_figures(source: OdometryInput) -> dict[str, float]:
    """ATE after Sim3 (m, and percent of the path) of the baseline's keyframes; empty without enough truth."""
    trajectories = run_baseline(source)
    if len(trajectories.stamps_ns) < 3:
        return {}
    error = ate(trajectories, with_scale=True)[0]
    truth = np.array([source.truth[f.stamp_ns] for f in source.frames if f.stamp_ns in source.truth])
    length = path_length(truth)
    return {"baseline_ate_sim3_m": error, "baseline_ate_sim3_percent": 100 * error / max(length, 1e-9)}


def run_baseline(source: OdometryInput) -> Trajectories:
    """Keyframe poses (camera in the first camera's frame) beside the truth; frames without truth are left out."""
    frames = [f for f in source.frames if f.stamp_ns in source.truth and f.camera is not None]
    stamps, poses = [], []
    if frames:
        stamps, poses = [frames[0].stamp_ns], [np.eye(4)]
        key_xy = now_xy = _corners(frames[0].gray())
        for before, frame in pairwise(frames):
            now_xy, kept = _follow(before.gray(), frame.gray(), now_xy)
            key_xy = key_xy[kept]
            moved = np.linalg.norm(now_xy - key_xy, axis=1)
            far = len(moved) > 0 and float(np.median(moved)) > KEYFRAME_PARALLAX_PX
            if not far and len(now_xy) >= MIN_CORNERS:
                continue
            assert frame.camera is not None  # an input without calibration is refused when it is read
            step = _relative_pose(key_xy, now_xy, frame.camera.K)
            true = np.linalg.inv(source.truth[stamps[-1]]) @ source.truth[frame.stamp_ns]
            step[:3, 3] *= np.linalg.norm(true[:3, 3])
            stamps.append(frame.stamp_ns)
            poses.append(poses[-1] @ step)
            key_xy = now_xy = _corners(frame.gray())
    truth = np.array([source.truth[s] for s in stamps]).reshape(-1, 4, 4)
    return Trajectories(np.array(stamps, np.int64), np.array(poses).reshape(-1, 4, 4), truth)


def _corners(gray: np.ndarray) -> np.ndarray:
    corners = cv2.goodFeaturesToTrack(gray, MAX_CORNERS, 0.005, 10)
    return np.zeros((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)


def _follow(before: np.ndarray, after: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2) px of those that come back to where they started, and (N,) bool which these are."""
    if len(xy) == 0:
        return xy, np.zeros(0, bool)
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, xy, None, **LK)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **LK)
    good = (found.ravel() == 1) & (returned.ravel() == 1)
    good &= np.linalg.norm(back - xy, axis=1) < FORWARD_BACKWARD_PX
    return there[good], good


def _relative_pose(xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(4, 4) T_a_b with a translation of length one, or no motion when none can be found."""
    T_a_b = np.eye(4)
    if len(xy_a) < 8:
        return T_a_b
    a, b = xy_a.astype(np.float64), xy_b.astype(np.float64)
    E, mask = cv2.findEssentialMat(a, b, K, method=cv2.USAC_MAGSAC, prob=0.9999, threshold=EPIPOLAR_PX)
    if E is None or E.shape != (3, 3):
        return T_a_b
    _, R, t, _, _ = cv2.recoverPose(E, a, b, K, distanceThresh=1e4, mask=mask)
    T_a_b[:3, :3], T_a_b[:3, 3] = R.T, -R.T @ t.ravel()
    return T_a_b
