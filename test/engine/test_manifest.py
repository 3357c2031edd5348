"""The manifest: round trip, strict keys, hashes, the contract of each task, the search order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vision_nodes.camera.resize_map import Fit
from vision_nodes.engine.manifest import (
    DepthSpec,
    Head,
    InputSpec,
    Manifest,
    ModelFile,
    OutputSpec,
    Training,
)
from vision_nodes.engine.models import find_model, list_models
from vision_nodes.errors import ModelError, VisionNodesError
from vision_nodes.resources import find_resource, resource_directories

TRAINING = Training(({"name": "worlds", "licence": "Apache-2.0", "use": "training"},), 7, "train x", "random")


def describe(directory: Path, **changes: object) -> Manifest:
    """A small segmentation manifest beside a real file."""
    (directory / "toy.onnx").write_bytes(b"not an onnx file, but bytes with a hash")
    values: dict[str, object] = {
        "name": "toy",
        "task": "segmentation",
        "description": "two classes",
        "files": {"fp32": ModelFile.of(directory / "toy.onnx")},
        "input": InputSpec((8, 6), Fit.STRETCH),
        "outputs": {"labels": OutputSpec("uint8", (1, 3, 4)), "confidence": OutputSpec("float32", (1, 3, 4))},
        "training": TRAINING,
        "licence": "Apache-2.0",
        "source": "trained here",
        "class_names": ("floor", "wall"),
        "accuracy": {"fp32": {"miou": 0.5, "on": "nothing"}},
        "time_ms": {"fp32": {"onnxruntime": 1.5}},
    }
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def stored(directory: Path) -> Path:
    """The small manifest on disk."""
    describe(directory).write(directory / "toy.yaml")
    return directory / "toy.yaml"


def edit(path: Path, change) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(ModelError, match="mapping"):
        Manifest.read(tmp_path / "a.yaml")


def test_round_trip(tmp_path: Path) -> None:
    assert Manifest.read(stored(tmp_path)) == describe(tmp_path)


def test_round_trip_of_every_task(tmp_path: Path) -> None:
    outputs = {
        "boxes": OutputSpec("float32", (1, 9, 4)),
        "scores": OutputSpec("float32", (1, 9)),
        "class_ids": OutputSpec("int32", (1, 9)),
        "depth": OutputSpec("float32", (1, 3, 4)),
        "descriptor": OutputSpec("float32", (1, 16)),
        "labels": OutputSpec("uint8", (1, 3, 4)),
        "seg_confidence": OutputSpec("float32", (1, 3, 4)),
    }
    heads = {
        "detection": Head({k: k for k in ("boxes", "scores", "class_ids")}, ("cat", "dog")),
        "segmentation": Head({"labels": "labels", "confidence": "seg_confidence"}, ("floor",)),
        "depth": Head({"depth": "depth"}),
        "place": Head({"descriptor": "descriptor"}),
    }
    fused = describe(
        tmp_path,
        task="fused",
        class_names=(),
        outputs=outputs,
        heads=heads,
        depth=DepthSpec(200.0, 10.0),
        descriptor_dim=16,
        postprocess={"score_threshold": 0.3},
    )
    fused.write(tmp_path / "toy.yaml")
    read = Manifest.read(tmp_path / "toy.yaml")
    assert read == fused
    assert read.head("detection").class_names == ("cat", "dog")
    assert read.head("segmentation").outputs["confidence"] == outputs["seg_confidence"]
    assert read.head("depth").depth == DepthSpec(200.0, 10.0) and read.head("place").depth is None
    with pytest.raises(ModelError, match="features"):
        read.head("features")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.pop("licence"), "licence"),
        (lambda m: m.update(colour="red"), "colour"),
        (lambda m: m["input"].update(mean=0), "mean"),
        (lambda m: m["input"].update(size_wh=[8]), "size_wh"),
        (lambda m: m["input"].update(size_wh=[8, True]), "size_wh"),
        (lambda m: m["input"].update(fit="squash"), "fit"),
        (lambda m: m["input"].update(batch=0), "batch"),
        (lambda m: m["files"]["fp32"].update(sha256="ab"), "sha256"),
        (lambda m: m["files"]["fp32"].update(file="../toy.onnx"), "file"),
        (lambda m: m["files"]["fp32"].update(file="/etc/passwd"), "file"),
        (lambda m: m["files"]["fp32"].update(file="sub/toy.onnx"), "file"),
        (lambda m: m["files"].update(fp4=m["files"]["fp32"]), "fp4"),
        (lambda m: m.update(task="poetry"), "task"),
        (lambda m: m["outputs"].pop("labels"), "labels"),
        (lambda m: m["outputs"]["labels"].update(dtype="int32"), "labels"),
        (lambda m: m["outputs"]["labels"].update(shape=[1, 3]), "labels"),
        (lambda m: m["outputs"]["labels"].update(shape=[2, 3, 4]), "labels"),
        (lambda m: m["outputs"]["confidence"].update(shape=[1, 3, 5]), "confidence"),
        (lambda m: m.pop("class_names"), "class_names"),
        (lambda m: m.update(class_names=["a", "a"]), "class_names"),
        (lambda m: m.update(depth={"fx_canonical": 1.0, "max_m": 2.0}), "depth"),
        (lambda m: m.update(descriptor_dim=4), "descriptor_dim"),
        (lambda m: m["accuracy"]["fp32"].update(miou="good"), "miou"),
        (lambda m: m.update(postprocess={"score_threshold": "high"}), "score_threshold"),
        (lambda m: m.update(postprocess={"score_threshold": float("nan")}), "score_threshold"),
        (lambda m: m["training"]["data"][0].pop("licence"), "licence"),
        (lambda m: m.update(name="other"), "other"),
    ],
)
def test_a_broken_manifest_names_the_key(tmp_path: Path, change, named: str) -> None:
    path = stored(tmp_path)
    edit(path, change)
    with pytest.raises(ModelError, match=named):
        Manifest.read(path)


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path)
    path.write_text(path.read_text() + "licence: MIT\n")
    with pytest.raises(ModelError, match="licence.*twice"):
        Manifest.read(path)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_model_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("m") / "m.yaml"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        Manifest.read(path)


def test_the_file_must_have_its_hash(tmp_path: Path) -> None:
    manifest = Manifest.read(stored(tmp_path))
    file = manifest.file_for("fp32")
    assert manifest.read_file("fp32") == file.read_bytes()
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(ModelError) as raised:
        manifest.file_for("fp32")
    assert manifest.files["fp32"].sha256 in raised.value.expected
    assert ModelFile.of(file).sha256 in raised.value.received and "10 bytes" in raised.value.received
    assert raised.value.remedy
    file.unlink()
    with pytest.raises(ModelError, match="No such file"):
        manifest.file_for("fp32")


def test_a_precision_not_offered(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="int8.*fp32"):
        Manifest.read(stored(tmp_path)).file_for("int8")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        dataclasses.replace(describe(tmp_path), description="new").write(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy.onnx", "toy.yaml"]


def test_find_model_by_name_path_and_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path)
    monkeypatch.setenv("VISION_NODES_MODELS", str(tmp_path))
    assert find_model("toy") == (describe(tmp_path), None)
    assert find_model("toy:fp32")[1] == "fp32"
    assert find_model(f"{path}:fp32")[0].path == path
    assert "toy" in [m.name for m in list_models()]
    for wrong, words in (
        ("toy:int8", "int8"),
        ("toy:fast", "PRECISION"),
        ("absent", "toy"),
        ("/no/x.yaml", "x"),
    ):
        with pytest.raises(ModelError, match=words):
            find_model(wrong)


def test_a_broken_manifest_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    stored(tmp_path)
    (tmp_path / "broken.yaml").write_text("[")
    monkeypatch.setenv("VISION_NODES_MODELS", str(tmp_path))
    assert "toy" in [m.name for m in list_models()]
    assert "broken.yaml" in caplog.text


def test_resource_directories_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, workspace = tmp_path / "own", tmp_path / "ws"
    shared = workspace / "share" / "vision_nodes" / "models"
    own.mkdir()
    shared.mkdir(parents=True)
    monkeypatch.setenv("VISION_NODES_MODELS", str(own))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(workspace))
    assert resource_directories("models")[:2] == [own, shared]
    (shared / "a.txt").write_text("x")
    assert find_resource("models", "a.txt") == shared / "a.txt"
    with pytest.raises(VisionNodesError, match="no-such"):
        find_resource("models", "no-such")
    with pytest.raises(VisionNodesError, match="resource kind"):
        resource_directories("secrets")
