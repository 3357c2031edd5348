"""Depth data: focal normalisation, crops that stay consistent, sizes of things."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.errors import ConfigError, TrainingError
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.depth import DepthTask
from vision_nodes.training.depth_data import (
    FX_CANONICAL,
    MAX_M,
    RenderedViews,
    SizedThings,
    canonical_scale,
    crop_resize,
    is_whole,
)


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """A wall 3 m away seen through two lenses, with sky above."""
    depth = np.full((2, 96, 128), 3.0, np.float16)
    depth[:, :20] = np.nan
    images = np.full((2, 192, 256, 3), 90, np.uint8)
    path = tmp_path / "views.npz"
    np.savez(path, images=images, depth=depth, fx=np.array([110.0, 440.0], np.float32))
    return path


def test_canonical_depth_is_metres_times_focal_ratio(rendered: Path):
    data = RenderedViews([rendered], 0, augmented=False)
    near, far = data[0]["depth"][50, 60], data[1]["depth"][50, 60]
    assert float(near) == pytest.approx(3.0 * FX_CANONICAL / 110)
    assert float(far) == pytest.approx(3.0 * FX_CANONICAL / 440)
    assert float(data[0]["depth"][5, 5]) == MAX_M


def test_scale_follows_the_width():
    assert canonical_scale(220.0, 256) == pytest.approx(1.0)
    assert canonical_scale(440.0, 512) == pytest.approx(1.0)


def test_zooming_in_brings_the_wall_nearer(rendered: Path):
    data = RenderedViews([rendered], 3, augmented=True)
    seen = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        depth = data[0]["depth"]
        wall = depth[depth < MAX_M]
        assert float(wall.max() - wall.min()) < 1e-3  # still one plane facing the camera
        seen.add(round(6.0 / float(wall[0]), 3))
    assert min(seen) == 1.0 and 1.0 < max(seen) <= 1.35


def test_crop_keeps_pixels_where_they_belong():
    array = np.zeros((48, 64), np.float32)
    array[24:28, 32:36] = 1
    out = crop_resize(array, 0.25, 0.25, 2.0)
    ys, xs = np.nonzero(out > 0.5)
    # block centre (33.5, 25.5) px -> ((33.5 + .5) - 16) * 2 - .5
    assert xs.mean() == pytest.approx(35.5, abs=0.3) and ys.mean() == pytest.approx(27.5, abs=0.3)


def coco(tmp_path: Path, boxes: list[tuple[int, list[float]]]) -> Path:
    (tmp_path / "images" / "train").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images" / "train" / "a.png"), np.full((200, 256, 3), 80, np.uint8))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 256, "height": 200}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "kite"}],
        "annotations": [
            {"image_id": 1, "category_id": category, "bbox": box, "iscrowd": 0} for category, box in boxes
        ],
    }
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content))
    return path


def test_a_person_is_as_far_as_their_height_says(tmp_path: Path):
    annotation = coco(tmp_path, [(1, [100, 50, 40, 110])])
    sample = SizedThings(annotation, (256, 192), 0, augmented=False)[0]
    box = sample["boxes"][0].numpy()
    np.testing.assert_allclose(box[:4], [100 / 256, 50 / 200, 140 / 256, 160 / 200], rtol=1e-5)
    assert box[4] == pytest.approx(FX_CANONICAL * 1.65 / 110)  # 256 px wide: one picture px is one network px
    assert not sample["boxes"][1:].any() and not sample["depth"].any()


def test_what_cannot_be_measured_is_left_out():
    assert is_whole("person", [100, 50, 40, 110], 256, 200)
    assert not is_whole("person", [100, 50, 90, 110], 256, 200)  # sitting or bent
    assert not is_whole("person", [100, 90, 40, 110], 256, 200)  # cut by the border
    assert not is_whole("person", [100, 50, 4, 10], 256, 200)  # too small
    assert not is_whole("kite", [100, 50, 40, 110], 256, 200)


def test_boxes_follow_crop_and_flip(tmp_path: Path):
    """The bright thing in the picture must lie inside its box after any augmentation."""
    annotation = coco(tmp_path, [(1, [100, 60, 30, 90])])
    picture = np.zeros((200, 256, 3), np.uint8)
    picture[60:150, 100:130] = 255
    cv2.imwrite(str(tmp_path / "images" / "train" / "a.png"), picture)
    data = SizedThings(annotation, (256, 192), 5, augmented=True)
    checked = 0
    for epoch in range(15):
        data.set_epoch(epoch)
        sample = data[0]
        box = sample["boxes"][0].numpy()
        if box[4] == 0:
            continue
        gray = sample["image"].numpy().mean(axis=2)
        ys, xs = np.nonzero(gray > gray.max() / 2)
        found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / (256, 192, 256, 192)
        np.testing.assert_allclose(found, box[:4], atol=0.015)
        checked += 1
    assert checked > 8


def test_no_files_and_unknown_options_are_refused():
    with pytest.raises(TrainingError, match="npz"):
        RenderedViews([], 0, False)
    with pytest.raises(ConfigError, match="options"):
        DepthTask(TrainingConfig("depth", options={"roooms": "x"}))
