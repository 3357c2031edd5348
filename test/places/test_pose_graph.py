"""Pose graph: against SciPy on a small graph, and against everything that could fold the map."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from place_scenes import pose
from scipy.optimize import least_squares

from vision_nodes.datatypes import LoopClosure
from vision_nodes.places.closure_gate import Verdict
from vision_nodes.places.graph_problem import graph_problem
from vision_nodes.places.graph_solver import UNIT_SIGMA, GraphProblem, solve_graph, solve_scales
from vision_nodes.places.pose_graph import PoseGraph, graph_worker
from vision_nodes.places.rigid import difference, inverse, retract, rotation_log
from vision_nodes.places.settings import GraphSettings

LOCK_STEP = GraphSettings(lock_step=True)
TIGHT = np.diag(np.repeat([0.02**2, np.deg2rad(0.5) ** 2], 3))
DEPTH = 4.0
SOLVER = graph_worker(60.0)


def square_drive(side_m: float = 10.0, step_m: float = 1.0, laps: float = 1.2) -> list[np.ndarray]:
    """True camera poses along a square, looking ahead."""
    poses, count = [], int(4 * side_m * laps / step_m)
    for k in range(count):
        lap = (k * step_m) % (4 * side_m)
        edge, along = int(lap // side_m), lap % side_m
        corner = pose()
        for _ in range(edge):
            corner = corner @ pose(z=side_m) @ pose(yaw=90)
        poses.append(corner @ pose(z=along))
    return poses


def drifted(true: list[np.ndarray], yaw_deg_per_step: float = 0.1, seed: int = 0) -> list[np.ndarray]:
    """Odometry of a drive: every step turns a little too far and is a little noisy."""
    rng = np.random.default_rng(seed)
    poses = [true[0]]
    for a, b in pairwise(true):
        step = retract(inverse(a) @ b, rng.normal(0, 1, 6) * np.repeat([0.005, 0.0005], 3))
        poses.append(poses[-1] @ step @ pose(yaw=yaw_deg_per_step))
    return poses


def closure(
    true: list[np.ndarray], matched: int, query: int, offset: np.ndarray | None = None
) -> LoopClosure:
    T = inverse(true[matched]) @ true[query]
    return LoopClosure(query, matched, T if offset is None else T @ offset, TIGHT, 60, 0.9)


@pytest.fixture(scope="module", autouse=True)
def one_solver() -> Iterator[None]:
    """One solver process for all graphs here: each start costs as much as a hundred solves."""
    yield
    SOLVER.close()


def filled(odometry: list[np.ndarray], settings: GraphSettings = LOCK_STEP) -> PoseGraph:
    graph = PoseGraph(settings, worker=SOLVER)
    for k, T in enumerate(odometry):
        graph.update(k * 10**9, 0, T)
        graph.add_keyframe(k, 0, T, DEPTH)
    return graph


def worst_error_m(graph: PoseGraph, true: list[np.ndarray]) -> float:
    return max(float(np.linalg.norm(T[:3, 3] - true[i][:3, 3])) for i, T in graph.keyframe_poses().items())


def test_empty_graph_has_no_poses_and_starts_no_process() -> None:
    graph = PoseGraph(LOCK_STEP)  # with a worker of its own
    graph.update(0, None, None)
    assert graph.T_map_odom is None and graph.keyframe_poses() == {} and graph.edges() == []
    assert graph.solver_pid is None


def test_first_segment_defines_the_map() -> None:
    graph = filled([pose(z=0.5 * k) for k in range(3)])
    np.testing.assert_allclose(graph.T_map_odom, np.eye(4))
    assert graph.edges() == [(0, 1, False), (1, 2, False)]


def shrinking(true: list[np.ndarray], log_drift_per_step: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Odometry whose unit of length grows: its steps get shorter. Also log(metre / unit) of every pose."""
    units = log_drift_per_step * np.arange(len(true))
    poses = [true[0]]
    for k, (a, b) in enumerate(pairwise(true)):
        step = inverse(a) @ b
        step[:3, 3] *= np.exp(-(units[k] + units[k + 1]) / 2)
        poses.append(poses[-1] @ step)
    return poses, units


