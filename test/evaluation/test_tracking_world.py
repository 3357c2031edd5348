"""Ids on a rendered street: the real tracker, true boxes spoilt as a detector spoils them, a moving camera."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.evaluation.tracking_world import (
    Spoilt,
    SpoiltTruth,
    View,
    shipped_detector,
    street_views,
    track,
)
from vision_nodes.tasks.classes import COCO_CLASSES
from vision_nodes.tracking.settings import TrackerSettings

EXACT = Spoilt(missed=0, lapse=0, lapse_frames=0, jitter=0, false_per_frame=0)


@pytest.fixture(scope="module")
def views() -> list[View]:
    return street_views(seed=3, frames=36, size_wh=(320, 240))


def test_street_has_objects_that_hide_each_other(views: list[View]) -> None:
    fractions = np.concatenate([view.truth.visible_fraction for view in views])
    assert len(fractions) > 60
    assert (fractions < 0.6).any()


def test_ids_of_exact_boxes(views: list[View]) -> None:
    figures = track(views, SpoiltTruth(COCO_CLASSES, EXACT, 0), COCO_CLASSES)
    assert figures["hota"] > 0.8
    assert figures["idf1"] > 0.85
    assert figures["id_switches"] == 0


def test_ids_hold_through_gaps_noise_and_false_boxes(views: list[View]) -> None:
    figures = track(views, SpoiltTruth(COCO_CLASSES, Spoilt(), 0), COCO_CLASSES)
    assert figures["id_switches"] <= 1
    assert figures["idf1"] > 0.65
    forgetful = TrackerSettings(memory_s=0.0)
    worse = track(views, SpoiltTruth(COCO_CLASSES, Spoilt(), 0), COCO_CLASSES, forgetful)
    assert worse["assa"] < figures["assa"] - 0.1
    standing = TrackerSettings(compensate_motion=False)
    worse = track(views, SpoiltTruth(COCO_CLASSES, Spoilt(), 0), COCO_CLASSES, standing)
    assert worse["hota"] < figures["hota"] - 0.05


def test_spoilt_boxes_follow_the_seed(views: list[View]) -> None:
    first, again, other = (SpoiltTruth(COCO_CLASSES, Spoilt(), seed)(views[0]) for seed in (1, 1, 2))
    assert np.array_equal(first.boxes_xyxy, again.boxes_xyxy)
    assert first.boxes_xyxy.shape != other.boxes_xyxy.shape or not np.array_equal(
        first.boxes_xyxy, other.boxes_xyxy
    )


def test_ids_of_the_shipped_detector(views: list[View]) -> None:
    detect, names = shipped_detector("detection")
    figures = track(views[:24], detect, names)
    assert figures["id_switches"] <= 2
    assert figures["assa"] > 0.5
    assert figures["hota"] > 0.3
