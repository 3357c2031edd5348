"""`quantize` and `verify` from the command line: the gate, what it writes, and what an interruption leaves."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from foreign_heads import save
from onnx import TensorProto, helper, numpy_helper

from vision_nodes.cli import main
from vision_nodes.engine.loader import cpu_choices, open_engine
from vision_nodes.engine.manifest import Manifest
from vision_nodes.export.agreement import agreement

NAMES = ("floor", "wall", "sky")


def save_network(path: Path, gain: float = 1.0) -> Path:
    """Three convolutions on a float picture; a large `gain` on one channel makes int8 lose the others."""
    rng = np.random.default_rng(1)
    shapes = {"a": (8, 3, 3, 3), "b": (8, 8, 3, 3), "c": (3, 8, 1, 1)}
    weights = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["a"][0] *= gain
    weights["b"][:, 0] = 0  # the loud channel carries nothing
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["ya"], "conv_a", pads=[1] * 4),
        helper.make_node("Relu", ["ya"], ["ra"], "relu_a"),
        helper.make_node("Conv", ["ra", "b"], ["yb"], "conv_b", pads=[1] * 4),
        helper.make_node("Relu", ["yb"], ["rb"], "relu_b"),
        helper.make_node("Conv", ["rb", "c"], ["logits"], "conv_c"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 32, 48])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return save(graph, path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(24):
        coarse = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i:02d}.png"), cv2.resize(coarse, (48, 32), interpolation=cv2.INTER_CUBIC))
    return folder


def imported(tmp_path: Path, gain: float = 1.0) -> Path:
    """The network as a model with three classes of its own: scored by agreement with FP32."""
    file = save_network(tmp_path / "mine.onnx", gain)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    out = tmp_path / "own"
    words = ["import", file, "--task", "segmentation", "--decoder", "logits", "--names", tmp_path / "names.txt",
             "--scores", "logits", "--out", out]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    return out / "mine.yaml"


def test_an_imported_model_is_quantized_and_verified(tmp_path: Path, pictures: Path) -> None:
    path = imported(tmp_path)
    assert main(["quantize", str(path), "--calibration", str(pictures), "--pictures", "12"]) == 0
    manifest = Manifest.read(path)
    assert manifest.accuracy["int8"]["agreement"] > 0.96 and "own FP32" in manifest.accuracy["int8"]["on"]
    assert (path.parent / "calibration" / "int8_mine.yaml").is_file()
    assert ("openvino", "int8") in cpu_choices(manifest, None)
    assert main(["verify", str(path), "--calibration", str(pictures)]) == 0
    assert main(["verify", str(path)]) == 1  # nothing to compare on: explained


def spoil(path: Path) -> None:
    """An INT8 file that answers something else, with a manifest that says so: the gate must find out."""
    manifest = Manifest.read(path)
    file = path.parent / manifest.files["int8"].file
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT8 and np.prod(tensor.dims) == 24:
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    file.write_bytes(model.SerializeToString())
    from dataclasses import replace

    from vision_nodes.engine.manifest import ModelFile

    replace(manifest, files={**manifest.files, "int8": ModelFile.of(file)}).write(path)


def test_the_gate_refuses_and_somebody_accepts(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = imported(tmp_path)
    assert main(["quantize", str(path), "--calibration", str(pictures), "--pictures", "12"]) == 0
    spoil(path)
    capsys.readouterr()
    assert main(["verify", str(path), "--calibration", str(pictures)]) == 1
    assert "REFUSED" in capsys.readouterr().out
    manifest = Manifest.read(path)
    assert manifest.refused("int8") and manifest.refused("int8_fp16") and not manifest.refused("fp32")
    assert float(manifest.accuracy["int8"]["refused_loss"]) > 0.04
    with open_engine(str(path)) as engine:
        assert engine.precision == "fp32"
    with open_engine(f"{path}:int8") as engine:  # asked for by name: somebody wants to see it
        assert engine.precision == "int8"
    assert main(["verify", str(path), "--calibration", str(pictures), "--accept-loss"]) == 0
    manifest = Manifest.read(path)
    assert not manifest.refused("int8") and float(manifest.accuracy["int8"]["accepted_loss"]) > 0.04
    with open_engine(str(path)) as engine:
        assert engine.precision == "int8"


def test_one_colour_and_too_few_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = imported(tmp_path)
    before = sorted(path.parent.rglob("*"))
    grey = tmp_path / "grey"
    grey.mkdir()
    for i in range(20):
        cv2.imwrite(str(grey / f"{i}.png"), np.full((32, 48, 3), 120, np.uint8))
    assert main(["quantize", str(path), "--calibration", str(grey)]) == 1
    assert "all of one colour" in capsys.readouterr().err
    assert main(["quantize", str(path), "--calibration", str(tmp_path / "none")]) == 1
    assert "nothing at" in capsys.readouterr().err
    assert sorted(path.parent.rglob("*")) == before


def test_a_full_disk_leaves_the_old_model(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = imported(tmp_path)
    assert main(["quantize", str(path), "--calibration", str(pictures), "--pictures", "12"]) == 0
    real = os.fsync

    def full(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}").find("_int8.onnx") >= 0:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert main(["quantize", str(path), "--calibration", str(pictures), "--pictures", "12"]) == 1
    assert "No space left" in capsys.readouterr().err
    monkeypatch.undo()
    manifest = Manifest.read(path)
    assert set(manifest.files) == {"fp32"}  # the INT8 that was being replaced is no longer offered
    with open_engine(str(path)) as engine:
        assert engine.precision == "fp32"
    assert not [file for file in path.parent.rglob("*") if file.name.startswith(".")]  # nothing half-written


def test_agreement_of_every_task() -> None:
    boxes = np.array([[[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]]], np.float32)
    a = {"boxes": boxes, "scores": np.array([[0.9, 0.8, 0.7]]), "class_ids": np.array([[0, 1, 1]])}
    assert agreement("detection", a, a) == 1
    b = {**a, "class_ids": np.array([[0, 1, 0]])}
    assert agreement("detection", a, b) == pytest.approx(4 / 6)
    assert agreement("detection", a, {**a, "scores": np.zeros((1, 3))}) == 0
    mask = {"labels": np.array([[[0, 1], [2, 2]]])}
    assert agreement("segmentation", mask, {"labels": np.array([[[0, 1], [2, 0]]])}) == 0.75
    depth = {"depth": np.full((1, 4, 4), 2.0)}
    assert agreement("depth", depth, {"depth": np.full((1, 4, 4), 2.2)}) == pytest.approx(0.9)
    assert agreement(
        "place", {"descriptor": np.array([[1.0, 0]])}, {"descriptor": np.array([[0.6, 0.8]])}
    ) == (pytest.approx(0.6))
    points = {"keypoints": np.array([[[5.0, 5], [30, 30]]]), "scores": np.array([[0.9, 0.8]])}
    moved = {"keypoints": np.array([[[5.0, 6], [34, 30]]]), "scores": np.array([[0.9, 0.8]])}
    assert (
        agreement("features", points, points) == 1 and agreement("features", points, moved) == 1
    )  # the stronger one
