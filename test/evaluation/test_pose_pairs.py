"""Pairs from a folder: overlap of a plane wall by hand; the table on pictures of that wall."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_nodes.bags.folder_files import write_camera_yaml, write_tum
from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import BagError
from vision_nodes.evaluation.feature_table import interval, orb, root_sift, score_method
from vision_nodes.evaluation.pose_pairs import read_pose_pairs

SIZE_WH, FOCAL, WALL_M = (320, 240), 260.0, 2.0
SHIFTS_M = (0.0, 0.05, 0.3, 1.6)
TILT = (
    0.0,
    0.0,
    6.0,
    0.0,
)  # degrees about x, so that the essential matrix of a plane is not degenerate in all pairs


def view(texture: np.ndarray, T_world_cam: np.ndarray, K: np.ndarray) -> np.ndarray:
    """The wall z = WALL_M with 200 px per metre, its middle at the world's axis, seen by a camera."""
    wall_to_px = np.array([[200.0, 0, texture.shape[1] / 2], [0, 200, texture.shape[0] / 2], [0, 0, 1]])
    T_cam_world = np.linalg.inv(T_world_cam)
    plane = np.stack(
        [T_cam_world[:3, 0], T_cam_world[:3, 1], T_cam_world[:3, 2] * WALL_M + T_cam_world[:3, 3]], 1
    )
    return cv2.warpPerspective(texture, K @ plane @ np.linalg.inv(wall_to_px), SIZE_WH, flags=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wall")
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (700, 1100, 3)).astype(np.uint8), (0, 0), 2.0)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    K = np.array([[FOCAL, 0, 159.5], [0, FOCAL, 119.5], [0, 0, 1]])
    poses, rows = [], []
    for name in ("rgb", "depth"):
        (root / name).mkdir()
    for index, (shift, tilt) in enumerate(zip(SHIFTS_M, TILT)):
        T = np.eye(4)
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        T[:3, :3], T[0, 3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), shift
        v, u = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
        rays = np.stack([(u - 159.5) / FOCAL, (v - 119.5) / FOCAL, np.ones(u.shape)], -1) @ T[:3, :3].T
        depth = WALL_M / rays[..., 2]
        cv2.imwrite(str(root / f"rgb/{index}.png"), view(texture, T, K))
        cv2.imwrite(str(root / f"depth/{index}.png"), (depth * 1000).astype(np.uint16))
        poses.append(T)
        rows.append([index, f"{index}.0", f"rgb/{index}.png", f"depth/{index}.png"])
    write_camera_yaml(root / "camera.yaml", CameraModel(SIZE_WH, K))
    write_tum(root / "groundtruth.txt", [i * 1_000_000_000 for i in range(len(rows))], np.array(poses))
    with (root / "frames.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["index", "timestamp", "rgb", "depth"], *rows])
    return root


def test_overlap_and_baseline(folder: Path):
    pairs = read_pose_pairs(folder, min_overlap=0.5, min_baseline_m=0.0)
    listed = {tuple(pair): overlap for pair, overlap in zip(pairs.pairs.tolist(), pairs.overlap)}
    assert set(listed) == {(0, 1), (0, 2), (1, 2)}  # 1.6 m aside: 35 %
    assert listed[0, 1] == pytest.approx(1 - 0.05 * FOCAL / WALL_M / SIZE_WH[0], abs=0.05)
    far = read_pose_pairs(folder, min_overlap=0.5, min_baseline_m=0.1)
    assert far.pairs.tolist() == [[0, 2], [1, 2]]
    np.testing.assert_allclose(far.relative(0) @ [0.3, 0, 0, 1], [0, 0, 0, 1], atol=1e-7)
    assert len(read_pose_pairs(folder, 0.5, 0.0, limit=2).pairs) == 2


def test_a_folder_without_depth_is_refused(folder: Path, tmp_path: Path):
    for name in ("camera.yaml", "groundtruth.txt", "rgb"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "frames.csv").write_text("index,timestamp,rgb,depth\n0,0.0,rgb/0.png,\n1,1.0,rgb/1.png,\n")
    with pytest.raises(BagError, match="depth"):
        read_pose_pairs(tmp_path)


@pytest.mark.parametrize("method", [root_sift, orb])
def test_classical_features_recover_the_poses(folder: Path, method):
    pairs = read_pose_pairs(folder, 0.5)
    score = score_method("m", method(), [pairs])
    assert (score.matches > 100).all() and (score.inliers > 60).all() and score.ms > 0
    low, high = interval(score)
    assert (low <= score.aucs() + 1e-9).all() and (score.aucs() <= high + 1e-9).all()
    assert (interval(score, score) == 0).all()


def test_no_pairs_is_an_error(folder: Path):
    pairs = read_pose_pairs(folder, min_overlap=0.999, min_baseline_m=1.0)
    with pytest.raises(BagError, match="none in"):
        score_method("orb", orb(), [pairs])


def test_the_command_writes_the_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    from vision_nodes.cli import main

    out = tmp_path / "table.json"
    arguments = ["compare-features", str(folder), "--min-overlap", "0.5", "--methods", "orb", "rootsift"]
    assert main([*arguments, "--out", str(out)]) == 0
    table = json.loads(out.read_text())
    assert table["pairs"] == 2 and set(table["methods"]) == {"orb", "rootsift"}
    value, low, high = table["methods"]["rootsift"]["auc20"]
    assert 0 <= low <= value <= high <= 1
    assert "rootsift" in capsys.readouterr().out
    assert main(["compare-features", str(folder), "--methods", "no_such_model"]) == 1
