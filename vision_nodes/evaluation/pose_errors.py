"""Relative pose from matched points, its error, and the area under the curve of errors.

The protocol of SuperGlue (Sarlin et al., CVPR 2020, section 5) as LoFTR and XFeat use it: essential matrix,
error = the larger of the angles of rotation and of the direction of translation, AUC at 5, 10 and 20 degrees.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

FAILED_DEG = 180.0
DISTANCE = 1e4  # baselines: OpenCV's default of 50 drops most of the scene at short baselines
MIN_MATCHES = 8


def mutual_nearest(descriptors_a: np.ndarray, descriptors_b: np.ndarray) -> np.ndarray:
    """(P, 2) int64 indices of features that are each other's nearest.

    Args:
        descriptors_a, descriptors_b: (N, D) and (M, D); float32 of unit norm (cosine), or uint8 binary (Hamming).
    """
    if len(descriptors_a) == 0 or len(descriptors_b) == 0:
        return np.zeros((0, 2), np.int64)
    if descriptors_a.dtype == np.uint8:
        a, b = (2.0 * np.unpackbits(d, axis=1).astype(np.float32) - 1 for d in (descriptors_a, descriptors_b))
    else:
        a, b = descriptors_a, descriptors_b
    similarity = a @ b.T
    forth, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    index = np.flatnonzero(back[forth] == np.arange(len(forth)))
    return np.stack([index, forth[index]], axis=1).astype(np.int64)


def relative_pose(
    xy_a: np.ndarray, xy_b: np.ndarray, K: np.ndarray, threshold_px: float = 0.75
) -> tuple[np.ndarray, int] | None:
    """T_b_a (4, 4) with unit translation and the number of inliers, or None when no pose is found.

    Args:
        xy_a, xy_b: (P, 2) matched px of two pictures of one camera.
        K: (3, 3) px.
        threshold_px: MAGSAC++'s inlier threshold (Barath et al., CVPR 2020).
    """
    if len(xy_a) < MIN_MATCHES:
        return None
    cv2.setRNGSeed(0)
    a, b = (np.ascontiguousarray(xy, np.float64) for xy in (xy_a, xy_b))
    essential, mask = cv2.findEssentialMat(a, b, K, cv2.USAC_MAGSAC, 0.99999, threshold_px)
    if essential is None or essential.shape[0] < 3:
        return None
    best: tuple[np.ndarray, int] | None = None
    for start in range(0, essential.shape[0] - 2, 3):
        found, R, t, *_ = cv2.recoverPose(
            np.ascontiguousarray(essential[start : start + 3]),
            a,
            b,
            K,
            distanceThresh=DISTANCE,
            mask=mask.copy(),
        )
        if best is None or found > best[1]:
            T_b_a = np.eye(4)
            T_b_a[:3, :3], T_b_a[:3, 3] = R, t[:, 0]
            best = (T_b_a, int(found))
    return best


def pose_error_deg(T_estimated: np.ndarray | None, T_true: np.ndarray) -> tuple[float, float]:
    """Angles (rotation, direction of translation) in degrees; both 180 without an estimate.

    The essential matrix does not know the sign of the translation, so the smaller of both angles counts, as
    in the published code.
    """
    if T_estimated is None:
        return FAILED_DEG, FAILED_DEG
    difference = T_estimated[:3, :3].T @ T_true[:3, :3]
    sine = np.linalg.norm(difference - difference.T) / (2 * np.sqrt(2))
    rotation = np.degrees(np.arctan2(sine, (np.trace(difference) - 1) / 2))
    t, truth = T_estimated[:3, 3], T_true[:3, 3]
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(t, truth)), np.dot(t, truth)))
    return float(rotation), float(min(angle, 180 - angle))


def area_under_curve(errors: np.ndarray, thresholds: Sequence[float]) -> list[float]:
    """Area under recall over error, from 0 to each threshold, divided by the threshold.

    Recall rises linearly from one sorted error to the next and starts at (0, 0), as SuperGlue defines it.

    Args:
        errors: (N,) >= 0; infinite or beyond the threshold = not recalled.
    """
    if len(errors) == 0:
        return [float("nan")] * len(thresholds)
    ordered = np.concatenate([[0.0], np.sort(np.asarray(errors, np.float64))])
    recall = np.arange(len(ordered)) / len(errors)
    areas = []
    for threshold in thresholds:
        last = int(np.searchsorted(ordered, threshold))
        x = np.append(ordered[:last], threshold)
        y = np.append(recall[:last], recall[last - 1])
        areas.append(float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / threshold))
    return areas
