"""The renderer against geometry worked out independently."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.atlas import Texture
from vision_nodes.simulation.path import optical_pose
from vision_nodes.simulation.scene import Scene, SceneBuilder
from vision_nodes.simulation.world import World


def world_of(scene: Scene) -> World:
    return World(scene, "test", 0)


def plain(rgb: tuple[int, int, int] = (200, 120, 60)) -> Texture:
    return Texture(np.full((64, 64, 3), rgb, np.uint8))


def wall_ahead(builder: SceneBuilder, distance: float, size: float, texture: int, **options: object) -> None:
    """A square wall facing a camera at the origin that looks along +x."""
    origin = (distance, size / 2, size / 2)
    builder.quad(origin, (0, -size, 0), (0, 0, -size), texture, 5, **options)


def rays(camera: CameraModel) -> np.ndarray:
    w, h = camera.size_wh
    u, v = np.meshgrid(np.arange(w), np.arange(h))
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(camera.K).T


def test_empty_world_gives_an_empty_view(small: CameraModel) -> None:
    frame = world_of(SceneBuilder().build()).render(np.eye(4), small)
    assert np.isnan(frame.depth_m).all() and (frame.labels == 255).all()
    assert frame.boxes_xyxy.shape == (0, 4) and frame.box_labels == () and not frame.image.any()


def test_depth_of_a_tilted_plane_is_exact(small: CameraModel) -> None:
    builder = SceneBuilder()
    builder.quad((-50, 50, 0), (100, 0, 0), (0, -100, 0), builder.texture(plain()), 0)
    T_world_cam = optical_pose(np.array([1.0, -2.0, 1.3]), 0.7, pitch=0.4, roll=0.1)
    frame = world_of(builder.build()).render(T_world_cam, small)
    direction = rays(small) @ T_world_cam[:3, :3].T
    want = -1.3 / direction[..., 2]
    hit = np.isfinite(frame.depth_m)
    assert hit.mean() > 0.8
    np.testing.assert_allclose(frame.depth_m[hit], want[hit], rtol=2e-5)


def test_polygon_behind_and_through_the_camera(small: CameraModel) -> None:
    """A wall beside the camera that starts behind it: only the part ahead is drawn, with its depth."""
    builder = SceneBuilder()
    builder.quad((-5, 1, 2), (15, 0, 0), (0, 0, -4), builder.texture(plain()), 5)
    frame = world_of(builder.build()).render(optical_pose(np.zeros(3), 0.0), small)
    x = rays(small)[..., 0]
    hit = np.isfinite(frame.depth_m)
    np.testing.assert_allclose(frame.depth_m[hit], -1.0 / x[hit], rtol=2e-5)
    assert hit[130, 0] and not hit[:, 151:].any()  # the wall is on the left and ends 10 m ahead


def test_sky_has_no_depth_but_a_label(street: World, small: CameraModel) -> None:
    frame = street.render(optical_pose(np.array([8.0, 0, 1.3]), 1.0, pitch=-1.2), small)
    sky = frame.labels == 7
    assert sky.mean() > 0.3
    assert np.isnan(frame.depth_m[sky]).all() and np.isfinite(frame.depth_m[~sky]).all()


@pytest.mark.parametrize("texel", [(100.0, 80.0), (300.5, 420.25), (511.0, 30.0)])
def test_mark_on_a_texture_lands_where_its_point_projects(
    texel: tuple[float, float], vga: CameraModel
) -> None:
    """A blurred dot painted at a texel, seen at an angle: its intensity centroid is the projected point."""
    y, x = np.mgrid[:512, :640] + 0.5
    dot = 220 * np.exp(-((x - texel[0]) ** 2 + (y - texel[1]) ** 2) / (2 * 6.0**2))
    builder = SceneBuilder()
    texture = builder.texture(Texture(np.repeat(np.rint(dot).astype(np.uint8)[..., None], 3, axis=2)))
    origin, edge_u, edge_v = np.array([3.0, 1.0, 2.2]), np.array([0.5, -2.0, 0]), np.array([0, 0, -1.6])
    builder.quad(origin, edge_u, edge_v, texture, 5, emissive=True)
    T_world_cam = optical_pose(np.array([0.1, 0.2, 1.2]), 0.05, pitch=-0.05, roll=0.03)
    image = world_of(builder.build()).render(T_world_cam, vga).image[..., 0].astype(float)
    world = origin + texel[0] / 640 * edge_u + texel[1] / 512 * edge_v
    cam = T_world_cam[:3, :3].T @ (world - T_world_cam[:3, 3])
    want = (vga.K @ cam)[:2] / cam[2]
    v, u = np.mgrid[:480, :640]
    centroid = np.array([(u * image).sum(), (v * image).sum()]) / image.sum()
    np.testing.assert_allclose(centroid, want, atol=0.1)


def test_nearer_polygon_hides_the_farther_whatever_the_order(small: CameraModel) -> None:
    for flip in (False, True):
        builder = SceneBuilder()
        near, far = builder.texture(plain((250, 0, 0))), builder.texture(plain((0, 250, 0)))
        walls = [(2.0, 0.5, near), (4.0, 10.0, far)]
        for distance, size, texture in reversed(walls) if flip else walls:
            wall_ahead(builder, distance, size, texture, emissive=True)
        frame = world_of(builder.build()).render(optical_pose(np.zeros(3), 0.0), small)
        assert frame.depth_m[130, 150] == pytest.approx(2.0) and frame.depth_m[10, 10] == pytest.approx(4.0)
        assert tuple(frame.image[130, 150]) == (250, 0, 0) and tuple(frame.image[10, 10]) == (0, 250, 0)


def test_back_faces_are_culled_unless_two_sided(small: CameraModel) -> None:
    for two_sided in (False, True):
        builder = SceneBuilder()
        builder.quad((2, -1, 1), (0, 2, 0), (0, 0, -2), builder.texture(plain()), 5, two_sided=two_sided)
        frame = world_of(builder.build()).render(optical_pose(np.zeros(3), 0.0), small)
        assert np.isfinite(frame.depth_m[130, 150]) == two_sided


def test_transparent_texels_show_what_is_behind(small: CameraModel) -> None:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, 32:] = 255
    builder = SceneBuilder()
    card = builder.texture(Texture(np.full((64, 64, 3), 90, np.uint8), alpha))
    wall_ahead(builder, 2.0, 2.0, card)
    wall_ahead(builder, 5.0, 10.0, builder.texture(plain()))
    frame = world_of(builder.build()).render(optical_pose(np.zeros(3), 0.0), small)
    assert frame.depth_m[130, 100] == pytest.approx(5.0) and frame.depth_m[130, 200] == pytest.approx(2.0)


def warp_residual(
    world: World, T_world_a: np.ndarray, T_world_b: np.ndarray, camera: CameraModel
) -> np.ndarray:
    """Frame B pulled into A through A's depth and both poses: grey differences where B sees the point."""
    a, b = world.render(T_world_a, camera), world.render(T_world_b, camera)
    points = rays(camera) * a.depth_m[..., None]
    T_b_a = np.linalg.inv(T_world_b) @ T_world_a
    in_b = points @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    pixels = in_b @ camera.K.T
    uv = (pixels[..., :2] / pixels[..., 2:]).astype(np.float32)
    pulled = cv2.remap(b.image, uv[..., 0], uv[..., 1], cv2.INTER_CUBIC, borderValue=(0, 0, 0))
    depth_b = cv2.remap(b.depth_m, uv[..., 0], uv[..., 1], cv2.INTER_NEAREST, borderValue=float("nan"))
    seen = np.abs(depth_b - in_b[..., 2]) < 0.01 * in_b[..., 2]
    flat = cv2.erode(seen.astype(np.uint8), np.ones((5, 5))) > 0
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float) for image in (a.image, pulled)]
    return (grey[0] - grey[1])[flat]


