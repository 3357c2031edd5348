"""ONNX Runtime and OpenVINO on real files: same answers as NumPy, and clear errors."""

from __future__ import annotations

import dataclasses
import gc
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from toy_models import TRAINING, H, W, detection_graph, expected_outputs, segmentation_graph, write_model

from vision_nodes.engine.base import CheckedEngine
from vision_nodes.engine.manifest import InputSpec, Manifest, ModelFile, OutputSpec
from vision_nodes.engine.onnxruntime import OnnxRuntimeEngine
from vision_nodes.errors import EngineError, ModelError

ENGINES = [OnnxRuntimeEngine]
try:
    from vision_nodes.engine.openvino import OpenVinoEngine

    ENGINES.append(OpenVinoEngine)
except ImportError:
    pass
both = pytest.mark.parametrize("kind", ENGINES)


@both
def test_answers_are_those_of_numpy(
    kind: type[CheckedEngine], toy: Manifest, images: list[np.ndarray]
) -> None:
    with kind(toy, "fp32") as engine:
        for image in images:
            outputs = engine.infer(image)
            labels, confidence = expected_outputs(image)
            assert np.mean(outputs["labels"][0] == labels) > 0.99
            np.testing.assert_allclose(outputs["confidence"][0], confidence, atol=2e-5)


@both
def test_int8_stays_close(kind: type[CheckedEngine], toy: Manifest, images: list[np.ndarray]) -> None:
    with kind(toy, "int8") as engine:
        assert engine.precision == "int8"
        equal = [np.mean(engine.infer(i)["labels"][0] == expected_outputs(i)[0]) for i in images]
    assert np.mean(equal) > 0.95


@both
def test_repeats_are_identical_and_the_batch_axis_is_optional(
    kind: type[CheckedEngine], toy: Manifest, images: list[np.ndarray]
) -> None:
    with kind(toy, "fp32") as engine:
        first = {k: v.copy() for k, v in engine.infer(images[0]).items()}
        engine.infer(images[1])
        again = engine.infer(images[0][None])
        assert all(np.array_equal(first[k], again[k]) for k in first)


@both
def test_a_strided_view_gives_the_same_as_its_copy(
    kind: type[CheckedEngine], toy: Manifest, images: list[np.ndarray]
) -> None:
    with kind(toy, "fp32") as engine:
        wide = np.repeat(images[0], 2, axis=1)
        view = wide[:, ::2]
        assert not view.flags.c_contiguous
        got = engine.infer(view)["confidence"].copy()
        assert np.array_equal(got, engine.infer(images[0])["confidence"])


@both
def test_an_output_that_is_a_cast_keeps_its_name(kind: type[CheckedEngine], tmp_path: Path, images) -> None:
    path = tmp_path / "boxes.onnx"
    path.write_bytes(detection_graph().SerializeToString())
    manifest = Manifest(
        name="boxes",
        task="detection",
        description="",
        files={"fp32": ModelFile.of(path)},
        input=InputSpec((W, H)),
        outputs={
            "boxes": OutputSpec("float32", (1, 5, 4)),
            "scores": OutputSpec("float32", (1, 5)),
            "class_ids": OutputSpec("int32", (1, 5)),
        },
        training=TRAINING,
        licence="",
        source="",
        class_names=("a", "b", "c", "d"),
        path=tmp_path / "boxes.yaml",
    )
    rows = images[0].reshape(-1, 4)[:5].astype(np.float64)
    with kind(manifest, "fp32") as engine:
        outputs = engine.infer(images[0])
        assert np.array_equal(outputs["boxes"][0], rows)
        assert np.array_equal(outputs["class_ids"][0], rows.argmax(1))
        np.testing.assert_allclose(outputs["scores"][0], 1 / (1 + np.exp(-rows.mean(1) / 100)), atol=1e-6)


@both
def test_two_cameras_share_an_engine(
    kind: type[CheckedEngine], tmp_path: Path, images: list[np.ndarray]
) -> None:
    manifest = write_model(tmp_path, {"fp32": segmentation_graph(batch=2)}, batch=2)
    with kind(manifest, "fp32") as engine:
        outputs = engine.infer(np.stack(images[:2]))
        assert np.mean(outputs["labels"][1] == expected_outputs(images[1])[0]) > 0.99
        with pytest.raises(EngineError, match=r"\(2, 12, 16, 3\)"):
            engine.infer(images[0])


@both
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((W, H, 3), np.uint8),
        np.zeros((H, W), np.uint8),
        np.zeros((H, W, 4), np.uint8),
        np.zeros((2, H, W, 3), np.uint8),
        np.zeros((H, W, 3), np.float32),
        None,
    ],
    ids=["empty", "turned", "grey", "alpha", "batch", "float", "none"],
)
def test_a_wrong_image_is_refused(kind: type[CheckedEngine], toy: Manifest, image: np.ndarray) -> None:
    with kind(toy, "fp32") as engine, pytest.raises(EngineError) as raised:
        engine.infer(image)
    assert "(1, 12, 16, 3)" in raised.value.expected and raised.value.received and raised.value.remedy


@both
def test_a_truncated_file_is_not_opened(kind: type[CheckedEngine], toy: Manifest) -> None:
    file = toy.file_for("fp32")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="SHA-256"):
        kind(toy, "fp32")


@both
def test_a_file_that_is_no_model(kind: type[CheckedEngine], toy: Manifest) -> None:
    file = toy.file_for("fp32")
    file.write_bytes(file.read_bytes()[:100])
    cut = dataclasses.replace(toy, files={"fp32": ModelFile.of(file)})
    with pytest.raises(EngineError, match="to load") as raised:
        kind(cut, "fp32")
    assert raised.value.remedy


@both
def test_a_file_that_breaks_its_manifest(kind: type[CheckedEngine], toy: Manifest) -> None:
    for name, spec in (
        ("labels", OutputSpec("uint8", (1, H, W + 1))),
        ("extra", OutputSpec("float32", (1, 5))),
    ):
        outputs = {**toy.outputs, name: spec}
        if name == "labels":
            outputs["confidence"] = OutputSpec("float32", (1, H, W + 1))
        with pytest.raises(ModelError, match=name):
            kind(dataclasses.replace(toy, outputs=outputs), "fp32")


@both
def test_an_open_axis_is_checked_when_it_runs(kind: type[CheckedEngine], tmp_path: Path) -> None:
    model = segmentation_graph()
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[2].dim_param = "w"
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "w"
    with kind(write_model(tmp_path, {"fp32": model}), "fp32") as engine:
        assert engine.infer(np.zeros((H, W, 3), np.uint8))["labels"].shape == (1, H, W)


@both
def test_close_is_final_and_safe_from_another_thread(
    kind: type[CheckedEngine], toy: Manifest, images
) -> None:
    engine = kind(toy, "fp32")
    outputs = engine.infer(images[0])
    kept = outputs["confidence"].copy()
    thread = threading.Thread(target=engine.close)
    thread.start()
    thread.join()
    engine.close()
    gc.collect()
    assert np.array_equal(outputs["confidence"], kept), "the last result outlives the engine"
    with pytest.raises(EngineError, match="closed"):
        engine.infer(images[0])


@both
def test_close_while_inferring(kind: type[CheckedEngine], toy: Manifest, images: list[np.ndarray]) -> None:
    engine = kind(toy, "fp32")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(100000):
                engine.infer(images[0])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    engine.close()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert len(failures) == 1 and isinstance(failures[0], EngineError)


def test_the_model_is_what_the_checker_accepts() -> None:
    for quantized in (False, True):
        onnx.checker.check_model(segmentation_graph(quantized=quantized), full_check=True)
