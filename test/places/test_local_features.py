"""Local features: empty images first, then a picture and its known warp."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vision_nodes.places.local_features import LocalFeatureExtractor, match, match_with_ratio


def picture(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(
        rng.integers(0, 255, (30, 40)).astype(np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC
    )
    fine = cv2.resize(
        rng.integers(0, 255, (96, 128)).astype(np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC
    )
    return cv2.addWeighted(coarse, 0.6, fine, 0.4, 0)


@pytest.mark.parametrize("kind", ["sift", "orb"])
@pytest.mark.parametrize("size_hw", [(480, 640), (8, 8), (1, 1)])
def test_flat_and_tiny_images_have_no_features(kind: str, size_hw: tuple[int, int]) -> None:
    features = LocalFeatureExtractor(kind, 100, 0.75).extract(np.full(size_hw, 90, np.uint8))
    assert features.keypoints_xy.shape == (0, 2)
    assert features.descriptors.shape == (0, 128 if kind == "sift" else 32)
    assert match(features.descriptors, features.descriptors, 0.9).shape == (0, 2)


@pytest.mark.parametrize(("kind", "scale"), [("sift", 1.0), ("sift", 0.75), ("orb", 1.0), ("orb", 0.75)])
def test_matches_follow_a_known_warp_without_bias(kind: str, scale: float) -> None:
    """Shrinking must not shift the points: the mean error stays far below half a pixel."""
    first = picture()
    affine = np.array([[0.98, -0.17, 30.0], [0.17, 0.98, -20.0]])
    second = cv2.warpAffine(first, affine, (640, 480))
    extractor = LocalFeatureExtractor(kind, 500, scale)
    a, b = extractor.extract(first), extractor.extract(second)
    assert len(a.scores) <= 500
    pairs, ratio = match_with_ratio(a.descriptors, b.descriptors, 0.85)
    assert (ratio < 0.85).all() and len(pairs) > 50
    expected = a.keypoints_xy[pairs[:, 0]] @ affine[:, :2].T + affine[:, 2]
    error = b.keypoints_xy[pairs[:, 1]] - expected
    right = np.linalg.norm(error, axis=1) < 4
    assert right.mean() > 0.9
    assert np.abs(np.median(error[right], axis=0)).max() < 0.25


def test_features_are_spread_over_the_image() -> None:
    """One quarter has three times the contrast of the rest: it does not win all the features."""
    image = (picture() // 3 + 80).astype(np.uint8)
    image[:240, :320] = picture(1)[:240, :320]
    xy = LocalFeatureExtractor("sift", 500).extract(image).keypoints_xy
    strong = (xy[:, 0] < 320) & (xy[:, 1] < 240)
    assert 0.1 < strong.mean() < 0.75
