"""The whole odometry on rendered walks, with all that a camera stream does to it. Poses must never lie."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drives import (
    SETTINGS,
    blurred,
    brighter,
    jumps,
    rendered,
    run,
    states,
    turn_on_the_spot,
    walk,
    with_camera,
    with_image,
)

from vision_nodes.datatypes import OdometryEstimate
from vision_nodes.evaluation.odometry import ate, path_length
from vision_nodes.evaluation.odometry_inputs import OdometryInput
from vision_nodes.evaluation.odometry_run import OdometryRun, trajectories_of_run
from vision_nodes.simulation.drive import resized_camera

WALK = 110  # frames
MS = 1_000_000


@pytest.fixture(scope="module")
def source() -> OdometryInput:
    """Eleven metres through a room, round a corner."""
    return walk(WALK)


def check(estimates: list[OdometryEstimate], source: OdometryInput) -> None:
    """What holds whatever happens: finite poses with proper covariances, and no jump without a gap."""
    for estimate in estimates:
        if estimate.T_odom_cam is not None:
            assert np.isfinite(estimate.T_odom_cam).all()
            assert (np.linalg.eigvalsh(estimate.covariance) > -1e-12).all()
    assert jumps(estimates, source) == []


def error_percent(estimates: list[OdometryEstimate], source: OdometryInput) -> float:
    """ATE after Sim3 in percent of the path."""
    trajectories, _ = trajectories_of_run(source, OdometryRun(estimates, np.zeros(len(estimates))))
    return 100 * ate(trajectories, with_scale=True)[0] / path_length(trajectories.truth)


def black(frame):
    return with_image(frame, np.zeros_like(frame.image))


def test_a_walk_is_tracked_from_the_second_frames_on_and_repeats_byte_for_byte(source):
    first, second = run(source.frames[:60]), run(source.frames[:60])
    check(first, source)
    assert states(first)[4:] == ["tracking"] * 56
    assert error_percent(first, source) < 0.5
    for a, b in zip(first[4:], second[4:]):
        assert a.T_odom_cam.tobytes() == b.T_odom_cam.tobytes()
        assert a.covariance.tobytes() == b.covariance.tobytes()


@pytest.mark.parametrize("level", [0, 255])
def test_a_blackout_of_half_a_second_is_lost_and_then_found_again(source, level):
    def damage(index, frame):
        return with_image(frame, np.full_like(frame.image, level)) if 50 <= index < 58 else frame

    estimates = run(source.frames[:85], change=damage)
    check(estimates, source)
    assert states(estimates)[50:58] == ["lost"] * 8
    assert states(estimates)[60:] == ["tracking"] * 25
    # Found in the old map, so that the pose after it fits the poses before: one trajectory, one scale.
    assert error_percent(estimates, source) < 0.7


def test_after_a_long_blackout_a_new_map_goes_on_from_the_last_pose(source):
    estimates = run(
        source.frames, replace(SETTINGS, relocalise_s=0.5), lambda i, f: black(f) if 40 <= i < 75 else f
    )
    check(estimates, source)
    assert set(states(estimates)[40:75]) == {"lost"} and states(estimates)[-1] == "tracking"
    before = estimates[39].T_odom_cam
    after = next(e for e in estimates[75:] if e.T_odom_cam is not None).T_odom_cam
    # The first pose of the new map is near the last of the old one: at most its baseline away.
    step = np.linalg.norm(estimates[39].T_odom_cam[:3, 3] - estimates[34].T_odom_cam[:3, 3])
    assert np.linalg.norm(after[:3, 3] - before[:3, 3]) < 2 * step


@pytest.mark.parametrize("kept", [2, 3])
def test_dropped_frames(source, kept):
    estimates = run(source.frames[::kept])
    check(estimates, source)
    assert set(states(estimates)[4:]) == {"tracking"}
    assert error_percent(estimates, source) < 0.8


def test_a_gap_of_one_second(source):
    estimates = run(source.frames[:50] + source.frames[65:])
    check(estimates, source)
    assert states(estimates)[-1] == "tracking"
    assert error_percent(estimates, source) < 2.0


def test_repeated_pictures_are_no_motion(source):
    frozen = source.frames[50]
    frames = [
        f if not 50 <= i < 65 else replace(frozen, stamp_ns=f.stamp_ns) for i, f in enumerate(source.frames)
    ]
    estimates = run(frames)
    still = np.array([e.T_odom_cam[:3, 3] for e in estimates[52:65]])
    assert np.ptp(still, axis=0).max() < 0.02 * np.linalg.norm(still[-1] - estimates[20].T_odom_cam[:3, 3])
    assert states(estimates)[-1] == "tracking"


def test_the_same_stamp_twice_does_no_harm(source):
    estimates = run([f for f in source.frames[:50] for _ in (0, 1)])
    check(estimates, source)
    assert states(estimates)[-1] == "tracking" and error_percent(estimates, source) < 0.8


def test_a_camera_that_sees_nothing_has_no_pose(source):
    assert set(states(run([black(f) for f in source.frames[:20]]))) == {"initialising"}


def test_jumps_of_exposure(source):
    gains = (1.0, 0.5, 1.6)
    estimates = run(source.frames, change=lambda i, f: brighter(f, gains[(i // 20) % 3]))
    check(estimates, source)
    assert set(states(estimates)[4:]) == {"tracking"}
    assert error_percent(estimates, source) < 1.0


def test_motion_blur(source):
    estimates = run(source.frames, change=lambda i, f: blurred(f, 25) if 50 <= i < 58 else f)
    check(estimates, source)
    assert states(estimates)[-1] == "tracking" and error_percent(estimates, source) < 1.0


def test_another_image_size_starts_a_new_map_of_the_same_unit(source):
    def smaller(index, frame):
        if index < 55:
            return frame
        image = cv2.resize(frame.image, (240, 180), interpolation=cv2.INTER_AREA)
        return replace(frame, image=image, camera=resized_camera(frame.camera, (240, 180)), _resized={})

    estimates = run(source.frames, change=smaller)
    check(estimates, source)
    assert states(estimates)[55] == "initialising" and states(estimates)[-1] == "tracking"
    assert error_percent(estimates, source) < 2.0


def test_stamps_that_go_back_start_over_where_odom_starts(source):
    twice = run(source.frames[:40] + source.frames[:40])
    check(twice[:40], source)
    assert states(twice)[40] == "initialising"
    once = next(e for e in twice if e.T_odom_cam is not None)
    again = next(e for e in twice[40:] if e.T_odom_cam is not None)
    assert np.linalg.norm(again.T_odom_cam[:3, 3]) == pytest.approx(
        np.linalg.norm(once.T_odom_cam[:3, 3]), rel=0.1
    )


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_focal_length_wrong_by_a_tenth_is_said(source, factor):
    estimates = run([with_camera(f, factor) for f in source.frames])
    check(estimates, source)
    assert states(estimates)[-1] == "degraded" and "calibrate" in estimates[-1].message


@pytest.mark.parametrize(("per_frame_deg", "steps"), [(3, 8), (10, 3), (16, 3)])
def test_turning_on_the_spot(per_frame_deg, steps):
    turn = rendered(turn_on_the_spot(35, steps, per_frame_deg, 25), "turn")
    estimates = run(turn.frames)
    check(estimates, turn)
    assert set(states(estimates)[4:]) <= {"tracking", "degraded"} and states(estimates)[-1] == "tracking"
    assert error_percent(estimates, turn) < 1.0


def test_the_old_map_is_found_again_even_after_a_new_one_was_tried():
    turn = rendered(turn_on_the_spot(35, 12, 5.0, 15), "turn away")
    settings = replace(SETTINGS, relocalise_s=0.2)
    estimates = run(turn.frames, settings, lambda i, f: black(f) if 38 <= i < 50 else f)
    check(estimates, turn)
    assert "lost" in states(estimates)[45:55] and states(estimates)[-1] == "tracking"
    assert error_percent(estimates, turn) < 1.0


def test_a_camera_at_rest_makes_no_map(source):
    still, rng = source.frames[0], np.random.default_rng(0)
    noisy = [
        replace(
            with_image(
                still, np.clip(still.image + rng.normal(0, 4, still.image.shape), 0, 255).astype(np.uint8)
            ),
            stamp_ns=still.stamp_ns + i * 66 * MS,
        )
        for i in range(40)
    ]
    assert set(states(run(noisy))) == {"initialising"}
