"""Retrieval metrics against hand-computed values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vision_nodes.errors import BagError
from vision_nodes.evaluation.retrieval import pair_scores, read_loop_pairs, read_traverses, recall_at_1


def test_recall_counts_any_right_reference():
    queries = np.eye(3)
    references = np.eye(3)[[1, 0, 2]]
    assert recall_at_1(queries, references, [{1}, {0, 2}, {0}]) == pytest.approx(2 / 3)


def test_pair_scores_by_hand():
    similarity = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    loops = np.array([True, True, False, True, False])
    scores = pair_scores(similarity, loops)
    assert scores["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert scores["recall_at_full_precision"] == pytest.approx(2 / 3)


def test_a_wrong_best_pair_leaves_no_recall_at_full_precision():
    scores = pair_scores(np.array([0.9, 0.1]), np.array([False, True]))
    assert scores["recall_at_full_precision"] == 0.0
    assert scores["average_precision"] == pytest.approx(0.5)


def test_all_right_is_all_recalled():
    scores = pair_scores(np.array([0.9, 0.8, 0.1]), np.array([True, True, False]))
    assert scores == {"average_precision": 1.0, "recall_at_full_precision": 1.0}


def test_loop_pairs_leave_out_the_undecided(tmp_path: Path):
    table = tmp_path / "loops.csv"
    table.write_text("i,j,dist_m,angle_deg,overlap\n200,0,0,0,0.6\n210,0,0,0,0.3\n220,0,0,0,0.05\n")
    pairs, loops = read_loop_pairs(table, [0, 200, 210, 220])
    assert pairs.tolist() == [[1, 0], [3, 0]]  # 210-0 is undecided, the others are too close in time
    assert loops.tolist() == [True, False]


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(BagError, match="ground_truth"):
        read_traverses(tmp_path)
