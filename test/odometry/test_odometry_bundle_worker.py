import os
import signal
import subprocess
import sys
import time

import numpy as np
from test_odometry_bundle_adjustment import problem

from vision_nodes.odometry.bundle_adjustment import solve_bundle
from vision_nodes.odometry.bundle_worker import BundleWorker


def test_another_process_gives_the_same_bytes():
    _, _, p = problem()
    worker = BundleWorker()
    try:
        assert worker.result(wait=True) is None
        assert worker.submit(p) and not worker.submit(p)
        solution = worker.result(wait=True)
    finally:
        worker.close()
    here = solve_bundle(p)
    assert solution.T_cam_odom.tobytes() == here.T_cam_odom.tobytes()
    assert solution.points.tobytes() == here.points.tobytes()


def test_a_killed_worker_costs_one_answer_and_is_started_again():
    _, _, p = problem()
    worker = BundleWorker()
    try:
        assert worker.submit(p)
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        worker.result(wait=True)
        assert worker.submit(p)
        assert worker.result(wait=True) is not None
    finally:
        worker.close()


def test_an_unsolvable_problem_leaves_the_worker_alive():
    _, _, p = problem()
    bad = type(p)(**{**p.__dict__, "points": np.vstack([p.points, [0, 0, 5]])})
    worker = BundleWorker()
    try:
        assert worker.submit(bad) and worker.result(wait=True) is None
        assert worker.submit(p) and worker.result(wait=True) is not None
    finally:
        worker.close()


def test_the_worker_dies_with_a_killed_parent():
    script = (
        "from vision_nodes.odometry.bundle_worker import BundleWorker\n"
        "import time\n"
        "w = BundleWorker(); w._start(); print(w._process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().split()[2] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    raise AssertionError("the worker outlived its parent")
