"""Bounded memory: views of earlier passes are forgotten again, the graph stays in one piece."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from place_scenes import PointCloud, pose
from test_recogniser import SETTINGS, describe, laps  # noqa: F401 (a fixture)

from vision_nodes.places.graph_state import GraphState
from vision_nodes.places.keyframes import Keyframe, KeyframeDatabase
from vision_nodes.places.recogniser import PlaceRecogniser
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.places.sparsification import PROTECTED, covering, most_redundant

LIMITS = PlaceSettings()


def two_passes(
    offset: np.ndarray, descriptor: np.ndarray, later_s: float
) -> tuple[Keyframe, KeyframeDatabase, GraphState]:
    """A keyframe, and another one of the same segment `later_s` later at `offset` from it."""
    database, state, cloud = KeyframeDatabase(), GraphState(LIMITS), PointCloud(0, count=40)
    for k, T in enumerate((pose(), pose() @ offset)):
        keyframe = replace(
            cloud.view(T, k), stamp_ns=int(k * later_s * 1e9), descriptor=np.eye(4, dtype=np.float32)[0]
        )
        if k:
            keyframe.descriptor = descriptor
        database.add(keyframe)
        state.add(k, 0, T, 4.0, np.eye(4))
    return database[1], database, state


ALIKE, UNLIKE = np.array([0.95, 0.31, 0, 0], np.float32), np.array([0.5, 0.87, 0, 0], np.float32)


@pytest.mark.parametrize(
    ("offset", "descriptor", "later_s", "expected"),
    [
        (pose(x=0.2), ALIKE, 60, 0),
        (pose(x=0.2), UNLIKE, 60, None),  # the same place in another light
        (pose(x=2.0), ALIKE, 60, None),
        (pose(yaw=20), ALIKE, 60, None),
        (pose(x=0.2), ALIKE, 2, None),  # the same pass
    ],
)
def test_a_view_is_covered_by_an_earlier_pass_that_looks_the_same(
    offset: np.ndarray, descriptor: np.ndarray, later_s: float, expected: int | None
) -> None:
    keyframe, database, state = two_passes(offset, descriptor, later_s)
    assert covering(keyframe, database, state, LIMITS) == expected
    assert covering(keyframe, database, state, replace(LIMITS, forget_view=0.0)) is None


def test_the_densest_go_first_and_never_two_neighbours() -> None:
    database, state, cloud = KeyframeDatabase(), GraphState(LIMITS), PointCloud(0, count=40)
    x = np.concatenate([np.arange(10) * 1.0, 9 + np.arange(1, 7) * 0.1, 9.6 + np.arange(1, 15)])
    for k, position in enumerate(x):
        database.add(cloud.view(pose(x=position), k))
        state.add(k, 0, pose(x=position), 4.0, np.eye(4))
    chosen = most_redundant(database, state, 3)
    assert set(chosen) <= set(range(9, 16)) and len(chosen) == 3
    assert all(abs(a - b) > 1 for a in chosen for b in chosen if a != b)
    assert max(chosen) < len(x) - PROTECTED
    empty = GraphState(LIMITS)
    assert most_redundant(database, empty, 2) == [0, 1]  # without poses the oldest


def test_driving_in_circles_costs_no_memory(laps: tuple) -> None:  # noqa: F811
    """Five passes of the same way: what the first two show is kept, and the newest few."""
    frames, poses, _ = laps
    counts, closures = [], []
    with PlaceRecogniser(replace(SETTINGS, max_features=300)) as recogniser:
        for lap in range(5):
            for frame, T in zip(frames[:8], poses[:8]):
                shifted = replace(frame, stamp_ns=frame.stamp_ns + lap * 60 * 10**9)
                result = recogniser.process(shifted, describe, T)
                closures.append(result.closure is not None)
            counts.append(recogniser.keyframe_count)
        assert counts[0] == 8 and max(counts) <= 8 + PROTECTED
        assert all(closures[8:])  # every later pass was recognised
        found = recogniser.keyframe_poses()
        edges = recogniser.edges()
        reached, grown = {next(iter(found))}, True
        while grown:
            joined = {i for a, b, _ in edges for i in (a, b) if a in reached or b in reached}
            grown = not joined <= reached
            reached |= joined
        assert reached == set(found)  # in one piece
        pairs = [(a, b) for a, b, is_closure in edges if is_closure]
        assert len(pairs) == len(set(pairs)) <= 2 * (8 + PROTECTED)
        assert recogniser.localize(frames[3], describe).T_map_cam is not None
        assert recogniser.memory_bytes < (8 + PROTECTED) * 80_000
