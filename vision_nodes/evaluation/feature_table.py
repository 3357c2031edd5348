"""Local features compared by the relative poses they give: AUC with bootstrap intervals, and time per image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.datatypes import Features
from vision_nodes.errors import BagError
from vision_nodes.evaluation.pose_errors import (
    area_under_curve,
    mutual_nearest,
    pose_error_deg,
    relative_pose,
)
from vision_nodes.evaluation.pose_pairs import PosePairs

THRESHOLDS_DEG = (5.0, 10.0, 20.0)
MAX_POINTS = 1000
RESAMPLES = 2000
Extract = Callable[[np.ndarray], Features]  # (H, W, 3) uint8 RGB -> features in its pixels, best first


@dataclass(frozen=True)
class MethodScore:
    """One method on P pairs."""

    name: str
    errors_deg: np.ndarray  # (P,) larger of rotation and direction of translation; 180 = no pose
    matches: np.ndarray  # (P,) mutual nearest neighbours
    inliers: np.ndarray  # (P,) of the pose found
    ms: float  # median processor time of one image

    def aucs(self, weights: np.ndarray | None = None) -> np.ndarray:
        """(3,) AUC at 5, 10, 20 degrees, 0..1, of the pairs drawn (indices), or of all."""
        errors = self.errors_deg if weights is None else self.errors_deg[weights]
        return np.array(area_under_curve(errors, THRESHOLDS_DEG))


def score_method(name: str, extract: Extract, sets: Sequence[PosePairs]) -> MethodScore:
    """Extract every image once, match every pair, and compare the poses with the truth.

    Raises:
        BagError: an image cannot be read, or no set has a pair.
    """
    errors, matches, inliers, times = [], [], [], []
    for pairs in sets:
        described: dict[int, Features] = {}
        for index in np.unique(pairs.pairs):
            image = _read(pairs, int(index))
            start = time.process_time()
            found = extract(image)
            times.append(1e3 * (time.process_time() - start))
            described[int(index)] = _strongest(found)
        for number, (i, j) in enumerate(pairs.pairs):
            a, b = described[int(i)], described[int(j)]
            matched = mutual_nearest(a.descriptors, b.descriptors)
            xy = a.keypoints_xy[matched[:, 0]], b.keypoints_xy[matched[:, 1]]
            found_pose = relative_pose(*xy, pairs.camera.K)
            pose, count = found_pose if found_pose is not None else (None, 0)
            errors.append(max(pose_error_deg(pose, pairs.relative(number))))
            matches.append(len(matched))
            inliers.append(count)
    if not errors:
        names = [pairs.name for pairs in sets]
        raise BagError("pairs of frames", f"none in {names}", "lower the overlap or the baseline")
    counts = np.array(matches), np.array(inliers)
    return MethodScore(name, np.array(errors), *counts, float(np.median(times)))


def interval(score: MethodScore, other: MethodScore | None = None, seed: int = 0) -> np.ndarray:
    """(2, 3) ends of the 95 % bootstrap interval of the AUCs, or of their difference to `other` on the same pairs.

    Pairs are resampled as if independent; those that share a frame are not quite.
    """
    rng = np.random.default_rng(seed)
    count = len(score.errors_deg)
    values = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, count, count)
        values.append(score.aucs(drawn) - (0 if other is None else other.aucs(drawn)))
    return np.percentile(values, [2.5, 97.5], axis=0)


def _read(pairs: PosePairs, index: int) -> np.ndarray:
    image = cv2.imread(str(pairs.images[index]), cv2.IMREAD_COLOR)
    if image is None:
        raise BagError("a readable picture", str(pairs.images[index]), "copy the folder again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _strongest(features: Features) -> Features:
    """The `MAX_POINTS` best."""
    keep = np.argsort(-features.scores, kind="stable")[:MAX_POINTS]
    return Features(features.keypoints_xy[keep], features.scores[keep], features.descriptors[keep])


def root_sift(count: int = MAX_POINTS) -> Extract:
    """SIFT with Hellinger distance (Arandjelovic and Zisserman, CVPR 2012)."""
    detector = cv2.SIFT_create(nfeatures=count)

    def describe(descriptors: np.ndarray) -> np.ndarray:
        return np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))

    return _classical(detector, describe, (128, np.float32))


def orb(count: int = MAX_POINTS) -> Extract:
    """ORB (Rublee et al., ICCV 2011)."""
    return _classical(cv2.ORB_create(nfeatures=count), lambda descriptors: descriptors, (32, np.uint8))


def _classical(
    detector: cv2.Feature2D, finish: Callable[[np.ndarray], np.ndarray], empty: tuple[int, type]
) -> Extract:
    def extract(image: np.ndarray) -> Features:
        keypoints, descriptors = detector.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        if descriptors is None:
            nothing: np.ndarray = np.zeros((0, empty[0]), empty[1])
            return Features(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), nothing)
        xy = np.array([k.pt for k in keypoints], np.float32)
        return Features(xy, np.array([k.response for k in keypoints], np.float32), finish(descriptors))

    return extract
