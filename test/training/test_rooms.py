"""Rooms: ray casting against a second method, determinism, files that resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from vision_nodes.training.rooms import generate
from vision_nodes.training.rooms.layout import Room, random_room
from vision_nodes.training.rooms.render import View, pose_of, render
from vision_nodes.training.rooms.solids import FAR_M, Solid, depth_along, surface_at
from vision_nodes.training.rooms.textures import mipmap

PICTURES = [np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)]


def grey_room(solids: list[Solid]) -> Room:
    room = Room((4.0, 6.0, 2.5))
    room.solids = [Solid((2, 3, 1.25), (2, 3, 1.25), inside=True), *solids]
    room.textures = [mipmap(np.full((128, 128, 3), 0.5, np.float32))]
    room.repeat_m = np.ones(1)
    room.lamps = [(np.array([2, 3, 2.3]), np.ones(3))]
    return room


def test_depth_of_walls_and_floor_by_geometry():
    view = View(pose_of(np.array([2.0, 1.0, 1.25]), np.pi / 2, 0.0, 0.0), (64, 48), 40.0)
    _, depth = render(grey_room([]), view)
    assert depth[24, 32] == pytest.approx(5.0, abs=1e-4)  # the wall y = 6 seen from y = 1
    v = (2 * 47 + 1 - (96 - 1) / 2) / 80.0  # slope of the ray through the lowest pixel's sampled row
    assert depth[47, 32] == pytest.approx(1.25 / v, rel=1e-4)  # floor 1.25 m below
    u = (2 * 63 + 1 - (128 - 1) / 2) / 80.0
    assert depth[24, 63] == pytest.approx(2.0 / u, rel=1e-4)  # wall 2 m to the right


@pytest.mark.parametrize("cylinder", [False, True])
def test_hits_lie_on_the_surface_and_nothing_is_passed(cylinder: bool):
    """Oracle: marching along each ray in small steps."""
    rng = np.random.default_rng(3)
    half = (0.4, 0.4, 0.6) if cylinder else (0.3, 0.5, 0.6)
    solid = Solid((0.2, 2.0, 0.4), half, yaw=0.7, cylinder=cylinder)
    origin = np.array([0.0, 0.0, 0.5])
    directions = np.stack([rng.uniform(-0.6, 0.6, 300), np.ones(300), rng.uniform(-0.6, 0.6, 300)])
    depth = depth_along(solid, origin, directions.astype(np.float32))
    steps = np.arange(0.5, 4, 0.002)
    for ray in range(300):
        points = origin[:, None] + directions[:, ray : ray + 1] * steps
        x, y, z = points - np.array(solid.centre)[:, None]
        c, s = np.cos(0.7), np.sin(0.7)
        x, y = c * x + s * y, c * y - s * x
        round_ = x**2 + y**2 < 0.16
        inside = (round_ if cylinder else (abs(x) < 0.3) & (abs(y) < 0.5)) & (abs(z) < 0.6)
        if inside.sum() > 3:  # not just a corner
            assert depth[ray] == pytest.approx(steps[inside.argmax()], abs=0.004)
        elif not inside.any():
            assert depth[ray] == FAR_M or depth[ray] > 0


def test_normals_point_to_the_viewer():
    solid = Solid((0, 3, 0), (1, 1, 1), yaw=0.4)
    origin = np.zeros(3)
    directions = np.stack([np.linspace(-0.2, 0.2, 9), np.ones(9), np.linspace(-0.1, 0.1, 9)])
    depth = depth_along(solid, origin, directions.astype(np.float32))
    surface = surface_at(solid, (directions * depth).astype(np.float32))
    assert ((surface.normal.T * directions).sum(axis=0) < 0).all()
    np.testing.assert_allclose(np.linalg.norm(surface.normal, axis=1), 1, rtol=1e-5)


def test_a_box_hides_the_wall():
    view = View(pose_of(np.array([2.0, 1.0, 1.0]), np.pi / 2, 0.0, 0.0), (64, 48), 40.0)
    _, depth = render(grey_room([Solid((2, 3, 1), (0.3, 0.5, 0.3))]), view)
    assert depth[24, 32] == pytest.approx(1.5, abs=1e-4)


def test_equal_seeds_give_equal_bytes():
    first, second = (generate.room_views(5, 1, PICTURES) for _ in range(2))
    for key in ("images", "depth", "fx"):
        np.testing.assert_array_equal(first[key], second[key])
    assert np.isfinite(first["depth"]).all() and (first["depth"] > 0).all()


def test_rooms_are_furnished():
    assert np.mean([len(random_room(np.random.default_rng(s), PICTURES).solids) for s in range(8)]) > 10


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    listing = tmp_path / "list.txt"
    listing.write_text("picture.png\n")
    import cv2

    cv2.imwrite(str(tmp_path / "picture.png"), PICTURES[0])
    monkeypatch.setattr(generate, "SIZE_WH", (32, 24))
    arguments = ["--out", str(tmp_path / "rooms"), "--pictures", str(listing), "--views", "1", "--seeds", "0"]
    generate.main([*arguments, "1"])
    before = (tmp_path / "rooms" / "room_000000.npz").stat().st_mtime_ns
    generate.main([*arguments, "2"])
    assert (tmp_path / "rooms" / "room_000000.npz").stat().st_mtime_ns == before
    assert (tmp_path / "rooms" / "room_000001.npz").exists()
