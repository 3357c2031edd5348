"""Calibration pictures out of folders and bags; what cannot calibrate is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from vision_nodes.bags.writer import BagWriter
from vision_nodes.camera.resize_map import Fit
from vision_nodes.engine.manifest import InputSpec
from vision_nodes.errors import BagError, ModelError
from vision_nodes.export.calibration import (
    check_calibration,
    description_path,
    read_calibration,
    write_description,
)
from vision_nodes.messages.typestore import build_typestore


def test_sets_that_cannot_work_are_refused(tmp_path: Path) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 255, (3, 32, 48, 3), dtype=np.uint8))
    with pytest.raises(ModelError, match="at least 8"):
        check_calibration(pictures)
    with pytest.raises(ModelError, match="one colour"):
        check_calibration([np.full((32, 48, 3), 90, np.uint8)] * 10)
    with pytest.raises(ModelError, match="none in"):
        read_calibration(tmp_path, InputSpec((48, 32)), 8)
    with pytest.raises(ModelError, match="nothing at"):
        read_calibration(tmp_path / "nowhere", InputSpec((48, 32)), 8)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ModelError, match=r"cut\.jpg"):
        read_calibration(tmp_path, InputSpec((48, 32)), 8)


def test_a_folder_is_read_fitted_and_described(tmp_path: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), (0, 0, 50 * i), np.uint8))
    found = read_calibration(tmp_path, InputSpec((48, 32)), 2)
    assert [picture["file"] for picture in found.pictures] == ["0.png", "2.png"]
    assert found.images[1].shape == (32, 48, 3) and found.images[1][0, 0].tolist() == [100, 0, 0]
    write_description(tmp_path / "c" / "int8_x.yaml", "x", found, {"method": "minmax"})
    content = yaml.safe_load((tmp_path / "c" / "int8_x.yaml").read_text())
    want = hashlib.sha256((tmp_path / "0.png").read_bytes()).hexdigest()
    assert content["pictures"][0] == {"file": "0.png", "sha256": want} and content["folder"] == tmp_path.name


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Twenty 40x30 pictures, picture i of grey 10 * i with a white square."""
    path = tmp_path / "drive.mcap"
    types = build_typestore().types
    with BagWriter(path) as writer:
        for i in range(20):
            picture = np.full((30, 40, 3), 10 * i, np.uint8)
            picture[10:20, 10:20] = 255
            stamp = types["builtin_interfaces/msg/Time"](sec=1 + i, nanosec=500)
            header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="cam")
            message = types["sensor_msgs/msg/Image"](
                header=header,
                height=30,
                width=40,
                encoding="rgb8",
                is_bigendian=0,
                step=120,
                data=picture.ravel(),
            )
            writer.write_object("/front/image_raw", message, (1 + i) * 10**9 + 500)
    return path


def test_a_bag_gives_every_nth_picture(bag: Path, tmp_path: Path) -> None:
    found = read_calibration(bag, InputSpec((40, 40), Fit.LETTERBOX), 5)
    assert [picture["stamp_ns"] for picture in found.pictures] == [
        (1 + i) * 10**9 + 500 for i in (0, 4, 9, 14, 19)
    ]
    assert [int(image[6, 0, 0]) for image in found.images] == [0, 40, 90, 140, 190]
    assert found.images[0].shape == (40, 40, 3) and found.images[0][0, 0].tolist() == [114] * 3  # letterboxed
    assert found.source == {"bag": "drive.mcap", "topic": "/front/image_raw"}
    write_description(tmp_path / "c.yaml", "x", found, {})
    content = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert content["topic"] == "/front/image_raw" and len({p["sha256"] for p in content["pictures"]}) == 5
    found.images.extend(found.images)
    found.check()


def test_a_bag_without_the_topic_or_cut_off(bag: Path, tmp_path: Path) -> None:
    with pytest.raises(BagError, match="/front/image_raw"):
        read_calibration(bag, InputSpec((40, 40)), 5, "/rear/image_raw")
    (tmp_path / "empty.mcap").write_bytes(b"\x89MCAP0\r\n")
    with pytest.raises(BagError):
        read_calibration(tmp_path / "empty.mcap", InputSpec((40, 40)), 5)


def test_descriptions_lie_beside_the_models(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "calibration").mkdir()
    assert description_path(tmp_path / "models" / "x.yaml") == tmp_path / "calibration" / "int8_x.yaml"
    assert description_path(tmp_path / "own" / "x.yaml") == tmp_path / "own" / "calibration" / "int8_x.yaml"