def closure_in_units(true: list[np.ndarray], units: np.ndarray, matched: int, query: int) -> LoopClosure:
    made = closure(true, matched, query)
    made.T_matched_query[:3, 3] *= np.exp(-units[matched])
    return replace(made, log_scale=units[query] - units[matched], log_scale_sigma=0.03)


def similarity_error_m(graph: PoseGraph, true: list[np.ndarray]) -> float:
    """Largest distance after the best similarity transform."""
    found = np.array([T[:3, 3] for _, T in sorted(graph.keyframe_poses().items())])
    truth = np.array([T[:3, 3] for T in true])
    p, q = found - found.mean(0), truth - truth.mean(0)
    U, S, Vt = np.linalg.svd(q.T @ p)
    D = np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))])
    return float(np.linalg.norm(S @ D.diagonal() / (p**2).sum() * p @ (U @ D @ Vt).T - q, axis=1).max())


def test_closures_that_measured_the_units_undo_the_drift_of_scale() -> None:
    """25 % over a lap: poses alone cannot absorb it, the units of the closures can."""
    true = square_drive()
    odometry, units = shrinking(true, 0.006)
    errors = {}
    for told in (False, True):
        graph = filled(odometry, replace(LOCK_STEP, odometry_drift=0.2))
        for query in range(41, 48):
            made = closure_in_units(true, units, query - 40, query)
            if not told:
                made = replace(made, log_scale_sigma=float("inf"))
            graph.state.accept(made)
        graph._dirty = True
        graph.update(10**12, 0, odometry[-1])
        errors[told] = similarity_error_m(graph, true)
    assert errors[True] < 0.35 and errors[True] < 0.3 * errors[False]
    graph.add_keyframe(
        len(odometry), 0, odometry[-1] @ pose(z=1.0), DEPTH
    )  # the next step is as long in the map
    a, b = (graph.keyframe_poses()[k] for k in (len(odometry) - 1, len(odometry)))
    last = graph.state.nodes[len(odometry) - 1]
    assert last.log_scale > 0.05  # the unit here is longer than the map's, the mean one
    assert np.linalg.norm(b[:3, 3] - a[:3, 3]) == pytest.approx(np.exp(last.log_scale))


def test_units_are_the_least_squares_of_all_that_is_known_about_them() -> None:
    true = square_drive()
    odometry, units = shrinking(true, 0.006)
    graph = filled(odometry)
    for query in (41, 44):
        graph.state.accept(closure_in_units(true, units, query - 40, query))
    problem = graph_problem(graph.state)[1]
    rows, values = [], []
    for (a, b), sigma in zip(problem.odometry_pairs, problem.odometry_scale_sigmas):
        rows.append((np.eye(len(true))[b] - np.eye(len(true))[a]) / sigma)
        values.append(0.0)
    for (m, q), ratio in zip(problem.closure_pairs, problem.closure_log_scales):
        rows.append((np.eye(len(true))[q] - np.eye(len(true))[m]) / 0.03)
        values.append(ratio / 0.03)
    rows += list(np.eye(len(true)) / (UNIT_SIGMA * np.sqrt(len(true))))
    expected = np.linalg.lstsq(np.array(rows), np.array([*values, *np.zeros(len(true))]), rcond=None)[0]
    np.testing.assert_allclose(solve_scales(problem), expected, atol=1e-6)
    assert expected[0] < 0 < expected[-1]  # the mean unit is the map's
    unknown = replace(problem, closure_scale_sigmas=np.full(2, np.inf))
    assert not solve_scales(unknown).any()


def test_one_wrong_unit_does_not_move_the_others() -> None:
    true = square_drive()
    odometry, units = shrinking(true, 0.0)
    graph = filled(odometry)
    for query in range(41, 48):
        made = closure_in_units(true, units, query - 40, query)
        graph.state.accept(replace(made, log_scale=1.0) if query == 44 else made)
    assert np.abs(solve_scales(graph_problem(graph.state)[1])).max() < 0.03


