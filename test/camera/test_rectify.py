"""Rectification: pictures and point maps agree, for the three lens models."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nodes.camera.distortion import distort
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.rectify import (
    Rectifier,
    boxes_to_raw,
    raw_to_rectified,
    rectified_matrix,
    rectified_to_raw,
    working_size_wh,
)
from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.camera.scaling import halve
from vision_nodes.camera.transforms import matrix_from_quat_xyzw

WH = (640, 480)
K = np.array([[420.0, 0, 322.0], [0, 425.0, 236.0], [0, 0, 1]])
P = np.array([[360.0, 0, 318.0], [0, 362.0, 241.0], [0, 0, 1]])
TILT = matrix_from_quat_xyzw(np.array([0.01, -0.02, 0.015, 1.0]))
LENSES = {
    "plumb_bob": [-0.28, 0.08, 0.0012, -0.0007, -0.01],
    "rational_polynomial": [0.4, 0.03, 0.0008, -0.0004, 0.002, 0.7, 0.1, 0.01],
    "equidistant": [-0.01, 0.004, -0.002, 0.0003],
}


def camera(model: str, R: np.ndarray | None = None, P: np.ndarray | None = P) -> CameraModel:
    return CameraModel(WH, K, model, np.array(LENSES[model]), np.eye(3) if R is None else R, P)


@pytest.fixture(
    params=[(m, r) for m in LENSES for r in (False, True)], ids=lambda p: f"{p[0]}-{'R' if p[1] else 'I'}"
)
def lens(request) -> CameraModel:
    model, rotated = request.param
    return camera(model, TILT if rotated else None)


def grid(step: int = 40) -> np.ndarray:
    x, y = np.meshgrid(np.arange(0, WH[0], step), np.arange(0, WH[1], step))
    return np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)


def project_slowly(lens: CameraModel, xy: np.ndarray) -> np.ndarray:
    """The models' formulas once more, one point at a time."""
    raw = []
    for u, v in xy:
        x, y, z = lens.R.T @ np.linalg.inv(lens.P) @ [u, v, 1]
        x, y = x / z, y / z
        r2 = x * x + y * y
        d = lens.distortion
        if lens.distortion_model == "equidistant":
            theta = np.arctan(np.sqrt(r2))
            scale = (
                theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(d))) / np.sqrt(r2)
                if r2
                else 1
            )
            xd, yd = x * scale, y * scale
        else:
            k4, k5, k6 = d[5:8] if len(d) == 8 else (0, 0, 0)
            radial = (1 + d[0] * r2 + d[1] * r2**2 + d[4] * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
            xd = x * radial + 2 * d[2] * x * y + d[3] * (r2 + 2 * x * x)
            yd = y * radial + d[2] * (r2 + 2 * y * y) + 2 * d[3] * x * y
        raw.append([K[0, 0] * xd + K[0, 2], K[1, 1] * yd + K[1, 2]])
    return np.array(raw)


def test_rectified_to_raw_is_the_published_model(lens):
    np.testing.assert_allclose(rectified_to_raw(lens, grid()), project_slowly(lens, grid()), atol=1e-9)


def test_point_maps_are_inverse(lens):
    raw = rectified_to_raw(lens, grid())
    np.testing.assert_allclose(raw_to_rectified(lens, raw), grid(), atol=1e-4)


def test_no_points(lens):
    empty = np.zeros((0, 2))
    assert rectified_to_raw(lens, empty).shape == raw_to_rectified(lens, empty).shape == (0, 2)
    assert boxes_to_raw(lens, np.zeros((0, 4), np.float32)).shape == (0, 4)


def dots(points: np.ndarray, wh: tuple[int, int], sigma: float) -> np.ndarray:
    """White Gaussian dots on black, centred at sub-pixel positions."""
    x, y = np.meshgrid(np.arange(wh[0]), np.arange(wh[1]))
    image = np.zeros((wh[1], wh[0]))
    for u, v in points:
        image += np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2))
    return np.clip(255 * image, 0, 255).astype(np.uint8)


def centre_near(image: np.ndarray, guess: np.ndarray, radius: int) -> np.ndarray:
    u0, v0 = np.rint(guess).astype(int)
    patch = image[v0 - radius : v0 + radius + 1, u0 - radius : u0 + radius + 1].astype(float)
    y, x = np.mgrid[v0 - radius : v0 + radius + 1, u0 - radius : u0 + radius + 1]
    return np.array([(x * patch).sum(), (y * patch).sum()]) / patch.sum()


