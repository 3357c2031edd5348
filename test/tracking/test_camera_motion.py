"""Camera motion against the exact warp that made the second picture."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.tracking.camera_motion import CameraMotion


def picture(size_hw: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (size_hw[0] // 6, size_hw[1] // 6)).astype(np.uint8)
    return cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def test_first_and_flat_images_tell_nothing() -> None:
    motion = CameraMotion()
    no_boxes = np.zeros((0, 4), np.float32)
    assert motion.update(np.full((480, 640), 7, np.uint8), no_boxes) is None
    assert motion.update(np.full((480, 640), 7, np.uint8), no_boxes) is None


def test_known_warp_is_recovered_at_full_resolution() -> None:
    first = picture((480, 640))
    angle, zoom = np.deg2rad(2.0), 1.03
    A = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = np.column_stack([A, [9.0, -6.0]])
    second = cv2.warpAffine(first, affine, (640, 480), borderMode=cv2.BORDER_REFLECT)
    motion = CameraMotion()
    motion.update(first, np.zeros((0, 4), np.float32))
    found = motion.update(second, np.zeros((0, 4), np.float32))
    assert found is not None
    corners = np.array([[50, 50], [590, 60], [320, 430]], float)
    expected = corners @ affine[:, :2].T + affine[:, 2]
    assert np.abs(corners @ found[:, :2].T + found[:, 2] - expected).max() < 0.8


def test_a_moving_object_does_not_count_as_the_camera() -> None:
    still, thing = picture((480, 640)), picture((300, 300))
    box = np.array([[100, 100, 400, 400]], np.float32)
    first, second = still.copy(), still.copy()
    first[100:400, 100:400] = thing
    second[100:400, 130:430] = thing
    motion = CameraMotion()
    motion.update(first, box)
    found = motion.update(second, box)
    assert found is not None
    assert np.abs(found - np.eye(2, 3)).max() < 0.5
