"""Training worlds: indoor floors, random views, and worlds on machines without the photographs."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation import photos
from vision_nodes.simulation.effects import Effects
from vision_nodes.simulation.loops import loop_pairs
from vision_nodes.simulation.path import ViewRange
from vision_nodes.simulation.street_plan import StreetPlan
from vision_nodes.simulation.world import World
from vision_nodes.tasks.classes import class_id


@pytest.fixture(scope="module")
def indoor() -> World:
    return World.indoor(5, px_m=25.0)


def test_indoor_views_are_closed_and_know_floor_wall_ceiling(indoor: World, small: CameraModel) -> None:
    seen: set[int] = set()
    for T_world_cam in indoor.drive(1.0).T_world_cam:
        frame = indoor.render(T_world_cam, small)
        assert np.isfinite(frame.depth_m).all() and frame.depth_m.max() < 20
        seen |= set(np.unique(frame.labels).tolist())
    assert {class_id(name) for name in ("floor", "wall", "ceiling", "door", "window", "furniture")} <= seen
    assert class_id("sky") not in seen and class_id("road") not in seen


def test_the_indoor_walk_never_touches_anything(indoor: World, small: CameraModel) -> None:
    nearest = [np.nanmin(indoor.depth(T, small)) for T in indoor.drive(3.0).T_world_cam]
    assert min(nearest) > 0.25


def test_indoor_drive_returns_to_its_start(indoor: World, small: CameraModel) -> None:
    drive = indoor.drive(2.0)
    depths = [indoor.depth(T, small) for T in drive.T_world_cam]
    positives = loop_pairs(drive.T_world_cam, small, depths, min_gap=10).positives()
    assert len(positives) and positives[:, 1].max() == len(drive) - 1


def test_random_worlds_are_of_both_kinds_and_repeat() -> None:
    kinds = [World.random(seed).kind for seed in (2, 3)]
    assert sorted(kinds) == ["indoor", "street"]
    a, b = World.random(3), World.random(3)
    assert a.scene.atlas.image.tobytes() == b.scene.atlas.image.tobytes()
    assert a.scene.corners.tobytes() == b.scene.corners.tobytes()


def test_random_views_stay_in_their_ranges(indoor: World) -> None:
    rng = np.random.default_rng(0)
    view = ViewRange(height_m=(0.5, 0.9), pitch=(0.1, 0.2), focal_per_width=(0.6, 0.7))
    for _ in range(50):
        T_world_cam, camera = indoor.random_view(rng, (320, 240), view)
        assert 0.5 <= T_world_cam[2, 3] <= 0.9
        assert 0.1 <= np.arcsin(-T_world_cam[2, 2]) <= 0.2
        assert 192 <= camera.fx <= 224 and camera.size_wh == (320, 240)
        np.testing.assert_allclose(T_world_cam[:3, :3] @ T_world_cam[:3, :3].T, np.eye(3), atol=1e-12)


def test_street_plans_differ_and_keep_side_streets_free() -> None:
    plans = [StreetPlan.from_seed(seed) for seed in range(8)]
    assert len({plan.loop.half_x for plan in plans}) == 8
    assert 0 < sum(side.is_park for plan in plans for side in plan.sides) < 8
    for plan in plans:
        assert plan.loop.length_m < 48  # 20 s at 3 m/s come round again
        for side in plan.sides:
            assert not plan.is_open(side.middle + side.right * side.gap)


def test_random_effects_repeat_with_the_generator() -> None:
    assert Effects.random(np.random.default_rng(1)) == Effects.random(np.random.default_rng(1))
    assert Effects.random(np.random.default_rng(1)) != Effects.random(np.random.default_rng(2))


def test_absent_picture_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    missing = photos.Photo("no_such_package_anywhere", "picture.png")
    with caplog.at_level(logging.WARNING):
        assert photos.read_photo(missing) is None and photos.read_photo(missing) is None
    assert len([r for r in caplog.records if "no_such_package_anywhere" in r.message]) == 1


@pytest.fixture
def without_photos(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    caches = (photos.poster_texture, photos.cut_out)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(photos, "read_photo", lambda photo: None)
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("without_photos")
def test_worlds_without_photographs_still_render(small: CameraModel) -> None:
    for world in (World.indoor(5, px_m=20.0), World.street(5, px_m=15.0)):
        frame = world.render(world.drive(1.0).T_world_cam[3], small)
        assert frame.image.std() > 20
        assert not any(thing.is_photo for thing in world.scene.instances)


def test_outlines_lie_inside_their_pictures() -> None:
    for name in photos.available_posters(with_objects=True):
        texture = photos.poster_texture(name)
        assert texture is not None and texture.instances is not None
        numbers = set(np.unique(texture.instances).tolist()) - {0}
        assert numbers == set(range(1, len(texture.object_names) + 1))
        picture = photos.read_photo(photos.POSTERS[name])
        assert picture is not None
        for _, outline in photos.POSTERS[name].objects:
            points = np.array(outline)
            assert (points >= 0).all() and (points <= picture.shape[1::-1]).all()
