"""What `vision-nodes import` says to files and options that cannot work; nothing is ever written then."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from foreign_heads import save_echo, save_head

from vision_nodes.cli import main
from vision_nodes.engine.models import find_model
from vision_nodes.errors import ConfigError
from vision_nodes.export.foreign.names import names_in_metadata, read_names
from vision_nodes.export.foreign.reference import probe_picture

YOLO = np.random.default_rng(0).uniform(0, 1, (1, 7, 60)).astype(np.float32)


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: object) -> str:
    out = tmp_path / "models"
    assert main([str(word) for word in ("import", *words, "--out", out)]) == 1
    assert not out.exists() or not list(out.iterdir())
    message = capsys.readouterr().err
    assert (
        "expected" in message and "received" in message and "remedy" in message and "Traceback" not in message
    )
    return message


def test_files_that_are_no_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = ("--task", "detection", "--decoder", "yolov8")
    assert "no such file" in refused(capsys, tmp_path, tmp_path / "none.onnx", *head)
    (tmp_path / "cut.onnx").write_bytes(save_head(tmp_path / "ok.onnx", {"o": YOLO}).read_bytes()[:300])
    assert "ONNX model" in refused(capsys, tmp_path, tmp_path / "cut.onnx", *head)


@pytest.mark.parametrize(
    ("decoder", "options", "part"),
    [
        ("yolov8", (), "3 class names"),
        ("yolov8", ("--names", "coco80"), "80 names"),
        ("yolov9000", (), "yolov8, yolov5"),
        ("nanodet", ("--names", "coco80"), "85 or 84 cells"),
        ("end2end", ("--names", "coco80", "--outputs", "boxes"), "--outputs boxes"),
        ("rtdetr", ("--size", "32x32"), "fixed to, 64x64"),
        ("yolov8", ("--size", "640"), "WIDTHxHEIGHT"),
        ("yolov8", ("--normalise", "1,2/3"), "MEAN/STD"),
        ("yolov8", ("--normalise", "0,0,0/1,0,1"), "MEAN/STD"),
        ("yolov8", ("--names", "nowhere.txt"), "nowhere.txt"),
        ("yolov8", ("--candidates", "-3"), "--candidates above 0"),
        ("yolov8", ("--layout", "nhwc"), "3 channels"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], decoder: str, options: tuple[str, ...], part: str
) -> None:
    file = save_head(tmp_path / "net.onnx", {"output0": YOLO})
    message = refused(capsys, tmp_path, file, "--task", "detection", "--decoder", decoder, *options)
    assert part in message


def test_fewer_names_than_classes_are_not_taken_for_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save_head(tmp_path / "net.onnx", {"output0": YOLO})
    (tmp_path / "two.txt").write_text("a\nb\n")
    words = ("--task", "detection", "--decoder", "yolov8", "--names", tmp_path / "two.txt")
    assert "expected 3 class names" in refused(capsys, tmp_path, file, *words)


def test_open_sizes_must_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save_echo(tmp_path / "open.onnx", input_shape=("b", 3, "h", "w"))
    assert "--size 640x640" in refused(
        capsys, tmp_path, file, "--task", "segmentation", "--decoder", "logits"
    )
    file = save_echo(tmp_path / "all.onnx", input_shape=("b", "c", "h", "w"))
    message = refused(
        capsys, tmp_path, file, "--task", "segmentation", "--decoder", "logits", "--size", "64x64"
    )
    assert "--layout" in message
    file = save_echo(tmp_path / "two.onnx", input_shape=(2, 3, 32, 48))
    assert "batch 1" in refused(capsys, tmp_path, file, "--task", "segmentation", "--decoder", "logits")


def test_depth_without_focal_length_and_with_letterbox(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save_head(tmp_path / "d.onnx", {"o": np.ones((1, 16, 16), np.float32)})
    assert "--fx-canonical" in refused(capsys, tmp_path, file, "--task", "depth", "--decoder", "metric")
    message = refused(capsys, tmp_path, file, "--task", "depth", "--decoder", "inverse", "--fit", "letterbox")
    assert "whole picture" in message


def test_outputs_that_are_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save_head(tmp_path / "nan.onnx", {"o": np.full((1, 16, 16), np.nan, np.float32)})
    assert "finite" in refused(capsys, tmp_path, file, "--task", "depth", "--decoder", "inverse")


def test_a_name_is_never_taken_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = save_head(tmp_path / "mine.onnx", {"o": np.ones((1, 8), np.float32)})
    words = ["import", str(file), "--task", "place", "--decoder", "descriptor"]
    assert main(words) == 0
    manifest, _ = find_model("mine")  # found by name from then on
    assert manifest.path == tmp_path / "data" / "vision_nodes" / "models" / "mine.yaml"
    capsys.readouterr()
    assert main(words) == 1 and "'mine' is there" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert main([*words, "--name", "detection"]) == 1  # a model that ships
    assert "also" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    file = save_head(tmp_path / "mine.onnx", {"o": np.ones((1, 8), np.float32)})
    words = ["import", file, "--task", "place", "--decoder", "descriptor", "--out", tmp_path / "models"]
    assert main([str(word) for word in words]) == 1
    assert "--out DIR" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["mine.onnx", "mine.yaml"])
def test_a_disk_that_fills_up_leaves_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    real, out = os.fsync, tmp_path / "models"

    def full(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if f"{out}/" in name and f".{file}." in name:
            raise OSError(28, "No space left on device")
        real(handle)

    source = save_head(tmp_path / "mine.onnx", {"o": np.ones((1, 8), np.float32)})
    monkeypatch.setattr(os, "fsync", full)
    words = ["import", source, "--task", "place", "--decoder", "descriptor", "--out", out]
    assert main([str(word) for word in words]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not list(out.glob("*.yaml"))  # without a manifest nothing finds what else is there
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_names_in_every_form(tmp_path: Path) -> None:
    forms = {
        "a.txt": "cat\n\ndog\n",
        "b.yaml": "path: x\nnames:\n  0: cat\n  1: dog\n",
        "c.yaml": "- cat\n- dog\n",
        "d.json": json.dumps({"id2label": {"1": "dog", "0": "cat"}}),
        "e.json": json.dumps({"0": "cat", "1": "dog"}),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        assert read_names(str(tmp_path / name)) == ("cat", "dog"), name
    assert read_names("coco80")[79] == "toothbrush" and len(read_names("coco80")) == 80
    assert names_in_metadata({"names": "['cat', 'dog']"}) == ("cat", "dog") and names_in_metadata({}) == ()


@pytest.mark.parametrize("text", ["{0: cat, 2: dog}", "names: 3", "[]", "{a: b}"])
def test_names_with_gaps_or_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "n.yaml").write_text(text)
    with pytest.raises(ConfigError, match="n.yaml"):
        read_names(str(tmp_path / "n.yaml"))
    with pytest.raises(ConfigError, match="metadata"):
        names_in_metadata({"names": "__import__('os')"})


def test_the_test_picture_is_always_the_same() -> None:
    first, second = probe_picture((48, 32)), probe_picture((48, 32))
    assert first.shape == (32, 48, 3) and (first == second).all() and first.std() > 20
