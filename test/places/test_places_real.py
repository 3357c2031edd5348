"""Real revisits: 7-Scenes RedKitchen with its true poses as odometry. Skips where the data are not there."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_recogniser import describe

from vision_nodes.camera.model import CameraModel
from vision_nodes.places.recogniser import PlaceRecogniser
from vision_nodes.places.rigid import angle_between, inverse
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.preprocess.frame import Frame

KITCHEN = Path(__file__).parents[2].parent / "shared" / "data" / "sequences" / "7scenes_redkitchen_seq01"
CAMERA = CameraModel((640, 480), np.array([[525.0, 0, 320], [0, 525.0, 240], [0, 0, 1]]))
EVERY_FRAME = {
    "keyframe_distance_depths": 0.0,
    "keyframe_distance_m": 0.0,
    "keyframe_min_interval_s": 0.0,
    "keyframe_without_pose_s": 0.0,
}


def true_poses() -> dict[int, np.ndarray]:
    poses = {}
    for line in (KITCHEN / "groundtruth.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        values = [float(v) for v in line.split()]
        T = np.eye(4)
        T[:3, :3] = Rotation.from_quat(values[4:]).as_matrix()
        T[:3, 3] = values[1:4]
        poses[round(values[0] * 30)] = T
    return poses


@pytest.mark.slow
@pytest.mark.skipif(not KITCHEN.is_dir(), reason="7-Scenes RedKitchen is not beside the checkout")
def test_kitchen_revisits_are_closed_and_none_is_false() -> None:
    """With a classical descriptor; bounds leave room under what was measured, zero false closures does not."""
    truth = true_poses()
    with (KITCHEN / "loops.csv").open() as file:
        overlap = {(int(r["i"]), int(r["j"])): float(r["overlap"]) for r in csv.DictReader(file)}
    revisits = {i for (i, _), share in overlap.items() if share >= 0.5}
    closed, false, errors = set(), [], []
    with PlaceRecogniser(PlaceSettings(lock_step=True, **EVERY_FRAME)) as recogniser:
        for i in range(0, 1000, 10):
            image = cv2.cvtColor(cv2.imread(str(KITCHEN / "rgb" / f"{i:06d}.jpg")), cv2.COLOR_BGR2RGB)
            frame = Frame(int(i / 30 * 1e9), "camera", image, (640, 480), CAMERA, CAMERA)
            closure = recogniser.process(frame, describe, truth[i]).closure
            if closure is None:
                continue
            j = 10 * closure.matched_id
            T = inverse(truth[j]) @ truth[i]
            distance = float(np.linalg.norm(closure.T_matched_query[:3, 3] - T[:3, 3]))
            errors.append((distance, np.rad2deg(angle_between(closure.T_matched_query, T))))
            if overlap.get((i, j), 0.0) < 0.1:
                false.append((i, j))
            elif i in revisits:
                closed.add(i)
    assert false == []
    assert len(closed) / len(revisits) >= 0.7
    assert np.median(errors, axis=0)[0] <= 0.05 and np.median(errors, axis=0)[1] <= 3.0