@pytest.mark.parametrize("target_wh", [(640, 480), (320, 240), (256, 192), (213, 160), (160, 120)])
def test_a_drawn_pattern_lands_where_the_point_map_says(lens, target_wh):
    """Dots at known places of the raw image, found in the rectified and scaled picture."""
    rectified = np.array([[160.0, 120], [320, 120], [480, 120], [160, 360], [320, 240], [480, 360]])
    scale = WH[0] / target_wh[0]
    raw = dots(rectified_to_raw(lens, rectified), WH, 3 * max(1, scale / 2))
    rectifier = Rectifier(lens, WH, target_wh)
    small = rectifier.apply(raw)
    assert small.shape == (target_wh[1], target_wh[0])
    for point, want in zip(rectified, ResizeMap(WH, target_wh).to_target(rectified), strict=True):
        got = centre_near(small, want, 9)
        assert np.abs(got - want).max() < 0.12, (point, got, want)


def test_the_result_s_camera_projects_rays_to_the_result_s_pixels(lens):
    """A scene point seen by the raw camera appears where the new K projects its (rotated) ray."""
    rectifier = Rectifier(lens, WH, (320, 240))
    assert rectifier.camera.size_wh == (320, 240) and rectifier.camera.is_rectified
    ray = np.array([0.12, -0.2, 1.0])
    raw = distort(ray[None, :2], lens.distortion_model, lens.distortion) @ K[:2, :2].T + K[:2, 2]
    turned = lens.R @ ray
    want = (rectifier.camera.K @ turned / turned[2])[:2]
    got = centre_near(rectifier.apply(dots(raw, WH, 3.0)), want, 9)
    assert np.abs(got - want).max() < 0.1


@pytest.mark.parametrize("channels", [None, 3, 4])
def test_same_picture_as_one_plain_remap(lens, channels):
    """At full size nothing but the map's fixed point separates it from OpenCV's own undistortion."""
    rng = np.random.default_rng(0)
    shape = (WH[1], WH[0]) if channels is None else (WH[1], WH[0], channels)
    raw = cv2.GaussianBlur(rng.integers(0, 256, shape, np.uint8), (0, 0), 3)
    build = (
        cv2.fisheye.initUndistortRectifyMap
        if lens.distortion_model == "equidistant"
        else cv2.initUndistortRectifyMap
    )
    maps = build(K, lens.distortion, lens.R, P, WH, cv2.CV_32FC1)
    want = cv2.remap(raw, *maps, cv2.INTER_LINEAR)
    got = Rectifier(lens, WH, WH).apply(raw)
    difference = np.abs(got.astype(int) - want)
    assert got.shape == want.shape and difference.max() <= 8  # at the black border
    assert (difference > 1).mean() < 1e-3


def test_a_large_shrink_averages_instead_of_aliasing():
    """A one-pixel checkerboard has no content at a third of the size; bilinear sampling alone invents some."""
    wh = (960, 720)
    board = (np.indices((720, 960)).sum(axis=0) % 2 * 255).astype(np.uint8)
    lens = CameraModel(
        wh, np.array([[700.0, 0, 480], [0, 700, 360], [0, 0, 1]]), "plumb_bob", np.array([-0.1, 0, 0, 0, 0])
    )
    rectifier = Rectifier(lens, wh, (320, 240))
    ours = rectifier.apply(board)[20:-20, 20:-20]
    maps = cv2.initUndistortRectifyMap(
        lens.K, lens.distortion, None, rectifier.camera.K, (320, 240), cv2.CV_16SC2
    )
    plain = cv2.remap(board, *maps, cv2.INTER_LINEAR)[20:-20, 20:-20]
    assert ours.std() < 2
    assert plain.std() > 20