def test_solver_agrees_with_scipy() -> None:
    """Six poses in a ring with one closure: the same minimum as a general least-squares solver."""
    pytest.importorskip("gtsam")
    true = [pose(x=np.sin(a), z=1 - np.cos(a), yaw=np.rad2deg(a)) for a in np.linspace(0, 5, 6)]
    odometry = drifted(true, yaw_deg_per_step=1.5, seed=3)
    pairs = np.array([(k, k + 1) for k in range(5)])
    steps = np.stack([inverse(odometry[a]) @ odometry[b] for a, b in pairs])
    sigmas = np.tile([0.05, 0.02], (5, 1))
    loop = closure(true, 0, 5)
    problem = GraphProblem(
        np.stack(odometry), pairs, steps, sigmas, np.array([[0, 5]]), loop.T_matched_query[None],
        loop.covariance[None] * 25, np.array([0]), np.zeros(5), np.zeros(1), np.full(1, np.inf),
    )  # fmt: skip

    def log_error(T_measured: np.ndarray, T_found: np.ndarray) -> np.ndarray:
        E = inverse(T_measured) @ T_found  # the solver's own error: right-sided, small here
        return np.concatenate([rotation_log(E[:3, :3]), E[:3, 3]])

    def residuals(x: np.ndarray) -> np.ndarray:
        poses = [odometry[0]] + [retract(T, d) for T, d in zip(odometry[1:], x.reshape(5, 6))]
        parts = [
            log_error(T, inverse(poses[a]) @ poses[b]) / np.repeat([s[1], s[0]], 3)
            for (a, b), T, s in zip(pairs, steps, sigmas)
        ]
        loop_error = log_error(loop.T_matched_query, inverse(poses[0]) @ poses[5])
        parts.append(loop_error / np.repeat([np.deg2rad(0.5) * 5, 0.02 * 5], 3))
        return np.concatenate(parts)

    best = least_squares(residuals, np.zeros(30))
    expected = [odometry[0]] + [retract(T, d) for T, d in zip(odometry[1:], best.x.reshape(5, 6))]
    found = solve_graph(problem).T_map_cam
    for a, b in zip(expected, found):
        assert np.abs(difference(a, b)).max() < 5e-3


def test_closing_the_loop_removes_the_drift() -> None:
    true = square_drive()
    odometry = drifted(true, 0.2)
    graph = filled(odometry)
    before = worst_error_m(graph, true)
    for query in range(41, 47):
        assert graph.add_closure(closure(true, query - 40, query)) in (Verdict.ACCEPTED, Verdict.PENDING)
    graph.update(47 * 10**9, 0, odometry[-1])
    assert before > 0.8 and worst_error_m(graph, true) < 0.4 * before
    assert sum(is_closure for *_, is_closure in graph.edges()) == 6


def test_map_to_odom_moves_smoothly_and_arrives() -> None:
    true = square_drive()
    odometry = drifted(true)
    graph = filled(odometry)
    for query in range(41, 47):
        graph.add_closure(closure(true, query - 40, query))
    previous = graph.T_map_odom @ odometry[-1]
    steps = []
    for k in range(200):
        graph.update(48 * 10**9 + k * 50_000_000, 0, odometry[-1])
        now = graph.T_map_odom @ odometry[-1]
        steps.append(float(np.linalg.norm(now[:3, 3] - previous[:3, 3])))
        previous = now
    assert max(steps[1:]) < 0.12  # at 20 Hz
    np.testing.assert_allclose(previous, graph.keyframe_poses()[47], atol=2e-3)


@pytest.mark.parametrize("offset", [pose(x=3.0), pose(yaw=60), pose(z=-6.0, yaw=180)])
def test_a_false_closure_does_not_fold_the_map(offset: np.ndarray) -> None:
    true = square_drive()
    graph = filled(drifted(true, 0.02))
    for query in range(41, 44):
        graph.add_closure(closure(true, query - 40, query))
    graph.update(47 * 10**9, 0, true[-1])
    good = graph.keyframe_poses()
    assert graph.add_closure(closure(true, 20, 46, offset)) is Verdict.REFUSED
    graph.update(48 * 10**9, 0, true[-1])
    for i, T in graph.keyframe_poses().items():
        np.testing.assert_allclose(T, good[i], atol=1e-6)


def test_a_false_closure_that_got_in_is_dropped_by_the_solution() -> None:
    true = square_drive()
    graph = filled(drifted(true, 0.02))
    for query in range(41, 47):
        graph.add_closure(closure(true, query - 40, query))
    wrong = closure(true, 20, 45, pose(x=4.0))
    graph.state.accept(wrong)
    graph.add_closure(closure(true, 7, 47))
    graph.update(48 * 10**9, 0, true[-1])
    assert wrong not in graph.state.closures
    assert worst_error_m(graph, true) < 0.3


