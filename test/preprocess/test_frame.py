"""The frame all tasks share."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.resize_map import Fit
from vision_nodes.preprocess.frame import Frame

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def frame(**changes) -> Frame:
    return Frame(**{"stamp_ns": 1, "frame_id": "cam", "image": IMAGE, "source_wh": (128, 96), **changes})


def test_a_frame_is_rgb_uint8():
    for bad in (IMAGE[..., 0], IMAGE[..., :2], IMAGE.astype(np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            frame(image=bad)


def test_resized_copies_are_made_once():
    one = frame()
    assert one.resized((32, 24)) is one.resized((32, 24))
    assert one.resized((64, 48)) is IMAGE
    np.testing.assert_array_equal(
        one.resized((32, 24)), cv2.resize(IMAGE, (32, 24), interpolation=cv2.INTER_AREA)
    )
    assert one.gray() is one.gray() and one.gray().shape == (48, 64)


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size_wh", [(40, 40), (100, 30), (32, 24)])
def test_a_point_in_the_frame_is_seen_where_the_map_says(fit, size_wh):
    image = np.zeros((48, 64, 3), np.uint8)
    cv2.circle(image, (30, 22), 5, (255, 255, 255), -1)
    one = frame(image=image)
    small = one.resized(size_wh, fit)
    assert small.shape == (size_wh[1], size_wh[0], 3)
    weight = small[..., 0].astype(float)
    weight[weight <= 114] = 0  # padding
    v, u = np.indices(weight.shape)
    seen = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
    assert np.abs(seen - one.map_to(size_wh, fit).to_target(np.array([30.0, 22.0]))).max() < 0.35


def test_scaled_camera():
    assert frame().scaled_camera((32, 24)) is None
    K = np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
    scaled = frame(camera=CameraModel((64, 48), K)).scaled_camera((32, 24))
    np.testing.assert_allclose(scaled.K, [[25, 0, 15.5], [0, 25, 11.5], [0, 0, 1]])
