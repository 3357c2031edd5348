"""The whole recogniser on a rendered building: its start, and the same rooms a lap later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap, PlaceResult
from vision_nodes.errors import ConfigError, FrameError, MapError
from vision_nodes.places.recogniser import PlaceRecogniser
from vision_nodes.places.rigid import angle_between, inverse, rotation_exp
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.preprocess.frame import Frame
from vision_nodes.simulation.world import World

CAMERA = CameraModel((640, 480), np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]]))
SETTINGS = PlaceSettings(
    lock_step=True, keyframe_distance_depths=0.0, keyframe_distance_m=0.0, max_features=500
)


def describe(frame: Frame) -> np.ndarray:
    """Edge orientations in an 8 x 6 grid: a classical global descriptor, (384,) float32."""
    gray = cv2.resize(frame.gray(), (64, 48), interpolation=cv2.INTER_AREA).astype(np.float32)
    gx, gy = cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    angle = (np.arctan2(gy, gx) % np.pi / np.pi * 8).astype(int).clip(0, 7)
    rows, columns = np.mgrid[:48, :64]
    histogram = np.zeros((6, 8, 8), np.float32)
    np.add.at(histogram, (rows // 8, columns // 8, angle), np.hypot(gx, gy))
    histogram = np.sqrt(histogram)
    histogram /= np.linalg.norm(histogram, axis=2, keepdims=True) + 1e-3
    return (histogram - histogram.mean()).ravel()


def black(stamp_ns: int = 0, camera: CameraModel | None = CAMERA) -> Frame:
    return Frame(stamp_ns, "camera", np.zeros((480, 640, 3), np.uint8), (640, 480), camera, camera)


@pytest.fixture(scope="module")
def laps() -> tuple[list[Frame], list[np.ndarray], np.ndarray]:
    """Frames and true poses: 8 of the first 2 s, 8 of the second pass; depth of the last."""
    world = World.indoor(0)
    drive = world.drive(15.0, 25.0)
    start = drive.T_world_cam[0]
    away = np.linalg.norm(drive.T_world_cam[:, :3, 3] - start[:3, 3], axis=1)
    again = 150 + int(np.argmin(away[150:]))
    indices = [*range(0, 32, 4), *range(again, min(again + 32, len(drive)), 4)]
    frames, poses = [], []
    for index in indices:
        view = world.render(drive.T_world_cam[index], CAMERA)
        stamp = int(drive.stamps_ns[index])
        frames.append(Frame(stamp, "camera", view.image, (640, 480), CAMERA, CAMERA))
        poses.append(inverse(start) @ drive.T_world_cam[index])
    return frames, poses, view.depth_m


@pytest.fixture
def recogniser() -> Iterator[PlaceRecogniser]:
    with PlaceRecogniser(SETTINGS) as built:
        yield built


def run(
    recogniser: PlaceRecogniser, frames: list[Frame], poses: list[np.ndarray | None]
) -> list[PlaceResult | None]:
    return [recogniser.process(f, describe, T) for f, T in zip(frames, poses)]


def test_black_images_give_empty_results(recogniser: PlaceRecogniser) -> None:
    rng = np.random.default_rng(0)
    for k in range(3):
        result = recogniser.process(black(k * 10**9), rng.normal(0, 1, 16), None)
        assert result is not None and result.keyframe_id == k and result.closure is None
        assert result.candidate_ids == ()
    assert recogniser.T_map_odom is None and recogniser.keyframe_poses() == {} and recogniser.edges() == []


def test_descriptor_runs_for_keyframes_only(laps: tuple) -> None:
    frames, poses, _ = laps
    calls: list[int] = []

    def counted(frame: Frame) -> np.ndarray:
        calls.append(frame.stamp_ns)
        return describe(frame)

    with PlaceRecogniser(PlaceSettings(lock_step=True)) as recogniser:
        standing = [
            recogniser.process(replace(frames[0], stamp_ns=k * 10**8), counted, poses[0]) for k in range(20)
        ]
        assert [r is not None for r in standing] == [True] + [False] * 19 and len(calls) == 1
        turned = poses[0].copy()
        turned[:3, :3] = rotation_exp(np.deg2rad([0, 15, 0]))
        assert recogniser.process(replace(frames[0], stamp_ns=30 * 10**8), counted, turned) is not None


def test_second_pass_closes_the_loop_exactly_and_corrects_the_map(
    laps: tuple, recogniser: PlaceRecogniser
) -> None:
    frames, poses, _ = laps
    slipped = np.eye(4)
    slipped[:3, 3] = 0.15, 0.02, -0.1  # what odometry lost on the way round
    odometry = poses[:8] + [slipped @ T for T in poses[8:]]
    results = run(recogniser, frames, odometry)
    assert all(r.closure is None and r.candidate_ids == () for r in results[:8])
    closures = [r.closure for r in results[8:] if r.closure is not None]
    assert len(closures) >= 6
    for closure in closures:
        T = inverse(poses[closure.matched_id]) @ poses[closure.query_id]
        assert np.linalg.norm(closure.T_matched_query[:3, 3] - T[:3, 3]) < 0.03
        assert np.rad2deg(angle_between(closure.T_matched_query, T)) < 0.5
        assert np.linalg.eigvalsh(closure.covariance)[0] > 0 and closure.inliers >= SETTINGS.min_inliers
    corrected = recogniser.keyframe_poses()
    assert max(np.linalg.norm(corrected[k][:3, 3] - poses[k][:3, 3]) for k in range(16)) < 0.05
    assert recogniser.keyframe_image(closures[0]).shape == (120, 160, 3)
    assert recogniser.keyframe_image(None) is None and recogniser.keyframe_image(999) is None


def test_replay_gives_the_same_bytes(laps: tuple) -> None:
    frames, poses, _ = laps
    outputs = []
    for _ in range(2):
        with PlaceRecogniser(SETTINGS) as recogniser:
            results = run(recogniser, frames[4:12], poses[4:12])
            text = repr([(r.candidate_ids, r.candidate_scores, r.closure, r.extra) for r in results])
            graph = b"".join(T.tobytes() for T in recogniser.keyframe_poses().values())
            outputs.append((text, graph, recogniser.T_map_odom.tobytes()))
    assert outputs[0] == outputs[1]


def test_without_odometry_places_are_still_found(laps: tuple, recogniser: PlaceRecogniser) -> None:
    """Depth in metres stands in for triangulation; no graph, no map -> odom."""
    frames, _, depth = laps
    for k, frame in enumerate(frames[8:]):
        recogniser.process(replace(frame, stamp_ns=k * 10**9), describe, None)
    again = replace(frames[-1], stamp_ns=100 * 10**9)
    result = recogniser.process(again, describe, None, DepthMap(depth, metric=True))
    assert result.candidate_ids[0] == 7 and result.candidate_scores[0] > 0.99
    assert recogniser.T_map_odom is None and recogniser.edges() == []


def test_uncalibrated_frames_are_ranked_but_never_verified(laps: tuple, recogniser: PlaceRecogniser) -> None:
    frames, _, _ = laps
    for k, frame in enumerate([*frames[:4], frames[2]]):
        blind = replace(frame, stamp_ns=k * 10**10, camera=None, source_camera=None)
        result = recogniser.process(blind, describe, None)
    assert result.candidate_ids[0] == 2 and result.closure is None and result.extra == {}


def test_lost_odometry_breaks_the_chain_and_a_closure_mends_it(
    laps: tuple, recogniser: PlaceRecogniser
) -> None:
    frames, poses, _ = laps
    carried = np.eye(4)
    carried[:3, 3] = 5.0, 0.0, 2.0  # odometry went on from elsewhere
    odometry = [*poses[:8], None, *[carried @ T for T in poses[9:]]]
    results = run(recogniser, frames, odometry)
    assert (7, 9, False) not in recogniser.edges() and 8 not in recogniser.keyframe_poses()
    assert any(r.closure is not None for r in results[9:])
    corrected = recogniser.keyframe_poses()
    assert np.linalg.norm(corrected[15][:3, 3] - poses[15][:3, 3]) < 0.05


def test_a_moment_lost_is_joined_but_no_revisit(laps: tuple, recogniser: PlaceRecogniser) -> None:
    frames, poses, _ = laps
    carried = np.eye(4)
    carried[:3, 3] = 0.3, 0.0, 0.5
    results = run(recogniser, frames[:8], [*poses[:3], None, *[carried @ T for T in poses[4:8]]])
    assert all(r.closure is None for r in results)
    assert any(is_closure for *_, is_closure in recogniser.edges())
    assert np.linalg.norm(recogniser.keyframe_poses()[7][:3, 3] - poses[7][:3, 3]) < 0.05


def test_stamps_going_back_start_another_stretch(laps: tuple, recogniser: PlaceRecogniser) -> None:
    frames, poses, _ = laps
    run(recogniser, frames[:6], poses[:6])
    results = run(recogniser, frames[:6], poses[:6])  # the bag loops
    assert (5, 6, False) not in recogniser.edges()
    assert [r.keyframe_id for r in results] == list(range(6, 12))
    assert results[-1].closure is not None and abs(results[-1].closure.matched_id - 5) <= 1


@pytest.mark.parametrize("bad", [np.full(384, np.nan), np.zeros(384), np.ones(7), np.zeros(0)])
def test_bad_descriptors_are_refused_and_change_nothing(
    laps: tuple, recogniser: PlaceRecogniser, bad: np.ndarray
) -> None:
    frames, poses, _ = laps
    run(recogniser, frames[:2], poses[:2])
    with pytest.raises(FrameError):
        recogniser.process(frames[2], bad.astype(np.float32), poses[2])
    assert recogniser.keyframe_count == 2
    assert recogniser.process(frames[3], describe, poses[3]).keyframe_id == 2


@pytest.mark.parametrize(
    "bad", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.eye(3), np.diag([1.0, 1, -1, 1])]
)
def test_bad_poses_are_refused(laps: tuple, recogniser: PlaceRecogniser, bad: np.ndarray) -> None:
    with pytest.raises(FrameError):
        recogniser.process(laps[0][0], describe, bad)
    assert recogniser.keyframe_count == 0


def test_saved_map_answers_without_a_hint(laps: tuple, recogniser: PlaceRecogniser, tmp_path: Path) -> None:
    frames, poses, _ = laps
    run(recogniser, frames[:8], poses[:8])
    recogniser.save_map(tmp_path / "rooms.map")
    with PlaceRecogniser(SETTINGS) as other:
        assert other.localize(frames[9], describe).result.candidate_ids == ()
        other.load_map(tmp_path / "rooms.map")
        assert other.keyframe_count == 8 and other.T_map_odom is None
        for k in (8, 10, 12):
            answer = other.localize(frames[k], describe)
            assert answer.result.keyframe_id == -1 and answer.result.closure is not None
            assert np.linalg.norm(answer.T_map_cam[:3, 3] - poses[k][:3, 3]) < 0.03
            assert np.linalg.eigvalsh(answer.covariance)[0] > 0
        assert other.keyframe_count == 8
        for name, T in recogniser.keyframe_poses().items():
            np.testing.assert_array_equal(other.keyframe_poses()[name], T)


@pytest.mark.parametrize("mode", ["localisation", "mapping"])
def test_odometry_finds_its_place_in_a_loaded_map(
    laps: tuple, recogniser: PlaceRecogniser, tmp_path: Path, mode: str
) -> None:
    frames, poses, _ = laps
    run(recogniser, frames[:8], poses[:8])
    recogniser.save_map(tmp_path / "rooms.map")
    T_odom_map = inverse(poses[8])  # this session's odometry starts at its own first camera
    with PlaceRecogniser(SETTINGS) as other:
        other.load_map(tmp_path / "rooms.map")
        other.set_mode(mode)
        results = run(other, frames[8:], [T_odom_map @ T for T in poses[8:]])
        assert results[0].closure is None  # one closure alone moves nothing
        assert sum(r.closure is not None for r in results) >= 4
        error = other.T_map_odom @ T_odom_map
        assert np.linalg.norm(error[:3, 3]) < 0.05 and np.rad2deg(angle_between(error, np.eye(4))) < 0.5
        stored = 16 if mode == "mapping" else 8
        assert other.keyframe_count == stored
        assert results[-1].keyframe_id == (15 if mode == "mapping" else -1)


def test_unusable_maps_and_modes_change_nothing(
    laps: tuple, recogniser: PlaceRecogniser, tmp_path: Path
) -> None:
    frames, poses, _ = laps
    run(recogniser, frames[:2], poses[:2])
    recogniser.save_map(tmp_path / "a.map")
    broken = bytearray((tmp_path / "a.map").read_bytes())
    broken[-1] ^= 1
    (tmp_path / "broken.map").write_bytes(broken)
    for name in ("broken.map", "missing.map"):
        with pytest.raises(MapError):
            recogniser.load_map(tmp_path / name)
    with pytest.raises(ConfigError):
        recogniser.set_mode("exploring")
    assert recogniser.keyframe_count == 2 and recogniser.mode == "mapping"


def test_memory_stays_bounded(laps: tuple) -> None:
    frames, poses, _ = laps
    with PlaceRecogniser(replace(SETTINGS, max_keyframes=12)) as recogniser:
        results = run(recogniser, frames, poses)
        assert recogniser.keyframe_count == 12
        assert recogniser.memory_bytes < 12 * 120_000
        assert results[-1].closure is not None
        assert all(i in recogniser.keyframe_poses() for a, b, _ in recogniser.edges() for i in (a, b))
