"""Maps built offline from posed pictures, and pictures found in them: rendered world, real kitchen, command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_nodes.bags.folder import read_camera_yaml
from vision_nodes.bags.posed_frames import PoseFile, read_posed_frames
from vision_nodes.camera.transforms import quat_xyzw_from_matrix
from vision_nodes.cli import main
from vision_nodes.errors import BagError, CalibrationError, FrameError, MapError
from vision_nodes.places.map_building import MapBuilder
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.simulation.world import World

CAMERA_YAML = """
image_width: 320
image_height: 240
camera_name: test
camera_matrix: {rows: 3, cols: 3, data: [250, 0, 159.5, 0, 250, 119.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [250, 0, 159.5, 0, 0, 250, 119.5, 0, 0, 0, 1, 0]}
"""
COUNT = 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rgb/, depth/, camera.yaml and poses.txt by name: every fifth frame of a rendered walk."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "camera.yaml").write_text(CAMERA_YAML)
    for name in ("rgb", "depth"):
        (folder / name).mkdir()
    world, camera = World.indoor(5), read_camera_yaml(folder / "camera.yaml")
    drive, lines = world.drive(15.0, COUNT / 3), ["# name x y z qx qy qz qw"]
    for k, T in enumerate(drive.T_world_cam[::5][:COUNT]):
        view = world.render(T, camera)
        cv2.imwrite(str(folder / "rgb" / f"{k:03d}.png"), cv2.cvtColor(view.image, cv2.COLOR_RGB2BGR))
        depth_mm = np.nan_to_num(view.depth_m * 1000, nan=0.0).clip(0, 65535).astype(np.uint16)
        cv2.imwrite(str(folder / "depth" / f"{k:03d}.png"), depth_mm)
        numbers = [*T[:3, 3], *quat_xyzw_from_matrix(T[:3, :3])]
        lines.append(f"{k:03d}.png " + " ".join(f"{v:.9f}" for v in numbers))
    (folder / "poses.txt").write_text("\n".join(lines))
    return folder


def command(*words: object) -> int:
    return main(["map", *map(str, words)])


@pytest.mark.parametrize("depth", [True, False])
def test_half_of_the_pictures_localise_the_other_half(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], depth: bool
) -> None:
    """Built from every second picture, with depth images or by triangulation alone."""
    shared = ("--poses", pictures / "poses.txt", "--camera", pictures / "camera.yaml", "--every", 2)
    out = tmp_path / "rooms.vnmap"
    assert command("build", pictures, out, *shared, *(["--depth"] if depth else [])) == 0
    assert f"{COUNT // 2} keyframes" in capsys.readouterr().out
    assert command("query", out, pictures, *shared, "--first", 1, "--json") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == COUNT // 2
    found = [a for a in answers if a["localised"]]
    assert len(found) >= (COUNT // 2 - 1 if depth else COUNT // 3)
    assert np.median([a["error_m"] for a in found]) < (0.03 if depth else 0.08)
    assert np.median([a["error_deg"] for a in found]) < 0.5
    for answer in found:
        assert np.linalg.eigvalsh(np.reshape(answer["covariance"], (6, 6)))[0] > 0
        scores = [m["score"] for m in answer["matches"]]
        assert scores == sorted(scores, reverse=True) and answer["inliers"] >= 60
    assert command("info", out) == 0 and f"{COUNT // 2}" in capsys.readouterr().out


def test_a_picture_of_nowhere_is_not_localised(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, nowhere = tmp_path / "rooms.vnmap", tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    cv2.imwrite(str(nowhere), noise)
    shared = ("--camera", pictures / "camera.yaml")
    assert (
        command("build", pictures, out, "--poses", pictures / "poses.txt", *shared, "--depth", "--every", 4)
        == 0
    )
    capsys.readouterr()
    assert command("query", out, nowhere, *shared) == 3
    assert "NOT LOCALISED" in capsys.readouterr().out
    out.write_bytes(out.read_bytes()[:5000])
    assert command("query", out, nowhere, *shared) == 1
    assert "expected" in capsys.readouterr().err


def test_pose_files(tmp_path: Path) -> None:
    path = tmp_path / "poses.txt"
    path.write_text("# comment\n1700000000.123456789 1 2 3 0 0 0 1\nplaces/a.jpg, 4, 5, 6, 0, 0, 1, 0\n")
    poses = PoseFile(path)
    assert len(poses) == 2
    np.testing.assert_allclose(poses.of(1700000000123456789, "x.jpg")[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(poses.of(0, "a.png")[:3, :3], np.diag([-1, -1, 1]), atol=1e-12)
    assert poses.of(1700000000223456789, "x.jpg") is None
    for bad in ("a.jpg 1 2 3 0 0 0", "a.jpg 1 2 3 0 0 0 2", "a.jpg 1 2 nan 0 0 0 1", "a.jpg 1 2 b 0 0 0 1"):
        path.write_text(bad)
        with pytest.raises(BagError, match="poses.txt:1"):
            PoseFile(path)
    with pytest.raises(BagError, match="No such file"):
        PoseFile(tmp_path / "none.txt")


def test_what_is_missing_is_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="--camera"):
        next(read_posed_frames(pictures))
    builder = MapBuilder(PlaceSettings())
    with pytest.raises(MapError, match="0 pictures"):
        builder.save(tmp_path / "empty.vnmap")
    (picture, *_) = read_posed_frames(
        pictures, PoseFile(pictures / "poses.txt"), camera=pictures / "camera.yaml"
    )
    with pytest.raises(FrameError, match="rotation"):
        builder.add(picture.frame, np.ones(8, np.float32), np.diag([1.0, 1, -1, 1]))
    assert builder.keyframes == []
    with pytest.raises(MapError, match="not one landmark"):
        builder.add(picture.frame, np.ones(8, np.float32), picture.T_map_cam)
        builder.save(tmp_path / "one.vnmap")
