"""Confusion, IoU and pixel accuracy against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from vision_nodes.evaluation.segmentation import SegmentationScore

NAMES = ["road", "wall", "sky", "person"]


def random_pair(seed: int, shape: tuple[int, int] = (24, 32)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, shape).astype(np.uint8)  # no person in the truth
    labels = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, 4, shape)).astype(np.uint8)
    truth[rng.random(shape) < 0.1] = 255
    return labels, truth


@pytest.mark.parametrize("seed", range(4))
def test_figures_agree_with_scikit_learn(seed: int):
    score = SegmentationScore(NAMES)
    pairs = [random_pair(10 * seed + i) for i in range(3)]
    for labels, truth in pairs:
        score.add(labels, truth)
    scored = [(found[true != 255], true[true != 255]) for found, true in pairs]
    found, true = (np.concatenate(parts) for parts in zip(*scored))
    figures = score.figures()
    np.testing.assert_array_equal(score.confusion[:, :4], confusion_matrix(true, found, labels=range(4)))
    iou = jaccard_score(true, found, labels=range(4), average=None, zero_division=0)
    assert figures["class_iou"] == pytest.approx(dict(zip(NAMES, iou)))
    assert figures["miou"] == pytest.approx(iou[:3].mean())  # over the classes of the truth
    assert figures["pixel_accuracy"] == pytest.approx(accuracy_score(true, found))


def test_unlabelled_predictions_are_wrong_unlabelled_truth_is_not_scored():
    score = SegmentationScore(NAMES)
    score.add(np.array([[0, 255, 1, 1]], np.uint8), np.array([[0, 0, 1, 255]], np.uint8))
    figures = score.figures()
    assert figures["pixel_accuracy"] == pytest.approx(2 / 3)
    assert figures["class_iou"] == pytest.approx({"road": 0.5, "wall": 1.0})


def test_nothing_scored_is_none_not_nan():
    score = SegmentationScore(NAMES)
    assert score.figures() == {"miou": None, "pixel_accuracy": None, "class_iou": {}}
    score.add(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    assert score.figures()["miou"] is None


def test_a_small_mask_is_compared_at_the_size_of_the_truth():
    score = SegmentationScore(NAMES)
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    score.add(labels, np.kron(labels, np.ones((4, 4), np.uint8)))
    assert score.figures()["pixel_accuracy"] == 1.0