def test_a_lost_stretch_is_an_island_until_two_closures_agree() -> None:
    """The robot was carried 3 m sideways while lost: odometry goes on as if nothing had happened."""
    true = [pose(z=0.5 * k) for k in range(20)] + [pose(x=3.0, z=0.5 * k) for k in range(12, 20)]
    odometry = true[:20] + [pose(z=10 + 0.5 * k) for k in range(8)]
    graph = filled(odometry[:20])
    for k in range(20, 28):
        graph.update(k * 10**9, 1, odometry[k])
        graph.add_keyframe(k, 1, odometry[k], DEPTH)
    assert (19, 20, False) not in graph.edges()
    assert graph.add_closure(closure(true, 14, 24)) is Verdict.PENDING
    assert not any(is_closure for *_, is_closure in graph.edges())
    assert graph.add_closure(closure(true, 16, 26)) is Verdict.ACCEPTED
    graph.update(30 * 10**9, 1, odometry[27])
    assert worst_error_m(graph, true) < 0.05


def test_two_closures_that_disagree_join_nothing() -> None:
    true = [pose(z=0.5 * k) for k in range(20)]
    graph = filled(true)
    for k in range(20, 28):
        graph.add_keyframe(k, 1, pose(z=0.5 * k), DEPTH)
    truth = true + [pose(x=1.0, z=0.5 * (k - 10)) for k in range(20, 28)]
    assert graph.add_closure(closure(truth, 10, 20)) is Verdict.PENDING
    assert graph.add_closure(closure(truth, 13, 24, pose(x=2.0))) is Verdict.PENDING
    assert not any(is_closure for *_, is_closure in graph.edges())


def test_removed_keyframes_leave_the_chain_and_the_closures_whole() -> None:
    true = square_drive()
    graph = filled(drifted(true, 0.02))
    graph.add_closure(closure(true, 2, 42))
    graph.add_closure(closure(true, 4, 44))
    for victim in (2, 3, 10, 42):
        graph.remove_keyframe(victim)
    graph.add_closure(closure(true, 6, 46))
    graph.update(48 * 10**9, 0, true[-1])
    assert (1, 4, False) in graph.edges()
    assert all(i not in (2, 3, 10, 42) for a, b, _ in graph.edges() for i in (a, b))
    assert worst_error_m(graph, true) < 0.3


def test_same_input_gives_the_same_poses() -> None:
    true = square_drive()
    results = []
    for _ in range(2):
        graph = filled(drifted(true))
        for query in range(41, 47):
            graph.add_closure(closure(true, query - 40, query))
        graph.update(47 * 10**9, 0, true[-1])
        results.append(np.stack(list(graph.keyframe_poses().values())))
    assert results[0].tobytes() == results[1].tobytes()


def small_problem() -> GraphProblem:
    true = square_drive(4.0)
    graph = PoseGraph(LOCK_STEP)
    for k, T in enumerate(true):
        graph.add_keyframe(k, 0, T, DEPTH)
    graph.state.place_segment(0, np.eye(4))
    graph.state.accept(closure(true, 1, 17))
    return graph_problem(graph.state)[1]


def test_a_killed_solver_is_replaced() -> None:
    worker = graph_worker(30.0)
    assert worker.submit(small_problem())
    assert worker.result(wait=True) is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.submit(small_problem())
    if worker.result(wait=True) is None:  # noticed only when the answer failed to come
        assert not worker.busy and worker.submit(small_problem())
        assert worker.result(wait=True) is not None
    worker.close()
    assert worker.pid is None


def test_the_solver_dies_with_its_parent(tmp_path: Path) -> None:
    script = """
import sys, time
from test_pose_graph import small_problem
from vision_nodes.places.pose_graph import graph_worker
worker = graph_worker(30.0)
worker.submit(small_problem()); worker.result(wait=True)
print(worker.pid, flush=True)
time.sleep(60)
"""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[1])])
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert parent.stdout is not None
    solver = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{solver}").exists() and time.monotonic() < deadline:
        state = (
            Path(f"/proc/{solver}/stat").read_text().split()[2] if Path(f"/proc/{solver}").exists() else "Z"
        )
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{solver}").exists()
