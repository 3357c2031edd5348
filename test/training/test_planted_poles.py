"""Poles drawn into street pictures."""

from __future__ import annotations

import numpy as np

from vision_nodes.tasks.classes import class_id
from vision_nodes.training.planted_poles import POLE, plant_poles


def street(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.full((height, width), class_id("sky"), np.uint8)
    labels[height // 2 :] = class_id("road")
    image = np.full((height, width, 3), 120, np.uint8)
    return image, labels, np.full((height, width), 100, np.uint8)


def test_labels_change_exactly_where_a_pole_is_drawn() -> None:
    image, labels, confidence = street()
    before = image.copy(), labels.copy()
    for seed in range(6):
        drawn, marked, sure = plant_poles(image, labels, confidence, np.random.default_rng(seed))
        pole = marked == POLE
        assert 20 < pole.sum() < 0.6 * pole.size
        assert np.array_equal(marked[~pole], labels[~pole])
        assert (sure[pole] == 255).all()
        assert np.array_equal(sure[~pole], confidence[~pole])
        changed = np.abs(drawn.astype(int) - image).max(2) > 3
        assert changed[pole].mean() > 0.6
        assert changed[~pole].mean() < 0.15  # only the soft rim
    assert np.array_equal(image, before[0])
    assert np.array_equal(labels, before[1])


def test_poles_stand_on_the_ground_and_signs_have_their_own_label() -> None:
    image, labels, confidence = street()
    seen = set()
    for seed in range(12):
        _, marked, _ = plant_poles(image, labels, confidence, np.random.default_rng(seed), ids=(201, 202))
        seen |= set(np.unique(marked).tolist())
        assert (marked[60:] == 201).any()
    assert {201, 202} <= seen


def test_indoors_nothing_is_planted() -> None:
    image, labels, confidence = street()
    labels[:60], labels[60:] = class_id("wall"), class_id("floor")
    same = plant_poles(image, labels, confidence, np.random.default_rng(0))
    assert np.array_equal(same[0], image)
    assert np.array_equal(same[1], labels)
