"""Agreement of two engines: exact figures on made-up outputs, real figures on real files."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from vision_nodes.engine.base import Engine
from vision_nodes.engine.loader import open_engine
from vision_nodes.engine.manifest import Head, InputSpec, Manifest, ModelFile, OutputSpec, Training
from vision_nodes.engine.parity import (
    OutputParity,
    compare_engines,
    probe_images,
    problems,
    same_boxes,
    same_points,
)

DETECTION = Manifest(
    name="d",
    task="detection",
    description="",
    files={"fp32": ModelFile("d.onnx", "0" * 64, 1)},
    input=InputSpec((4, 4)),
    outputs={
        "boxes": OutputSpec("float32", (1, 3, 4)),
        "scores": OutputSpec("float32", (1, 3)),
        "class_ids": OutputSpec("int32", (1, 3)),
    },
    training=Training((), 0, "", ""),
    licence="",
    source="",
    class_names=("a", "b"),
)
BOXES = np.array([[[0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 4, 4]]], np.float32)
SCORES = np.array([[0.9, 0.8, 0.1]], np.float32)
IDS = np.array([[0, 1, 0]], np.int32)


class Canned(Engine):
    """Returns given outputs: the arithmetic of the comparison is what is tested here."""

    def __init__(self, manifest: Manifest, outputs: dict[str, np.ndarray]) -> None:
        self.manifest, self.outputs, self.batch = manifest, outputs, 1

    def infer(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return self.outputs

    def close(self) -> None:
        pass


def test_nothing_compared() -> None:
    parity = OutputParity()
    assert math.isnan(parity.agreement) and parity.max_abs == 0 and parity.finite


def test_figures_are_exact() -> None:
    parity = OutputParity()
    parity.add(np.float32([3, 4]), np.float32([3, 4.5]))
    parity.add(np.float32([0, 0]), np.float32([0, 0]))
    assert parity.max_abs == 0.5 and parity.sqnr_db == pytest.approx(20.0) and math.isnan(parity.agreement)
    labels = OutputParity()
    labels.add(np.uint8([1, 2, 250, 4]), np.uint8([1, 2, 3, 4]))
    assert labels.agreement == 0.75 and labels.max_abs == 247 and math.isnan(labels.sqnr_db)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value: float) -> None:
    parity = OutputParity()
    parity.add(np.float32([1, 2]), np.float32([1, value]))
    assert not parity.finite and parity.sqnr_db == -math.inf
    assert problems({"depth": parity}, "fp16") == ["depth has values that are not finite"]


def test_identical_engines(toy: Manifest, images: list[np.ndarray]) -> None:
    with open_engine(toy, precision="fp32") as one, open_engine(toy, precision="fp32") as two:
        report = compare_engines(one, two, images)
    assert report["labels"].agreement == 1 and report["confidence"].sqnr_db == math.inf
    assert problems(report, "fp32") == []


def test_int8_against_fp32(toy: Manifest, images: list[np.ndarray]) -> None:
    with open_engine(toy, precision="fp32") as one, open_engine(toy, precision="int8") as two:
        report = compare_engines(one, two, images)
    assert 0.9 < report["labels"].agreement <= 1 and 20 < report["confidence"].sqnr_db < 60
    assert problems(report, "int8") == []


def detections(order: list[int], **changes: np.ndarray) -> Canned:
    outputs = {"boxes": BOXES, "scores": SCORES, "class_ids": IDS, **changes}
    return Canned(DETECTION, {name: value[:, order] for name, value in outputs.items()})


def test_the_order_of_detections_does_not_count() -> None:
    report = compare_engines(detections([0, 1, 2]), detections([1, 0, 2]), [BOXES])
    assert report["boxes"].agreement == 1 and report["boxes"].max_abs == 1
    assert problems(report, "int8") == []


def test_lost_and_renamed_detections_count() -> None:
    renamed = detections([0, 1, 2], class_ids=np.array([[0, 0, 0]], np.int32))
    assert compare_engines(detections([0, 1, 2]), renamed, [BOXES])["boxes"].agreement == 0.5
    moved = detections([0, 1, 2], boxes=BOXES + np.float32(5))
    report = compare_engines(detections([0, 1, 2]), moved, [BOXES])
    assert report["boxes"].agreement == 0 and problems(report, "int8")[0].startswith("boxes agrees in 0.0%")


def test_a_fused_model_is_compared_head_by_head() -> None:
    outputs = {
        "b": DETECTION.outputs["boxes"],
        "s": DETECTION.outputs["scores"],
        "c": DETECTION.outputs["class_ids"],
    }
    head = Head({"boxes": "b", "scores": "s", "class_ids": "c"}, ("a", "b"))
    fused = dataclasses.replace(
        DETECTION, task="fused", class_names=(), outputs=outputs, heads={"detection": head}
    )
    one = Canned(fused, {"b": BOXES, "s": SCORES, "c": IDS})
    two = Canned(fused, {"b": BOXES[:, ::-1], "s": SCORES[:, ::-1], "c": IDS[:, ::-1]})
    assert compare_engines(one, two, [BOXES])["b"].agreement == 1


def test_matching_without_anything_to_match() -> None:
    none, ids = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    assert same_boxes(none, ids, BOXES[0], IDS[0]).shape == (0,)
    assert not same_boxes(BOXES[0], IDS[0], none, ids).any()
    assert not same_points(np.zeros((2, 2)), ids, np.zeros((0, 2)), ids).any()


def test_points_match_within_the_radius() -> None:
    points, others = np.array([[0.0, 0], [10, 10]]), np.array([[1.0, 1], [20, 20]])
    assert same_points(points, points, others, others).tolist() == [True, False]


def test_probe_images_are_pictures() -> None:
    first, again = probe_images((2, 30, 50, 3)), probe_images((2, 30, 50, 3))
    assert len(first) == 4 and all(np.array_equal(a, b) for a, b in zip(first, again))
    assert first[0].shape == (2, 30, 50, 3) and first[0].dtype == np.uint8
    assert not np.array_equal(first[0], first[1]) and 20 < first[0].std() < 90
