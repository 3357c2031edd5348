"""Index measurement: exact figures where the index is exhaustive, sane ones in the graph."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.evaluation.place_index import (
    PER_PLACE,
    _keep_best,
    many_places,
    measure_index,
    moved,
    rendered_revisits,
    revisits,
    unit,
)


@pytest.fixture(scope="module")
def visits() -> np.ndarray:
    """Two visits of 60 places: low-dimensional, crowded descriptors."""
    rng = np.random.default_rng(0)
    basis = rng.normal(0, 1, (6, 48))
    places = rng.normal(0, 1, (60, 6)) @ basis
    return np.stack([unit(places), unit(places + 0.3 * rng.normal(0, 1, (60, 6)) @ basis)])


def test_exhaustive_search_is_always_right(visits: np.ndarray) -> None:
    figures = measure_index(visits, 3000, queries=40)
    assert figures.recall_at_1 == 1 and figures.recall_at_10 == 1
    assert figures.bytes_per_keyframe == 48 * 4 + 8
    assert 0 < figures.search_p50_ms <= figures.search_p95_ms
    assert 0.5 < figures.revisit_similarity < 1


def test_the_graph_finds_nearly_all_and_holds_half_the_vector(visits: np.ndarray) -> None:
    figures = measure_index(visits, 16_000, queries=100)
    assert figures.recall_at_1 >= 0.95 and figures.recall_at_10 >= 0.95
    assert figures.bytes_per_keyframe < 48 * 2 + 300


def test_queries_are_nearer_to_their_place_than_to_another(visits: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    places = next(many_places(visits, 200, rng))
    again = revisits(places, visits, rng)
    own = (places * again).sum(axis=1)
    other = (places * np.roll(again, PER_PLACE, axis=0)).sum(axis=1)
    assert np.mean(own > other) > 0.9
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, atol=1e-5)


def test_the_ten_best_of_chunks_are_the_ten_best_of_all() -> None:
    scores = np.random.default_rng(2).normal(size=(5, 300)).astype(np.float32)
    best = (np.full((5, 10), -9.0, np.float32), np.full((5, 10), -1, np.int64))
    for start in range(0, 300, 75):
        best = _keep_best(best, scores[:, start : start + 75], start)
    np.testing.assert_array_equal(best[1], np.argsort(-scores, axis=1)[:, :10])


def test_rendered_visits_pair_up() -> None:
    def small(image: np.ndarray) -> np.ndarray:
        grey = image[::32, ::32].astype(np.float32).mean(axis=2).ravel()
        return (grey - grey.mean()) / np.linalg.norm(grey - grey.mean())

    found = rendered_revisits(small, worlds=1, places=6)
    assert found.shape == (2, 6, 35)
    similarity = found[0] @ found[1].T
    assert np.mean(np.diag(similarity)) > similarity[~np.eye(6, dtype=bool)].mean() + 0.3
    pose = moved(np.eye(4), np.random.default_rng(0))
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
