"""Whether the published covariance is as large as the errors, and whether plain OpenCV would do as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drives import CAMERA, SETTINGS, walk

from vision_nodes.evaluation.odometry_baseline import baseline_figures, run_baseline
from vision_nodes.evaluation.odometry_inputs import OdometryInput, from_arrays, load_input, render_drive
from vision_nodes.evaluation.odometry_run import figures_of_run, run_odometry
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.simulation.path import loop_drive
from vision_nodes.simulation.world import World

SEQUENCES = Path(__file__).parents[2].parent / "shared" / "data" / "sequences"


def reversed_input(source: OdometryInput) -> OdometryInput:
    """The same drive backwards: other motion, other order of what is seen."""
    stamps = np.array([f.stamp_ns for f in source.frames])
    poses = np.array([source.truth[s] for s in stamps])[::-1]
    images = np.stack([f.image for f in source.frames])[::-1]
    return from_arrays(source.name, images, np.zeros(0), stamps, poses, source.frames[0].camera)


def test_covariance_has_the_size_of_the_errors_on_one_walk_there_and_back():
    source = walk(90)
    figures = [
        figures_of_run(s, run_odometry(s, SETTINGS)) for s in (source, reversed_input(source).noisy(1))
    ]
    # One run's errors are one draw, strongly correlated from frame to frame: a wide band on their mean.
    assert 0.05 < np.mean([f["anees"] for f in figures]) < 6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_covariance_is_calibrated_over_thirty_two_drives():
    values = []
    for seed in range(300, 316):
        world = World.street(seed, px_m=30.0) if seed % 3 == 0 else World.indoor(seed, px_m=60.0)
        rate = (15.0, 10.0, 20.0)[seed % 3]
        drive = loop_drive(seed, rate, 110 / rate, world.style)
        images, _ = render_drive(world, drive, CAMERA)
        source = from_arrays(f"{seed}", images, np.zeros(0), drive.stamps_ns, drive.T_world_cam, CAMERA)
        for one in (source, reversed_input(source)):
            values.append(figures_of_run(one, run_odometry(one.noisy(seed), SETTINGS))["anees"])
    assert len(values) == 32
    assert 0.5 < np.mean(values) < 2.0


def test_the_baseline_is_no_straw_man():
    source = walk(90)
    trajectories = run_baseline(source)
    assert len(trajectories.stamps_ns) >= 5
    ours = figures_of_run(source, run_odometry(source, SETTINGS))
    baseline = baseline_figures(source)
    # On a short clean walk its chain of essential matrices is as good as ours, with the true step lengths given.
    assert baseline["baseline_ate_sim3_percent"] < 1 and ours["ate_sim3_percent"] < 1


def test_the_baseline_without_truth_or_frames_says_nothing():
    assert baseline_figures(OdometryInput("empty", [], {}, {})) == {}
    source = walk(90)
    assert baseline_figures(OdometryInput("untrue", source.frames[:5], {}, {})) == {}


@pytest.mark.skipif(not SEQUENCES.is_dir(), reason="no sequences here")
def test_a_street_of_kitti_against_the_baseline():
    source = load_input(str(SEQUENCES / "kitti06_first51"))
    ours = figures_of_run(source, run_odometry(source, OdometrySettings()))
    assert ours["tracked_fraction"] > 0.95
    assert (
        ours["ate_sim3_m"] < 0.2
    )  # 60 m; the baseline is given the true step lengths, which is the harder part
    assert baseline_figures(source)["baseline_ate_sim3_m"] < 0.2
