"""Overlap and assignment against brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nodes.tracking.association import assign, iou_matrix

CALM = settings(deadline=None, max_examples=40)  # shared machines stall: no time limits


def brute_force_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Counts unit cells of integer boxes."""
    cells_a = {(x, y) for x in range(a[0], a[2]) for y in range(a[1], a[3])}
    cells_b = {(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])}
    union = cells_a | cells_b
    return len(cells_a & cells_b) / len(union) if union else 0.0


def test_empty() -> None:
    assert iou_matrix(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert assign(np.zeros((0, 3)), np.zeros((0, 3), bool)).shape == (0, 2)


@CALM
@given(st.lists(st.integers(0, 12), min_size=8, max_size=8))
def test_iou_counts_cells(values: list[int]) -> None:
    a, b = (
        np.array([*np.sort(v[[0, 2]]), *np.sort(v[[1, 3]])])[[0, 2, 1, 3]]
        for v in np.array(values).reshape(2, 4)
    )
    expected = brute_force_iou(a, b)
    assert np.isclose(iou_matrix(a[None].astype(float), b[None].astype(float))[0, 0], expected)


@CALM
@given(st.integers(0, 10_000))
def test_assignment_is_optimal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity, allowed = rng.random((4, 4)), rng.random((4, 4)) < 0.6
    pairs = assign(similarity, allowed)
    assert len(np.unique(pairs[:, 0])) == len(pairs) and len(np.unique(pairs[:, 1])) == len(pairs)
    assert allowed[pairs[:, 0], pairs[:, 1]].all()
    best = max(
        (
            sum(allowed[r, c] for r, c in enumerate(p)),
            sum(similarity[r, c] for r, c in enumerate(p) if allowed[r, c]),
        )
        for p in permutations(range(4))
    )
    assert len(pairs) == best[0]
    assert np.isclose(similarity[pairs[:, 0], pairs[:, 1]].sum(), best[1])
