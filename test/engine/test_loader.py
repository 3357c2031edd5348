"""Which backend and precision run, and what is said when the first choice cannot."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest
from toy_models import segmentation_graph, write_model

from vision_nodes.engine.loader import build_engine, cpu_choices, open_engine
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import EngineError, ModelError

has_openvino = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not has_openvino, reason="openvino is not installed")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Make packages look not installed."""
    real = importlib.util.find_spec

    def hide(*names: str) -> None:
        def find(name: str, package: str | None = None):
            return None if name in names else real(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find)

    return hide


@needs_openvino
def test_int8_runs_in_openvino_by_default(toy: Manifest, images: list[np.ndarray]) -> None:
    with open_engine(toy) as engine:
        assert (engine.backend, engine.precision) == ("openvino", "int8")
        assert engine.manifest is toy and engine.input_hw == (12, 16) and engine.batch == 1
        assert set(engine.infer(images[0])) == {"labels", "confidence"}


def test_fp32_runs_in_onnx_runtime(toy: Manifest) -> None:
    with open_engine(str(toy.path), precision="fp32") as engine:
        assert (engine.backend, engine.precision) == ("onnxruntime-cpu", "fp32")
    with open_engine(f"{toy.path}:fp32") as engine:
        assert engine.precision == "fp32"


@pytest.mark.parametrize("precision", [None, "int8"])
def test_without_openvino_fp32_serves_and_says_why(toy, without, caplog, precision: str | None) -> None:
    without("openvino", "tensorrt")
    with caplog.at_level(logging.WARNING), open_engine(toy, precision=precision) as engine:
        assert (engine.backend, engine.precision) == ("onnxruntime-cpu", "fp32")
    assert "openvino (int8) is not installed" in caplog.text


def test_int8_in_onnx_runtime_only_where_asked_for(tmp_path: Path, without) -> None:
    without("openvino", "tensorrt")
    manifest = write_model(tmp_path, {"int8": segmentation_graph(quantized=True)})
    with pytest.raises(EngineError, match="pip install openvino"):
        open_engine(manifest)
    with open_engine(manifest, precision="int8") as engine:
        assert (engine.backend, engine.precision) == ("onnxruntime-cpu", "int8")
    with open_engine(manifest, backend="onnxruntime") as engine:
        assert engine.precision == "int8"


def test_half_precision_runs_as_what_it_was_derived_from(toy: Manifest) -> None:
    assert cpu_choices(toy, "fp16")[0] == ("onnxruntime", "fp32")
    assert cpu_choices(toy, "int8_fp16")[0] == ("openvino", "int8")


def test_a_named_backend_is_the_only_one_tried(toy: Manifest, without) -> None:
    without("openvino")
    with pytest.raises(EngineError, match="openvino"):
        open_engine(toy, backend="openvino")
    with pytest.raises(EngineError, match="tensorrt"):
        open_engine(toy, backend="tensorflow")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_tensorrt_where_there_is_none(toy: Manifest) -> None:
    with pytest.raises(EngineError, match="JetPack"):
        open_engine(toy, backend="tensorrt")
    with pytest.raises(EngineError, match="robot"):
        build_engine(toy)


def test_a_file_that_cannot_be_loaded_falls_back(toy: Manifest, caplog) -> None:
    if not has_openvino:
        pytest.skip("needs two backends")
    file = toy.file_for("int8")
    file.write_bytes(b"no model")
    from vision_nodes.engine.manifest import ModelFile

    broken = dataclasses.replace(toy, files={**toy.files, "int8": ModelFile.of(file)})
    with caplog.at_level(logging.WARNING), open_engine(broken) as engine:
        assert (engine.backend, engine.precision) == ("onnxruntime-cpu", "fp32")
    assert "openvino (int8)" in caplog.text


def test_a_wrong_hash_is_never_fallen_back_from(toy: Manifest) -> None:
    for precision in ("int8", "fp32"):
        (toy.path.parent / toy.files[precision].file).write_bytes(b"altered")  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="SHA-256"):
        open_engine(toy)


def test_unknown_names(toy: Manifest) -> None:
    with pytest.raises(ModelError, match="int4"):
        open_engine(toy, precision="int4")
    with pytest.raises(ModelError, match="no-such-model"):
        open_engine("no-such-model")


def test_threads_do_not_change_the_answer(toy: Manifest, images: list[np.ndarray]) -> None:
    with open_engine(toy, precision="fp32") as one, open_engine(toy, precision="fp32", threads=2) as two:
        for name, value in one.infer(images[0]).items():
            assert np.array_equal(value, two.infer(images[0])[name])
