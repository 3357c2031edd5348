"""Truth of the worlds: labels, boxes, seeds, drives, loops."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.loops import loop_pairs
from vision_nodes.simulation.path import optical_pose
from vision_nodes.simulation.photos import available_posters, poster_texture
from vision_nodes.simulation.scene import SceneBuilder
from vision_nodes.simulation.street import StreetMaker
from vision_nodes.simulation.world import World
from vision_nodes.tasks.classes import GENERAL_CLASSES, GENERAL_PALETTE, class_id


def test_class_table_is_consistent() -> None:
    assert len(GENERAL_CLASSES) == len(set(GENERAL_CLASSES)) == len(GENERAL_PALETTE) == 17
    assert len({tuple(row) for row in GENERAL_PALETTE.tolist()}) == 17
    assert class_id("road") == 0 and class_id("pole_sign") == 16
    with pytest.raises(ValueError, match="lava"):
        class_id("lava")


def test_boxes_follow_the_instance_buffer(street: World, vga: CameraModel) -> None:
    drive = street.drive()
    seen = set()
    for i in range(0, 300, 30):
        frame = street.render(drive.T_world_cam[i], vga)
        for box, name, thing in zip(frame.boxes_xyxy, frame.box_labels, frame.instance_ids):
            ys, xs = np.nonzero(frame.instances == thing)
            assert box.tolist() == [xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5]
            seen.add(name)
        assert ((frame.visible_fraction > 0) & (frame.visible_fraction <= 1)).all()
        assert set(np.unique(frame.labels)) <= set(range(17))
    assert ({"car", "person"} if available_posters(with_objects=True) else {"car"}) <= seen


def test_equal_seeds_give_equal_bytes_and_others_differ(small: CameraModel) -> None:
    worlds = [World(StreetMaker(seed, px_m=20).make(), "street", seed) for seed in (3, 3, 4)]
    pose = worlds[0].drive().T_world_cam[40]
    a, b, c = (world.render(pose, small) for world in worlds)
    assert a.image.tobytes() == b.image.tobytes() and a.depth_m.tobytes() == b.depth_m.tobytes()
    assert np.abs(a.image.astype(int) - c.image).mean() > 5
    assert not np.array_equal(worlds[0].drive().T_world_cam, worlds[2].drive().T_world_cam)


def test_drive_moves_like_a_robot(street: World) -> None:
    drive = street.drive(15.0, 20.0)
    assert len(drive) == 300 and drive.stamps_ns[0] > 0
    T = drive.T_world_cam
    np.testing.assert_allclose(
        T[:, :3, :3] @ T[:, :3, :3].transpose(0, 2, 1), np.eye(3)[None].repeat(300, 0), atol=1e-9
    )
    step = np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1) * 15
    assert step.min() > 1.5 and step.max() < 3.6
    relative = T[:-1, :3, :3].transpose(0, 2, 1) @ T[1:, :3, :3]
    turn = np.degrees(np.arccos(np.clip((np.trace(relative, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert turn.max() < 2.6
    assert T[:, 2, 3].min() > 1.0 and T[:, 2, 3].max() < 1.5


def test_drive_closes_its_loop_and_overlap_is_symmetric(street: World, small: CameraModel) -> None:
    drive = street.drive(5.0, 20.0)
    depths = [street.render(T, small).depth_m for T in drive.T_world_cam]
    found = loop_pairs(drive.T_world_cam, small, depths, min_gap=25)
    positives = found.positives()
    assert len(positives) > 10
    late = np.unique(positives[:, 1])
    assert late.max() == 99 and len(late) >= 18  # 4 s at 5 Hz
    turned = loop_pairs(drive.T_world_cam[::-1], small, depths[::-1], min_gap=25)
    mirrored = {(99 - j, 99 - i): o for (i, j), o in zip(turned.pairs.tolist(), turned.overlap.tolist())}
    assert mirrored == {tuple(p): o for p, o in zip(found.pairs.tolist(), found.overlap.tolist())}


def test_no_loops_without_frames(small: CameraModel) -> None:
    found = loop_pairs(np.zeros((0, 4, 4)), small, [])
    assert found.pairs.shape == (0, 2) and found.overlap.shape == (0,)


def test_visible_fraction_of_a_photographed_person(vga: CameraModel) -> None:
    """All of the person in view: nearly 1 (hull against outline). Half behind a wall: half of that."""
    poster = poster_texture("cameraman")
    if poster is None:
        pytest.skip("scikit-image is not installed")
    fractions = []
    for covered in (False, True):
        builder = SceneBuilder()
        wall = builder.texture(Texture(np.full((64, 64, 3), 90, np.uint8)))
        builder.quad((3, 1, 1), (0, -2, 0), (0, 0, -2), builder.texture(poster), 5)
        if covered:  # the left half of the poster's width, nearer
            builder.quad((2.5, 5, 5), (0, -5 + 0.57, 0), (0, 0, -10), wall, 5)
        frame = World(builder.build(), "test", 0).render(optical_pose(np.zeros(3), 0.0), vga)
        assert frame.box_labels == ("person",) and frame.boxes.is_photo.all()
        fractions.append(float(frame.visible_fraction[0]))
    assert fractions[0] > 0.75
    assert 0.1 < fractions[1] < 0.85 * fractions[0]
