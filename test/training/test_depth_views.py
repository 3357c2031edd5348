"""Where depth's pictures come from: several folders, each with its own held-out end; views along the walk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.errors import TrainingError
from vision_nodes.simulation.world import World
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.depth import DepthTask
from vision_nodes.training.depth_calibration import calibration_pictures
from vision_nodes.training.world_views import view_ahead


def test_every_folder_holds_its_last_files_out(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(4):
            (tmp_path / folder / f"room_{number}.npz").touch()
    options = {"rooms": [str(tmp_path / "a"), str(tmp_path / "b")], "worlds": "", "dev_rooms": 1}
    training, development = DepthTask(TrainingConfig("depth", options=options)).view_files("rooms")
    assert [path.parent.name + path.stem[-1] for path in training] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert [path.parent.name + path.stem[-1] for path in development] == ["a3", "b3"]
    assert DepthTask(TrainingConfig("depth", options=options)).view_files("worlds") == ([], [])


def test_views_ahead_look_along_or_back() -> None:
    world = World.indoor(50_100)
    rng = np.random.default_rng(0)
    for _ in range(20):
        pose, camera = view_ahead(world, rng, (512, 384))
        lap = np.linspace(0, world.style.loop.length_m, 400)
        points, headings = world.style.loop.at(lap)
        nearest = np.hypot(*(points - pose[:2, 3]).T).argmin()
        cosine = abs(headings[nearest] @ pose[:2, 2]) / np.linalg.norm(pose[:2, 2])
        assert cosine > 0.5 and 0.4 <= pose[2, 3] <= 1.7
        assert 0.5 * 512 <= camera.fx <= 1.1 * 512


def test_calibration_without_renderings_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="depth_wide"):
        calibration_pictures()