@pytest.mark.parametrize("wh", [(1281, 961), (643, 481), (131, 97)])
@pytest.mark.parametrize("calibrated", [False, True])
def test_odd_sizes_keep_their_geometry(wh, calibrated):
    target = (wh[0] // 4, wh[1] // 4)
    model = CameraModel(
        wh,
        np.array([[wh[0], 0, wh[0] / 2], [0, wh[0], wh[1] / 2], [0, 0, 1.0]]),
        "plumb_bob",
        np.array([-0.1, 0, 0, 0]),
    )
    rectifier = Rectifier(model if calibrated else None, wh, target)
    point = np.array([[0.7 * wh[0], 0.6 * wh[1]]])
    raw = rectified_to_raw(model, point) if calibrated else point
    want = ResizeMap(wh, target).to_target(point)[0]
    got = centre_near(rectifier.apply(dots(raw, wh, 4.0)), want, 5)
    assert np.abs(got - want).max() < 0.15


def test_nothing_to_do_does_nothing():
    image = np.zeros((480, 640, 3), np.uint8)
    assert Rectifier(None, WH, WH).apply(image) is image
    assert Rectifier(CameraModel(WH, K), WH, WH).apply(image) is image
    assert Rectifier(None, WH, WH).camera is None


def test_a_rectified_camera_is_only_scaled():
    rectifier = Rectifier(CameraModel(WH, K, P=P), WH, (320, 240))
    np.testing.assert_allclose(rectifier.camera.K, ResizeMap(WH, (320, 240)).camera_matrix(K))
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    np.testing.assert_array_equal(rectifier.apply(image), halve(image))


def test_a_camera_of_another_size_is_a_mistake():
    with pytest.raises(ValueError, match="640"):
        Rectifier(CameraModel(WH, K), (320, 240), (320, 240))


def test_without_p_the_rectified_image_keeps_k():
    assert rectified_matrix(camera("plumb_bob", P=None)) is not None
    np.testing.assert_array_equal(Rectifier(camera("plumb_bob", P=None), WH, WH).camera.K, K)


def test_rotation_without_distortion_is_rectified_too():
    lens = CameraModel(WH, K, R=TILT, P=P)
    raw = rectified_to_raw(lens, grid())
    want = (K @ TILT.T @ np.linalg.inv(P) @ np.column_stack([grid(), np.ones(len(grid()))]).T).T
    np.testing.assert_allclose(raw, want[:, :2] / want[:, 2:], atol=1e-9)
    np.testing.assert_allclose(raw_to_rectified(lens, raw), grid(), atol=1e-6)
    point = np.array([[300.0, 200.0]])
    got = centre_near(Rectifier(lens, WH, WH).apply(dots(rectified_to_raw(lens, point), WH, 3)), point[0], 9)
    assert np.abs(got - point[0]).max() < 0.1


def test_points_behind_the_camera_have_no_pixel():
    turned = CameraModel(WH, K, "plumb_bob", np.array(LENSES["plumb_bob"]), np.diag([-1.0, 1, -1]), P)
    assert np.isnan(rectified_to_raw(turned, np.array([[318.0, 241.0]]))).all()


def test_points_beyond_the_lens_have_no_rectified_pixel():
    """At a distorted radius that the polynomial never reaches there is nothing to find."""
    lens = CameraModel(WH, K, "plumb_bob", np.array([-0.5, 0.0, 0, 0, 0]), P=P)
    corner = np.array([[0.0, 0.0], [320.0, 240.0]])
    got = raw_to_rectified(lens, corner)
    assert np.isnan(got[0]).all() and np.isfinite(got[1]).all()


def test_a_box_maps_to_the_box_around_its_bowed_outline(lens):
    boxes = np.array([[100, 80, 400, 300], [500, 350, 620, 460], [10, 10, 12, 11]], np.float32)
    got = boxes_to_raw(lens, boxes)
    assert got.dtype == np.float32
    for (left, top, right, bottom), box in zip(boxes, got, strict=True):
        xs, ys = np.linspace(left, right, 101), np.linspace(top, bottom, 101)
        outline = np.concatenate([
            np.column_stack([xs, np.full(101, top)]), np.column_stack([xs, np.full(101, bottom)]),
            np.column_stack([np.full(101, left), ys]), np.column_stack([np.full(101, right), ys]),
        ])  # fmt: skip
        raw = np.clip(project_slowly(lens, outline), -0.5, np.array(WH) - 0.5)
        assert np.abs(box - [*raw.min(axis=0), *raw.max(axis=0)]).max() < 0.5


def test_boxes_stay_inside_the_raw_image(lens):
    got = boxes_to_raw(lens, np.array([[-500, -500, 2000, 2000]], np.float32))
    assert (got >= -0.5).all() and (got[0, 2:] <= np.array(WH) - 0.5).all()


def test_boxes_of_a_rectified_camera_are_the_same():
    boxes = np.array([[1.5, 2, 30, 40]], np.float32)
    np.testing.assert_array_equal(boxes_to_raw(CameraModel(WH, K), boxes), boxes)


def test_an_ideal_fisheye_is_rectified():
    lens = CameraModel(WH, K, "equidistant", np.zeros(4), P=P)
    point = np.array([[500.0, 241.0]])
    angle = np.arctan((500 - 318) / 360)
    np.testing.assert_allclose(rectified_to_raw(lens, point)[0, 0], 322 + 420 * angle, atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(16, 2000))
def test_working_size(width, height, max_width):
    w, h = working_size_wh((width, height), max_width)
    assert 1 <= w <= max_width and 1 <= h <= height
    if width <= max_width:
        assert (w, h) == (width, height)
    else:
        assert w == max_width and abs(h - height * max_width / width) <= 1
