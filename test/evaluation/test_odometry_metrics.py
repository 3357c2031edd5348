"""Trajectory errors: exact alignment, figures by hand, and evo as the independent implementation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vision_nodes.evaluation.alignment import align
from vision_nodes.evaluation.odometry import (
    Trajectories,
    anees,
    ate,
    path_length,
    relative_errors,
    score_odometry,
    segment_errors,
)

EVO = Path(sys.executable).with_name("evo_ape")


def poses(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    T = np.tile(np.eye(4), (len(t), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = R, t
    return T


def noisy_run(seed: int = 0, count: int = 60) -> Trajectories:
    """A curved path, and the same in another frame, at another scale, with noise."""
    rng = np.random.default_rng(seed)
    s = np.linspace(0, 4 * np.pi, count)
    t = np.stack([3 * np.cos(s), 2 * np.sin(s) + 0.3 * s, 0.2 * s], axis=1)
    R = Rotation.from_euler("zyx", np.stack([s, 0.2 * np.sin(s), 0.1 * np.cos(s)], axis=1)).as_matrix()
    truth = poses(R, t)
    noise = poses(
        Rotation.from_rotvec(rng.normal(0, 0.02, (count, 3))).as_matrix(), rng.normal(0, 0.03, (count, 3))
    )
    moved = poses(Rotation.from_euler("xyz", [0.4, -0.7, 1.2]).as_matrix()[None], np.array([[5.0, -2, 1]]))
    estimate = np.linalg.inv(moved) @ truth @ noise
    estimate[:, :3, 3] *= 0.6
    return Trajectories(np.arange(count, dtype=np.int64) * 100_000_000, estimate, truth)


@settings(deadline=None, max_examples=40)
@given(
    rotation=st.tuples(*[st.floats(-3, 3)] * 3),
    translation=st.tuples(*[st.floats(-50, 50)] * 3),
    scale=st.floats(0.05, 20),
    seed=st.integers(0, 1000),
)
def test_umeyama_finds_the_exact_similarity(rotation, translation, scale, seed):
    points = np.random.default_rng(seed).normal(0, 2, (12, 3))
    R, t = Rotation.from_rotvec(rotation).as_matrix(), np.array(translation)
    found = align(points, scale * points @ R.T + t, with_scale=True)
    np.testing.assert_allclose(found.R, R, atol=1e-8)
    np.testing.assert_allclose(found.t, t, atol=1e-6)
    assert found.scale == pytest.approx(scale, rel=1e-9)


def test_rigid_alignment_is_scipys_rotation_fit():
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    found = align(source, target, with_scale=False)
    expected, _ = Rotation.align_vectors(target - target.mean(0), source - source.mean(0))
    np.testing.assert_allclose(found.R, expected.as_matrix(), atol=1e-7)
    assert found.scale == 1.0


def test_a_mirrored_cloud_is_still_fitted_by_a_rotation():
    points = np.random.default_rng(2).normal(size=(15, 3))
    assert np.linalg.det(align(points, points * [1, 1, -1], with_scale=True).R) == pytest.approx(1)


def test_two_points_are_refused():
    with pytest.raises(ValueError, match="at least 3"):
        align(np.zeros((2, 3)), np.zeros((2, 3)), with_scale=True)


def test_scale_alone_is_no_error_after_sim3():
    run = noisy_run()
    exact = Trajectories(run.stamps_ns, run.truth.copy(), run.truth)
    exact.estimate[:, :3, 3] *= 0.5
    figures = score_odometry(exact, 60, 60)
    assert figures["ate_sim3_m"] == pytest.approx(0, abs=1e-9)
    assert figures["scale_error"] == pytest.approx(0.5)
    assert figures["ate_se3_m"] > 0.5
    assert figures["rpe_translation_m"] == pytest.approx(0, abs=1e-9)
    assert figures["tracked_fraction"] == 1.0


def test_one_or_no_pose_gives_counts_only():
    none = Trajectories(np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 4, 4)))
    assert score_odometry(none, 5, 0) == {"frames": 5, "tracked": 0, "tracked_fraction": 0.0, "associated": 0}
    assert score_odometry(none, 0, 0)["tracked_fraction"] is None


def test_relative_error_by_hand():
    truth = poses(np.eye(3)[None], np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]))
    estimate = poses(np.eye(3)[None], np.array([[0.0, 0, 0], [1, 0.5, 0], [2, 0.5, 0]]))
    estimate[2, :3, :3] = Rotation.from_euler("z", 10, degrees=True).as_matrix()
    translation, rotation = relative_errors(Trajectories(np.arange(3), estimate, truth), 1)
    np.testing.assert_allclose(translation, [0.5, 0], atol=1e-12)
    np.testing.assert_allclose(rotation, [0, 10], atol=1e-6)
    assert path_length(truth) == pytest.approx(2)


def test_anees_is_one_for_errors_drawn_from_their_covariance():
    rng = np.random.default_rng(3)
    A = rng.normal(size=(6, 6))
    covariance = A @ A.T + np.eye(6)
    errors = rng.multivariate_normal(np.zeros(6), covariance, 4000)
    covariances = np.tile(covariance, (len(errors), 1, 1))
    assert anees(errors, covariances) == pytest.approx(1, abs=0.05)
    assert anees(2 * errors, covariances) == pytest.approx(4, abs=0.2)


def test_segment_errors_by_hand():
    """300 m straight on at 1 m per frame; the estimate is 2 % long and turns 0.01 degrees per frame."""
    t = np.zeros((301, 3))
    t[:, 0] = np.arange(301)
    truth = poses(np.eye(3)[None], t)
    longer = Trajectories(np.arange(301), poses(np.eye(3)[None], 1.02 * t), truth)
    translation, rotation = segment_errors(longer)
    assert (translation, rotation) == pytest.approx((2.0, 0.0), abs=0.03)  # one frame beyond each length
    assert segment_errors(longer, scale=1 / 1.02) == pytest.approx((0.0, 0.0), abs=1e-5)
    turning = Rotation.from_euler("z", 0.01 * np.arange(301)[:, None], degrees=True).as_matrix()
    assert segment_errors(Trajectories(np.arange(301), poses(turning, t), truth))[1] == pytest.approx(
        0.01, rel=0.02
    )
    assert segment_errors(Trajectories(np.arange(50), truth[:50], truth[:50])) is None


def write_tum(path: Path, stamps_ns: np.ndarray, T: np.ndarray) -> None:
    quaternions = Rotation.from_matrix(T[:, :3, :3]).as_quat()
    rows = np.column_stack([stamps_ns * 1e-9, T[:, :3, 3], quaternions])
    path.write_text("\n".join(" ".join(f"{v:.12f}" for v in row) for row in rows) + "\n")


def evo_rmse(tool: str, folder: Path, *options: str) -> float:
    """RMSE of an evo command as a user would run it; evo is GPL and therefore never imported."""
    out = folder / f"{tool}{''.join(options)}.zip"
    command = [
        str(EVO.with_name(tool)),
        "tum",
        "truth.txt",
        "estimate.txt",
        *options,
        "--save_results",
        str(out),
    ]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(out) as archive:
        return float(json.loads(archive.read("stats.json"))["rmse"])


@pytest.mark.skipif(not (EVO.exists() or shutil.which("evo_ape")), reason="evo is not installed (test extra)")
def test_ate_and_rpe_agree_with_evo(tmp_path: Path):
    run = noisy_run(5)
    write_tum(tmp_path / "truth.txt", run.stamps_ns, run.truth)
    write_tum(tmp_path / "estimate.txt", run.stamps_ns, run.estimate)
    sim3, alignment, _ = ate(run, with_scale=True)
    translation, rotation = relative_errors(run, 1, alignment.scale)
    rms = [float(np.sqrt((errors**2).mean())) for errors in (translation, rotation)]
    assert evo_rmse("evo_ape", tmp_path, "-as") == pytest.approx(sim3, rel=1e-6)
    assert evo_rmse("evo_ape", tmp_path, "-a") == pytest.approx(ate(run, with_scale=False)[0], rel=1e-6)
    assert evo_rmse("evo_rpe", tmp_path, "-as") == pytest.approx(rms[0], rel=1e-6)
    assert evo_rmse("evo_rpe", tmp_path, "-as", "-r", "angle_deg") == pytest.approx(rms[1], rel=1e-4)
