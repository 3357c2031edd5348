"""Matching, calibration, confusion and covariance consistency by hand and against other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_detection_metrics import NAMES, detections, frame, random_frames

from vision_nodes.evaluation.calibration import (
    class_figures,
    detection_confusion,
    detection_reliability,
    reliability,
)
from vision_nodes.evaluation.covariance import pose_anees
from vision_nodes.evaluation.detection import DetectionFrame, score_detections
from vision_nodes.evaluation.matching import average_precision, match_class


@pytest.mark.parametrize("seed", range(3))
def test_our_matching_gives_the_average_precision_of_pycocotools(seed: int):
    frames = random_frames(seed + 50, 8)
    crowded = [
        DetectionFrame(f.predicted, f.truth, np.arange(len(f.truth)) % 3 == 0 if len(f.truth) else None)
        for f in frames
    ]
    for some in (frames, crowded):
        official = score_detections(some, NAMES)["class_ap"]
        for category, name in enumerate(NAMES):
            ours = average_precision(match_class(some, category)).mean()
            if official.get(name) is not None:  # type: ignore[union-attr]
                assert ours == pytest.approx(official[name], abs=1e-9)  # type: ignore[index]


def test_weights_are_repeated_frames():
    frames = random_frames(3, 5)
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 0, 3]], float)
    values = average_precision(match_class(frames, 0), weights)
    repeated = [frames[i] for i in (0, 0, 2, 4, 4, 4)]
    np.testing.assert_allclose(values[0], average_precision(match_class(frames, 0)))
    np.testing.assert_allclose(values[1], average_precision(match_class(repeated, 0)), atol=1e-9)


def test_calibration_error_by_hand():
    curve = reliability(np.array([0.9, 0.9, 0.9, 0.9, 0.2, 0.2]), np.array([1, 1, 1, 0, 0, 1], bool))
    assert curve.ece == pytest.approx((4 * abs(0.75 - 0.9) + 2 * abs(0.5 - 0.2)) / 6)
    assert curve.count.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 4]
    assert reliability(np.zeros(0), np.zeros(0, bool)).ece is None
    assert reliability(np.ones(3), np.ones(3, bool)).ece == 0  # confidence 1.0 falls in the last bin


def test_confidences_that_are_frequencies_have_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(20000)
    assert reliability(confidence, rng.random(20000) < confidence).ece == pytest.approx(0, abs=0.02)


def test_box_confusion_by_hand():
    box, other, third = (10, 10, 60, 60), (100, 20, 180, 90), (200, 200, 240, 240)
    one = frame([(box, 0.9, 1), (third, 0.8, 0), (other, 0.1, 1)], [(box, 0), (other, 1)])
    confusion = detection_confusion([one], 2)
    # a person taken for a car; a person invented; the car missed, as its box is too weak to be published
    assert confusion.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert class_figures(confusion) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert class_figures(np.zeros((3, 3), int)) == {"precision": None, "recall": None, "f1": None}


def test_reliability_of_boxes():
    box, other = (10, 10, 60, 60), (100, 20, 180, 90)
    one = DetectionFrame(
        detections([(box, 0.9, 0), (other, 0.7, 0)]), detections([(box, 1.0, 0)]), np.array([False])
    )
    curve = detection_reliability([one], [0])
    assert curve.accuracy[9] == 1 and curve.accuracy[7] == 0


def test_anees_of_poses_with_honest_covariance_is_one():
    rng = np.random.default_rng(1)
    count, sigma = 3000, np.array([0.1, 0.2, 0.3, 0.01, 0.02, 0.03])
    truth = np.tile(np.eye(4), (count, 1, 1))
    truth[:, :3, 3] = rng.normal(0, 5, (count, 3))
    truth[:, :3, :3] = Rotation.random(count, random_state=2).as_matrix()
    noise = rng.normal(0, 1, (count, 6)) * sigma
    noise[0] = 0
    estimate = truth.copy()
    estimate[:, :3, 3] += noise[:, :3]
    estimate[:, :3, :3] = Rotation.from_rotvec(noise[:, 3:]).as_matrix() @ truth[:, :3, :3]
    # In another fixed frame, as odometry's is: the covariance turns with it.
    R = Rotation.from_euler("xyz", [0.3, -0.2, 1.0]).as_matrix()
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, [1, 2, 3]
    block = np.zeros((6, 6))
    block[:3, :3] = block[3:, 3:] = R
    covariances = np.tile(block @ np.diag(sigma**2) @ block.T, (count, 1, 1))
    figures = pose_anees(T @ estimate, truth, covariances)
    assert figures == pytest.approx({"anees": 1, "anees_position": 1, "anees_rotation": 1}, abs=0.06)
    assert pose_anees(T @ estimate, truth, covariances / 4)["anees"] == pytest.approx(4, abs=0.3)


def test_covariances_that_say_nothing_give_no_figure():
    poses = np.tile(np.eye(4), (3, 1, 1))
    assert pose_anees(poses, poses, np.zeros((3, 6, 6)))["anees"] is None
