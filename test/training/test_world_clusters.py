"""Overlap of rendered views: exact cases."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from vision_nodes.simulation.world import World
from vision_nodes.training.world_clusters import camera_of, overlap, scattered


def test_overlap_of_a_view_with_itself_its_neighbour_and_its_back():
    world = World.indoor(77, px_m=40.0)
    rng = np.random.default_rng(0)
    camera = camera_of(rng)
    pose, _ = world.random_view(rng, camera.size_wh)
    turned, back = pose.copy(), pose.copy()
    c, s = np.cos(0.25), np.sin(0.25)
    turned[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ pose[:3, :3]
    back[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ pose[:3, :3]
    views = [world.render(p, camera) for p in (pose, turned, back)]
    assert overlap(views[0], views[0], camera.K) > 0.95
    # turning by 0.25 rad moves f * tan(0.25) px of the picture's width out of it
    kept = 1 - camera.fx * np.tan(0.25) / camera.size_wh[0]
    assert overlap(views[0], views[1], camera.K) == pytest.approx(kept, abs=0.12)
    assert overlap(views[0], views[2], camera.K) < 0.02


def test_scattered_poses_are_rigid_and_near():
    rng = np.random.default_rng(1)
    for _ in range(20):
        pose = scattered(np.eye(4), rng, 0.2)
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.norm(pose[:3, 3]) < 1.0
