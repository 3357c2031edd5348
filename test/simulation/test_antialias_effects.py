"""Edges, lens and sensor effects against what can be worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.atlas import LEVELS, Texture, TextureAtlas, mip_levels
from vision_nodes.simulation.effects import Effects, apply_effects, between
from vision_nodes.simulation.path import optical_pose
from vision_nodes.simulation.scene import SceneBuilder
from vision_nodes.simulation.world import World


def white_board_on_black(left_m: float, roll: float = 0.0) -> tuple[World, np.ndarray]:
    """A white board 2 m ahead from `left_m` to far right, a black wall 4 m ahead; the pose rolls."""
    builder = SceneBuilder()
    white, black = (builder.texture(Texture(np.full((64, 64, 3), v, np.uint8))) for v in (200, 0))
    builder.quad((2, -left_m, 5), (0, -10, 0), (0, 0, -10), white, 5, emissive=True)
    builder.quad((4, 20, 20), (0, -40, 0), (0, 0, -40), black, 4, emissive=True)
    return World(builder.build(), "test", 0), optical_pose(np.zeros(3), 0.0, roll=roll)


@pytest.mark.parametrize("left_m", [0.0, 0.1, 0.1013, 0.1027, -0.2041])
def test_edge_pixel_is_mixed_by_its_covered_area(small: CameraModel, left_m: float) -> None:
    world, pose = white_board_on_black(left_m)
    row = world.render(pose, small).image[100, :, 0].astype(float)
    edge = small.K[0, 2] + small.fx * left_m / 2  # board begins here, pixel centres at integers
    covered = 320 - 0.5 - edge
    assert row.sum() / 200 == pytest.approx(covered, abs=0.02)


def test_slanted_edges_are_smooth_in_both_directions(small: CameraModel) -> None:
    for roll in (0.2, 0.7, 1.3):
        world, pose = white_board_on_black(0.0, roll)
        image = world.render(pose, small).image[..., 0].astype(np.float64) / 200
        # against a 16 times finer picture of the same board
        fine = CameraModel(
            (1600, 1600),
            np.array([[16 * 250.0, 0, 16 * 50.5 - 0.5], [0, 16 * 255.0, 16 * 50.5 - 0.5], [0, 0, 1]]),
        )
        want = world.depth(pose, fine) < 3
        want = want.reshape(100, 16, 100, 16).mean(axis=(1, 3))
        got = image[80:180, 100:200]  # the same pixels: the principal point lies at (150, 130)
        assert np.abs(got - want).max() < 0.12 and np.abs(got - want).mean() < 2e-3


def test_labels_stay_those_of_the_pixel_centre(small: CameraModel) -> None:
    world, pose = white_board_on_black(0.1013)
    frame = world.render(pose, small)
    edge = small.K[0, 2] + small.fx * 0.1013 / 2
    columns = np.arange(320)
    assert ((frame.labels[100] == 5) == (columns > edge)).all()


def test_no_effects_change_nothing(street: World, small: CameraModel) -> None:
    pose = street.drive().T_world_cam[0]
    plain, same = street.render(pose, small), street.render(pose, small, effects=Effects())
    assert plain.image.tobytes() == same.image.tobytes()


def test_exposure_scales_and_noise_is_seeded() -> None:
    grey = np.full((200, 200, 3), 100, np.uint8)
    assert (apply_effects(grey, Effects(exposure=1.5)) == 150).all()
    noisy = [apply_effects(grey, Effects(noise_sigma=5.0, seed=seed)) for seed in (1, 1, 2)]
    assert noisy[0].tobytes() == noisy[1].tobytes() != noisy[2].tobytes()
    assert noisy[0].std() == pytest.approx(5.0, rel=0.05) and noisy[0].mean() == pytest.approx(100, abs=0.2)
    dark = apply_effects(grey, Effects(vignetting=0.4))
    assert dark[100, 100, 0] == 100 and dark[0, 0, 0] == pytest.approx(60, abs=1)


def test_pose_between_two_poses() -> None:
    a = optical_pose(np.array([1.0, 2, 3]), 0.1)
    b = optical_pose(np.array([1.5, 2, 3]), 0.3)
    np.testing.assert_allclose(between(a, b, 0.0), a, atol=1e-12)
    np.testing.assert_allclose(between(a, b, 1.0), b, atol=1e-12)
    np.testing.assert_allclose(between(a, b, 0.5)[:3, :3], optical_pose(np.zeros(3), 0.2)[:3, :3], atol=1e-12)


def test_motion_blur_widens_an_edge_by_the_motion(small: CameraModel) -> None:
    world, pose = white_board_on_black(0.1)
    end = pose.copy()
    end[:3, 3] += 0.08 * pose[:3, 0]  # 8 cm to the right: the board 2 m away moves left by 10 px
    sharp = world.render(pose, small)
    blurred = world.render(pose, small, effects=Effects(T_world_cam_end=end, blur_samples=11))
    row = blurred.image[100, :, 0].astype(float) / 200
    assert ((row > 0.02) & (row < 0.98)).sum() == pytest.approx(10, abs=2)
    assert blurred.depth_m.tobytes() == sharp.depth_m.tobytes()


@pytest.mark.parametrize(
    ("model", "distortion"),
    [("plumb_bob", [-0.28, 0.07, 0.001, -0.0005, 0.0]), ("equidistant", [-0.02, 0.01, -0.003, 0.001])],
)
def test_distorted_views_follow_opencv(model: str, distortion: list[float]) -> None:
    """Depth along z at a distorted pixel of a fronto-parallel wall is constant; a dot lands as projected."""
    K = np.array([[250.0, 0, 160], [0, 250.0, 118], [0, 0, 1]])
    camera = CameraModel((320, 240), K, model, np.array(distortion))
    builder = SceneBuilder()
    picture = np.zeros((512, 512, 3), np.uint8)
    cv2.circle(picture, (400, 120), 2, (255, 255, 255), -1, cv2.LINE_AA)
    origin = np.array([3.0, 6.0, 6.0])
    builder.quad(origin, (0, -12, 0), (0, 0, -12), builder.texture(Texture(picture)), 5, emissive=True)
    picture_centre = origin + (400.5 / 512) * np.array([0, -12, 0]) + (120.5 / 512) * np.array([0, 0, -12.0])
    pose = optical_pose(np.array([0, -2.0, 2.0]), 0.0)
    frame = World(builder.build(), "test", 0).render(pose, camera)
    hit = np.isfinite(frame.depth_m)
    assert hit.mean() > 0.9 and np.allclose(frame.depth_m[hit], 3.0, atol=1e-4)
    cam = pose[:3, :3].T @ (picture_centre - pose[:3, 3])
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    args = (cam.reshape(1, 1, 3), np.zeros(3), np.zeros(3), K, np.array(distortion))
    want = project(*args)[0].ravel()
    weight = frame.image[..., 0].astype(float)
    v, u = np.mgrid[:240, :320]
    got = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(got, want, atol=0.15)


def test_mip_levels_keep_the_mean_and_textures_conform() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (128, 192, 3), dtype=np.uint8)
    levels = mip_levels(picture)
    assert len(levels) == LEVELS and levels[-1].shape == (2, 3, 3)
    assert abs(levels[-1].mean() - picture.mean()) < 1.5
    assert Texture(picture[:100, :70]).conformed().image.shape == (128, 64, 3)
    atlas = TextureAtlas([Texture(picture), Texture(picture[:64, :64])])
    x, y = int(atlas.origin_x[0]), int(atlas.origin_y[0])
    assert (atlas.image[y : y + 128, x : x + 192] == picture).all()
    with pytest.raises(ValueError, match="alpha"):
        Texture(picture, alpha=np.zeros((3, 3), np.uint8))