def test_views_agree_photometrically_through_depth_and_pose(street: World, vga: CameraModel) -> None:
    drive = street.drive()
    for i in (20, 120):
        residual = warp_residual(street, drive.T_world_cam[i], drive.T_world_cam[i + 2], vga)
        assert len(residual) > 150_000
        assert np.abs(residual).mean() < 2.5 and abs(residual.mean()) < 0.3
        off = drive.T_world_cam[i + 2].copy()
        off[:3, 3] += 0.05 * off[:3, 0]
        assert np.abs(residual).mean() < 0.75 * np.abs(_residual_with(street, drive, i, off, vga)).mean()


def _residual_with(street, drive, i, wrong, camera) -> np.ndarray:
    """The same comparison with a pose that is 5 cm wrong: it must be worse, or the test sees nothing."""
    a, b = (street.render(drive.T_world_cam[k], camera) for k in (i, i + 2))
    points = rays(camera) * a.depth_m[..., None]
    T_b_a = np.linalg.inv(wrong) @ drive.T_world_cam[i]
    pixels = (points @ T_b_a[:3, :3].T + T_b_a[:3, 3]) @ camera.K.T
    uv = (pixels[..., :2] / pixels[..., 2:]).astype(np.float32)
    pulled = cv2.remap(b.image, uv[..., 0], uv[..., 1], cv2.INTER_CUBIC)
    return (a.image.astype(float) - pulled).mean(axis=2)[np.isfinite(a.depth_m)]
