"""Place figures by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sklearn.metrics import average_precision_score

from vision_nodes.evaluation.places import (
    Closure,
    Overlaps,
    PlaceRun,
    closure_errors,
    precision_recall,
    score_places,
)

I = np.eye(4)
# 40 and 50 see again what 10 saw; 30 and 20 overlap a little.
OVERLAPS = Overlaps([(40, 10, 0.9), (50, 10, 0.6), (30, 20, 0.3)])


def test_recall_at_k_by_hand():
    ranked = {40: [20, 30, 10], 50: [10], 30: [20]}
    run = PlaceRun([10, 20, 30, 40, 50], ranked, {k: [0.5] * len(v) for k, v in ranked.items()})
    figures = score_places(run, OVERLAPS)
    assert figures["queries_with_revisit"] == 2
    assert (figures["recall_at_1"], figures["recall_at_5"], figures["recall_at_10"]) == (0.5, 1.0, 1.0)
    assert (figures["closures"], figures["loop_recall"]) == (0, 0.0)


def test_closures_are_right_undecided_or_false():
    closures = [Closure(40, 10, I), Closure(30, 20, I), Closure(50, 20, I)]
    figures = score_places(PlaceRun([10, 20, 30, 40, 50], {}, {}, closures), OVERLAPS)
    assert figures["false_closures"] == 1  # 50-20 share nothing; 30-20 share a third: neither right nor wrong
    assert figures["loop_recall"] == 0.5


def test_a_later_keyframe_is_no_revisit():
    figures = score_places(PlaceRun([40, 10], {40: []}, {40: []}), OVERLAPS)
    assert figures["queries_with_revisit"] == 1  # 10 comes after 40 here, and revisits it
    assert figures["recall_at_1"] == 0


def test_no_keyframes_and_no_revisits_are_none():
    for run in (PlaceRun([], {}, {}), PlaceRun([20], {20: []}, {20: []})):
        figures = score_places(run, OVERLAPS)
        assert figures["recall_at_1"] is None and figures["loop_recall"] is None
        assert figures["false_closures"] == 0


def test_truth_is_taken_at_the_nearest_sampled_frame():
    overlaps = Overlaps([(1000, 100, 0.8)])
    assert overlaps.of(990, 104) == 0.8
    assert Overlaps([]).of(1, 2) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_scikit_learns(seed: int):
    rng = np.random.default_rng(seed)
    positive = rng.random(50) < 0.4
    scores = rng.random(50) + 0.5 * positive
    figures = precision_recall(scores, positive).figures()
    assert figures["average_precision"] == pytest.approx(average_precision_score(positive, scores))
    threshold = scores[~positive].max()
    assert figures["recall_at_100_precision"] == pytest.approx((scores[positive] > threshold).mean())


def test_no_positive_pair_has_no_precision():
    assert precision_recall(np.ones(3), np.zeros(3, bool)).figures()["average_precision"] is None


def test_closure_errors_after_the_runs_scale():
    truth = {10: I, 40: I.copy()}
    truth[40][:3, 3] = [2, 0, 0]
    claimed = I.copy()
    claimed[:3, 3] = [0.5, 0, 0]
    claimed[:3, :3] = Rotation.from_euler("y", 5, degrees=True).as_matrix()
    figures = closure_errors([Closure(40, 10, claimed)], truth, scale=3.0)
    assert figures["closure_translation_median_m"] == pytest.approx(0.5)
    assert figures["closure_rotation_median_deg"] == pytest.approx(5)
    assert closure_errors([], truth, 1.0)["closure_translation_median_m"] is None
