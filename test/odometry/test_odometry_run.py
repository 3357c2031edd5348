"""The benchmark of odometry without ROS: repeatable, honest about what it measures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from textured_scene import CAMERA, STEP_NS, draw, room, sideways

from vision_nodes.cli import main
from vision_nodes.commands.bench_odometry import settings_of
from vision_nodes.errors import BagError, ConfigError
from vision_nodes.evaluation.odometry_inputs import OdometryInput, from_arrays, load_input
from vision_nodes.evaluation.odometry_run import figures_of_run, run_odometry
from vision_nodes.odometry.settings import OdometrySettings

SEQUENCES = Path(__file__).parents[2].parent / "shared" / "data" / "sequences"


@pytest.fixture(scope="module")
def drive() -> OdometryInput:
    """Forty frames past textured panels, with exact depth."""
    poses = sideways(40)
    views = [draw(room(), T) for T in poses]
    images = np.stack([np.repeat(gray[:, :, None], 3, axis=2) for gray, _ in views])
    stamps = 1_000_000_000 + np.arange(len(poses)) * STEP_NS
    return from_arrays("panels", images, np.stack([depth for _, depth in views]), stamps, poses, CAMERA)


def test_an_empty_input_gives_figures_without_errors():
    empty = OdometryInput("empty", [], {}, {})
    run = run_odometry(empty, OdometrySettings())
    assert run.estimates == [] and run.posed == []
    assert figures_of_run(empty, run)["frames"] == 0


def test_two_runs_give_the_same_bytes_and_noise_gives_others(drive):
    first, second, noisy = (
        run_odometry(source, OdometrySettings()) for source in (drive, drive.noisy(0), drive.noisy(1))
    )
    poses = [np.array([e.T_odom_cam for e in r.posed]).tobytes() for r in (first, second, noisy)]
    assert poses[0] == poses[1] != poses[2]


def test_a_depth_camera_gives_metres(drive):
    settings = OdometrySettings(scale="from_depth")
    depths = drive.depths
    run = run_odometry(drive, settings, lambda frame: depths.get(frame.stamp_ns), sensor=True)
    figures = figures_of_run(drive, run)
    assert figures["tracked_fraction"] > 0.9
    assert figures["scale_error"] < 0.02
    assert figures["ate_se3_m"] < 0.03
    unscaled = figures_of_run(drive, run_odometry(drive, OdometrySettings()))
    assert unscaled["ate_sim3_m"] < 0.03 and unscaled["scale_error"] > 0.1


def test_settings_come_from_words():
    assert settings_of(["max_tracks=100", "bundle_adjustment=false"], "network").max_tracks == 100
    assert settings_of(["bundle_adjustment=false"], "network").scale == "from_depth"
    for word in ("max_tracks", "nothing=1", "max_tracks=1"):
        with pytest.raises(ConfigError):
            settings_of([word], "none")


def test_an_input_that_is_none_is_refused(tmp_path):
    with pytest.raises(BagError):
        load_input(str(tmp_path / "nothing"))


@pytest.mark.skipif(not SEQUENCES.is_dir(), reason="no sequences here")
def test_the_command_prints_a_table_and_writes_every_run(tmp_path, capsys):
    out = tmp_path / "figures.json"
    still = SEQUENCES / "euroc_v101_static"
    assert main(["bench", "odometry", str(still), "--runs", "2", "--json", str(out)]) == 0
    runs = json.loads(out.read_text())["euroc_v101_static"]
    # A camera at rest: no map is made from noise, so nothing is ever said to have moved.
    assert [r["tracked"] for r in runs] == [0, 0] and runs[0]["path_estimated_m"] == 0
    assert "euroc_v101_static" in capsys.readouterr().out
