"""The learned-feature front end: tracks matched by descriptors, also far from the prediction; a whole drive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drives import SETTINGS, run, walk

from vision_nodes.datatypes import Features, TrackingState
from vision_nodes.engine.models import find_model
from vision_nodes.errors import VisionNodesError
from vision_nodes.odometry.feature_front_end import FeatureTracker, make_front_end, new_places
from vision_nodes.odometry.klt import KltTracker
from vision_nodes.odometry.settings import OdometrySettings


def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8)
    return cv2.GaussianBlur(cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC), (0, 0), 1.0)


def sift(gray: np.ndarray) -> Features:
    """Real features without a model file."""
    keypoints, descriptors = cv2.SIFT_create(nfeatures=600).detectAndCompute(gray, None)
    order = np.argsort([-k.response for k in keypoints], kind="stable")
    xy = np.array([keypoints[i].pt for i in order], np.float32)
    vectors = descriptors[order] / np.linalg.norm(descriptors[order], axis=1, keepdims=True)
    return Features(
        xy, np.array([keypoints[i].response for i in order], np.float32), vectors.astype(np.float32)
    )


@pytest.mark.parametrize("shift", [(3, 2), (90, -40)])
def test_tracks_are_found_where_they_went(shift: tuple[int, int]):
    tracker = FeatureTracker(OdometrySettings(), sift)
    gray = picture()
    tracker.follow_into(gray, np.zeros((0, 2)))
    assert tracker.detect(gray) > 150
    before, ids = tracker.tracks.xy.copy(), tracker.tracks.ids.copy()
    moved = cv2.warpAffine(gray, np.array([[1.0, 0, shift[0]], [0, 1, shift[1]]]), (640, 480))
    old = tracker.follow_into(moved, before)  # predicted: nothing moves
    rows = np.searchsorted(ids, tracker.tracks.ids)
    np.testing.assert_array_equal(old, before[rows])
    error = np.abs(tracker.tracks.xy - before[rows] - shift).max(axis=1)
    assert len(rows) > 100 and (error < 0.3).mean() > 0.9


def test_new_places_keep_apart_and_spread():
    rng = np.random.default_rng(1)
    xy = np.concatenate([rng.uniform((8, 8), (100, 100), (300, 2)), rng.uniform((8, 8), (630, 470), (60, 2))])
    features = Features(
        xy.astype(np.float32), np.linspace(1, 0, 360, dtype=np.float32), np.eye(360, dtype=np.float32)
    )
    taken = np.array([[300.0, 200.0]])
    rows = new_places(features, taken, (480, 640), 50)
    all_xy = np.concatenate([taken, features.keypoints_xy[rows]])
    apart = np.abs(all_xy[:, None] - all_xy[None]).max(-1) + 1e3 * np.eye(len(all_xy))
    assert apart.min() >= 10
    assert (features.keypoints_xy[rows] > 110).any(axis=1).sum() > 25  # not all from the crowded corner
    assert len(new_places(features, taken, (480, 640), 3)) == 3


def test_the_parameter_chooses():
    assert type(make_front_end(OdometrySettings())) is KltTracker
    with pytest.raises(VisionNodesError, match="no_such_model"):
        make_front_end(OdometrySettings(front_end="features", features_model="no_such_model"))


def shipped() -> bool:
    try:
        find_model("features")
    except VisionNodesError:
        return False
    return (Path(__file__).parents[2] / "models" / "features.onnx").exists()


@pytest.mark.skipif(not shipped(), reason="no features model")
def test_a_rendered_walk_through_the_engine():
    source = walk(40)
    estimates = run(source.frames, replace(SETTINGS, front_end="features"))
    posed = [e for e in estimates if e.T_odom_cam is not None]
    assert len(posed) > 30 and posed[-1].state is TrackingState.TRACKING
    truth = np.array([source.truth[e.stamp_ns][:3, 3] for e in posed])
    ours = np.array([e.T_odom_cam[:3, 3] for e in posed])
    a, b = ours - ours.mean(0), truth - truth.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    R = (u * [1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    scale = s.sum() / (a * a).sum()
    error = np.linalg.norm(scale * a @ R - b, axis=1)
    assert error.max() < 0.02 * np.linalg.norm(np.diff(truth, axis=0), axis=1).sum()
