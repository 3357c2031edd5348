"""COCO boxes and average precision: perfect, shifted and absent detections; and the held-out class maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pycocotools")
cv2 = pytest.importorskip("cv2")

from vision_nodes.datatypes import Detections
from vision_nodes.errors import TrainingError
from vision_nodes.tasks.classes import GENERAL_CLASSES
from vision_nodes.training.coco import CocoBoxes
from vision_nodes.training.held_out import CAMVID_CLASSES, CAMVID_TRUTH, TO_CAMVID


@pytest.fixture
def data(tmp_path: Path) -> CocoBoxes:
    rows = [
        (1, 1, [10, 10, 40, 30], 0),
        (1, 3, [60, 20, 20, 20], 0),
        (2, 1, [5, 5, 50, 50], 0),
        (2, 1, [0, 0, 90, 90], 1),
    ]
    content = {
        "info": {},
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 9, "name": "boat"}],
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 100} for i in (1, 2)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": crowd}
            for n, (i, c, b, crowd) in enumerate(rows, 1)
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    (tmp_path / "images" / "set").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images" / "set" / "1.jpg"), np.full((100, 100, 3), (0, 0, 250), np.uint8))
    return CocoBoxes(tmp_path / "set.json", ("car", "person"))


def found(boxes: list[list[float]], classes: list[int]) -> Detections:
    """COCO edges to the project's pixels: half a pixel less."""
    array = np.array(boxes, np.float32).reshape(-1, 4) - 0.5
    return Detections(array, np.full(len(classes), 0.9, np.float32), np.array(classes, np.int64))


def test_boxes_classes_and_crowds_are_read(data: CocoBoxes) -> None:
    boxes, classes, crowd = data.boxes(0)
    np.testing.assert_array_equal(boxes, [[10, 10, 50, 40], [60, 20, 80, 40]])
    np.testing.assert_array_equal(classes, [1, 0])
    assert data.boxes(1)[2].tolist() == [False, True] and not crowd.any()
    assert abs(int(data.image(0)[0, 0, 0]) - 250) < 4  # RGB: red comes first


def test_perfect_detections_score_one_and_half_a_pixel_matters_little(data: CocoBoxes) -> None:
    perfect = [found([[10, 10, 50, 40], [60, 20, 80, 40]], [1, 0]), found([[5, 5, 55, 55]], [1])]
    metrics = data.average_precision(perfect)
    assert metrics["ap"] == pytest.approx(1) and metrics["ap50_car"] == pytest.approx(1)


def test_a_missed_class_and_swapped_classes_cost(data: CocoBoxes) -> None:
    swapped = [found([[10, 10, 50, 40], [60, 20, 80, 40]], [0, 1]), found([[5, 5, 55, 55]], [1])]
    assert data.average_precision(swapped)["ap50_car"] == 0
    assert data.average_precision([Detections.empty(), Detections.empty()])["ap"] == 0


def test_subset_scores_only_its_pictures(data: CocoBoxes) -> None:
    assert data.subset([1]).average_precision([found([[5, 5, 55, 55]], [1])])["ap50_person"] == pytest.approx(
        1
    )


def test_missing_files_and_classes_are_refused(data: CocoBoxes, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="readable image"):
        data.image(1)
    with pytest.raises(TrainingError, match="nothing at"):
        CocoBoxes(tmp_path / "none.json")
    with pytest.raises(TrainingError, match="zebra"):
        CocoBoxes(tmp_path / "set.json", ("zebra",))


def test_held_out_maps_name_real_classes() -> None:
    assert set(TO_CAMVID) <= set(GENERAL_CLASSES)
    assert set(TO_CAMVID.values()) == set(CAMVID_CLASSES) == set(CAMVID_TRUTH.values())
