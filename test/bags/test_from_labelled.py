"""Labelled sets become bags with the files' own bytes and the labels as truth topics."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_nodes.bags.from_labelled import write_labelled_bag
from vision_nodes.bags.reader import BagReader
from vision_nodes.errors import BagError
from vision_nodes.messages.from_ros import (
    camera_model_from_ros,
    depth_image_from_ros,
    detections_from_ros,
    label_names_from_ros,
    mask_from_ros,
)


def picture(path: Path, shape: tuple[int, ...] = (24, 32, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(len(path.name)).integers(0, 255, shape, dtype=np.uint8))
    return path


def coco_set(folder: Path, images: str = "images/val") -> Path:
    for name in ("a.jpg", "bb.jpg"):
        picture(folder / images / name)
    boxes = [
        {"image_id": 1, "category_id": 3, "bbox": [2, 4, 10, 6], "iscrowd": 0},
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 30, 20], "iscrowd": 1},
    ]
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "bb.jpg"}],
        "categories": [{"id": 3, "name": "car"}, {"id": 7, "name": "train"}],
        "annotations": boxes,
    }
    (folder / "val.json").write_text(json.dumps(data))
    return folder


def decoded(bag: Path) -> dict[str, list[object]]:
    reader, topics = BagReader(bag), {}
    for message in reader.messages():
        topics.setdefault(message.topic, []).append(reader.deserialize(message))
    return topics


@pytest.mark.parametrize("images", [".", "images", "images/val"])
def test_coco(tmp_path: Path, images: str):
    written = write_labelled_bag(coco_set(tmp_path / "set", images), tmp_path / "out.mcap")
    assert (written.task, written.frames) == ("detection", 2)
    topics = decoded(tmp_path / "out.mcap")
    first, second = topics["/ground_truth/detections"]
    boxes = detections_from_ros(first, ["car", "train"])
    np.testing.assert_allclose(boxes.boxes_xyxy[0], [1.5, 3.5, 11.5, 9.5])  # pixel centres, not corners
    assert [d.id for d in first.detections] == ["", "crowd"] and len(second.detections) == 0
    file = tmp_path / "set" / images / "a.jpg"
    assert bytes(topics["/image_raw/compressed"][0].data) == file.read_bytes()


def test_masks_with_their_class_names(tmp_path: Path):
    folder = tmp_path / "set"
    picture(folder / "images/x.png")
    mask = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 3
    (folder / "labels").mkdir()
    cv2.imwrite(str(folder / "labels/x.png"), mask)
    (folder / "classes.json").write_text('{"classes": [{"id": 0, "name": "sky"}, {"id": 2, "name": "tree"}]}')
    (folder / "val.txt").write_text("images/x.png labels/x.png\n")
    assert write_labelled_bag(folder, tmp_path / "out.mcap").task == "segmentation"
    topics = decoded(tmp_path / "out.mcap")
    np.testing.assert_array_equal(mask_from_ros(topics["/ground_truth/segmentation"][0]), mask)
    assert label_names_from_ros(topics["/ground_truth/label_info"][0]) == ["sky", "", "tree"]


def depth_set(folder: Path) -> Path:
    for name in ("b1", "b22"):
        picture(folder / f"rgb/{name}.jpg")
        (folder / "depth").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"depth/{name}.png"), np.full((24, 32), 2500, np.uint16))
    camera = {"width": 32, "height": 24, "fx": 30.0, "fy": 31.0, "cx": 15.5, "cy": 11.5}
    (folder / "camera.json").write_text(json.dumps(camera))
    (folder / "test.txt").write_text("rgb/b1.jpg depth/b1.png\nrgb/b22.jpg depth/b22.png\n")
    return folder


def test_depth_pairs_with_the_only_list_there_is(tmp_path: Path):
    written = write_labelled_bag(depth_set(tmp_path / "set"), tmp_path / "out.mcap", limit=1)
    assert (written.task, written.frames) == ("depth", 1)
    topics = decoded(tmp_path / "out.mcap")
    np.testing.assert_allclose(depth_image_from_ros(topics["/ground_truth/depth"][0]), 2.5)
    camera = camera_model_from_ros(topics["/camera_info"][0])
    assert camera is not None and camera.fx == 30


def test_bad_sets_are_refused_by_name(tmp_path: Path):
    (tmp_path / "odd").mkdir()
    with pytest.raises(BagError, match=r"val\.json with images"):
        write_labelled_bag(tmp_path / "odd", tmp_path / "out.mcap")
    folder = coco_set(tmp_path / "set")
    (folder / "images/val/bb.jpg").unlink()
    with pytest.raises(BagError, match=r"bb\.jpg"):
        write_labelled_bag(folder, tmp_path / "out.mcap")
    (folder / "val.json").write_text('{"images": []}')
    with pytest.raises(BagError, match="COCO file"):
        write_labelled_bag(folder, tmp_path / "out.mcap")
    lists = depth_set(tmp_path / "depth")
    (lists / "train.txt").write_text("")
    with pytest.raises(BagError, match="lists: test, train"):
        write_labelled_bag(lists, tmp_path / "out.mcap")
