"""Index: against brute force, while growing from exhaustive search into the graph."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.places.index import DescriptorIndex


def unit(rng: np.random.Generator, count: int, dimension: int = 32) -> np.ndarray:
    vectors = rng.normal(0, 1, (count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_empty() -> None:
    index = DescriptorIndex(8)
    ids, scores = index.search(np.ones(8, np.float32), 5)
    assert len(ids) == 0 and len(scores) == 0 and len(index) == 0


def test_exhaustive_search_is_exact_and_respects_the_limit() -> None:
    rng = np.random.default_rng(0)
    vectors, index = unit(rng, 200), DescriptorIndex(32)
    ids = np.arange(200) * 3 + 5  # ids need not be contiguous
    for keyframe_id, vector in zip(ids, vectors):
        index.add(int(keyframe_id), vector)
    query = unit(rng, 1)[0]
    for below in (None, 305, 5):
        allowed = np.ones(200, bool) if below is None else ids < below
        expected = ids[allowed][np.argsort(-(vectors[allowed] @ query), kind="stable")][:7]
        found, scores = index.search(query, 7, below)
        np.testing.assert_array_equal(found, expected)
        assert (np.diff(scores) <= 0).all()


def test_equal_scores_go_to_the_older_keyframe() -> None:
    index = DescriptorIndex(4)
    for keyframe_id in (3, 7, 9):
        index.add(keyframe_id, np.array([1, 0, 0, 0], np.float32))
    assert index.search(np.array([1, 0, 0, 0], np.float32), 2)[0].tolist() == [3, 7]


def test_growing_into_the_graph_loses_nothing() -> None:
    rng = np.random.default_rng(1)
    vectors, index = unit(rng, 1500), DescriptorIndex(32, flat_limit=400)
    hits = 0
    for keyframe_id, vector in enumerate(vectors):
        index.add(keyframe_id, vector)
        if keyframe_id % 50 == 49:  # while entries move over, every one stays findable
            target = int(rng.integers(keyframe_id + 1))
            hits += index.search(vectors[target], 1)[0].tolist() == [target]
    assert len(index) == 1500 and hits >= 29
    queries = vectors[:200] + 0.05 * unit(rng, 200)
    exact = np.argmax(queries @ vectors.T, axis=1)
    found = [index.search(q, 1)[0][0] for q in queries]
    assert np.mean(exact == found) >= 0.98
    assert index.search(vectors[1400], 5, below_id=700)[0].max() < 700


def test_removed_ids_are_never_returned() -> None:
    rng = np.random.default_rng(2)
    vectors, index = unit(rng, 300), DescriptorIndex(32, flat_limit=100)
    for keyframe_id, vector in enumerate(vectors):
        index.add(keyframe_id, vector)
    for keyframe_id in [*range(0, 300, 7), 299]:
        index.remove(keyframe_id)
        assert keyframe_id not in index.search(vectors[keyframe_id], 10)[0]
    assert len(index) == 300 - len({*range(0, 300, 7), 299})


def test_a_removed_neighbourhood_does_not_hide_what_is_left() -> None:
    rng = np.random.default_rng(5)
    vectors, index = unit(rng, 800), DescriptorIndex(32, flat_limit=200)
    vectors[:150] = vectors[0] + 0.01 * unit(rng, 150)  # one crowded place
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index.add_many(np.arange(800), vectors)
    for keyframe_id in range(150):
        if keyframe_id not in (20, 120):
            index.remove(keyframe_id)
    assert set(index.search(vectors[0], 2)[0].tolist()) == {20, 120}


def test_adding_many_finds_the_same_as_adding_one_by_one() -> None:
    rng = np.random.default_rng(6)
    vectors = unit(rng, 700)
    single, many = DescriptorIndex(32, flat_limit=100), DescriptorIndex(32, flat_limit=100)
    for keyframe_id, vector in enumerate(vectors):
        single.add(2 * keyframe_id, vector)
    many.add_many(2 * np.arange(450), vectors[:450])
    many.add_many(2 * np.arange(450, 700), vectors[450:])
    same = 0
    for query in unit(rng, 100):
        (a, scores), (b, _) = single.search(query, 3), many.search(query, 3)
        same += a[0] == b[0]
        assert np.allclose(scores[0], vectors[a[0] // 2] @ query, atol=2e-3)
    assert same >= 97


def test_wrong_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="32 values, received 8"):
        DescriptorIndex(32).add(0, np.ones(8, np.float32))
