"""Places that look alike and are not the same: nothing of them may act on the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from place_scenes import pose
from test_pose_graph import closure, drifted, filled, square_drive, worst_error_m
from test_recogniser import CAMERA, SETTINGS, describe

from vision_nodes.places.closure_gate import Verdict
from vision_nodes.places.recogniser import PlaceRecogniser
from vision_nodes.places.rigid import inverse
from vision_nodes.preprocess.frame import Frame
from vision_nodes.simulation.world import World


def walk(seed: int, count: int, start_ns: int) -> tuple[list[Frame], list[np.ndarray]]:
    """Frames and poses, from the first camera, of a walk through a rendered building."""
    world = World.indoor(seed)
    drive = world.drive(15.0, 25.0)
    chosen = range(0, 4 * count, 4)
    frames = [
        Frame(
            start_ns + int(drive.stamps_ns[i]),
            "camera",
            world.render(drive.T_world_cam[i], CAMERA).image,
            (640, 480),
            CAMERA,
            CAMERA,
        )
        for i in chosen
    ]
    origin = inverse(drive.T_world_cam[0])
    return frames, [origin @ drive.T_world_cam[i] for i in chosen]


@pytest.fixture(scope="module")
def building() -> tuple[list[Frame], list[np.ndarray]]:
    return walk(0, 8, 0)


def test_two_buildings_of_one_architect_share_no_place(building: tuple) -> None:
    """Same materials, furniture and posters in other rooms: as odometry goes on, after a loss, and without any."""
    frames, poses = building
    others, ways = walk(1, 8, 60 * 10**9)
    entrance = pose(x=30.0)
    with PlaceRecogniser(SETTINGS) as recogniser:
        for frame, T in zip(frames, poses):
            recogniser.process(frame, describe, T)
        for frame, T in zip(others[:4], ways):
            result = recogniser.process(frame, describe, entrance @ T)
            assert result.candidate_ids and result.closure is None  # alike enough to be ranked
        recogniser.process(replace(others[4], stamp_ns=others[4].stamp_ns - 1), describe, None)
        for frame, T in zip(others[4:], ways[4:]):
            assert recogniser.process(frame, describe, T).closure is None
        between = [(a, b) for a, b, is_closure in recogniser.edges() if is_closure and (a < 8) != (b < 8)]
        assert between == []  # the two stretches of the second building may well be joined
    with PlaceRecogniser(SETTINGS) as recogniser:
        for frame, T in zip(frames, poses):
            recogniser.process(frame, describe, T)
        assert all(recogniser.localize(frame, describe).result.closure is None for frame in others)


def test_a_twin_of_the_room_further_on_does_not_fold_the_map(building: tuple) -> None:
    """The very same pictures again where odometry, at 2 % of the way, is sure to be 40 m away."""
    frames, poses = building
    with PlaceRecogniser(SETTINGS) as recogniser:
        for frame, T in zip(frames, poses):
            recogniser.process(frame, describe, T)
        for frame, T in zip(frames, poses):
            twin = replace(frame, stamp_ns=frame.stamp_ns + 60 * 10**9)
            result = recogniser.process(twin, describe, pose(z=40.0) @ T)
            assert result.candidate_scores[0] > 0.99 and result.closure is None
        assert not any(is_closure for _, _, is_closure in recogniser.edges())
        found = recogniser.keyframe_poses()
        assert max(np.abs(found[k] - poses[k]).max() for k in range(8)) < 1e-9
        assert max(np.abs(found[8 + k] - pose(z=40.0) @ poses[k]).max() for k in range(8)) < 1e-9


def test_false_closures_among_true_ones_change_nothing() -> None:
    """Every third closure claims another place, each in its own way; the map is as good as without them."""
    true = square_drive()
    odometry = drifted(true)
    rng = np.random.default_rng(0)
    errors = []
    for share in (0, 3):
        graph = filled(odometry[:41])
        for query in range(41, 48):
            graph.add_keyframe(query, 0, odometry[query], 4.0)
            if share and query % share == 0:
                wrong = closure(
                    true, int(rng.integers(5, 35)), query, pose(x=rng.uniform(2, 6), yaw=rng.uniform(30, 90))
                )
                assert graph.add_closure(wrong) is not Verdict.ACCEPTED
            graph.add_closure(closure(true, query - 40, query))
            graph.update(query * 10**9, 0, odometry[query])
        errors.append(worst_error_m(graph, true))
    assert errors[1] < errors[0] + 0.02 and errors[0] < 0.3
