"""Half-precision files: what stays in float32, what the rules say, and how near they stay to their source."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, numpy_helper

from vision_nodes.cli import main
from vision_nodes.engine.lint import ERROR, lint_onnx
from vision_nodes.engine.loader import open_engine
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import ModelError
from vision_nodes.export.agreement import agreement
from vision_nodes.export.half import SENSITIVE, derive_half
from vision_nodes.export.measure import openvino_runner

MODELS = Path(__file__).parents[2] / "models"
FAST = ("depth.onnx", "place_int8.onnx")
SOURCES = [
    pytest.param(path.name, marks=[] if path.name in FAST else pytest.mark.slow)
    for path in sorted(MODELS.glob("*.onnx"))
]


def photograph(shape: tuple[int, ...]) -> np.ndarray:
    cv2, data = pytest.importorskip("cv2"), pytest.importorskip("skimage.data")
    return cv2.resize(data.astronaut(), (shape[2], shape[1]), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("name", SOURCES)
def test_every_shipped_file_has_a_half_form_that_keeps_the_rules_and_the_answers(
    name: str, tmp_path: Path
) -> None:
    source, target = MODELS / name, tmp_path / name
    derive_half(source, target)
    assert not [finding for finding in lint_onnx(target.read_bytes()) if finding.severity == ERROR]
    model = onnx.load(target)
    infos = {
        v.name: v.type.tensor_type.elem_type
        for v in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    weights = {t.name: t.data_type for t in model.graph.initializer}
    types = infos | weights
    for node in model.graph.node:
        kinds = {types.get(tensor) for tensor in node.input}
        if node.op_type == "Conv":
            assert TensorProto.FLOAT16 in kinds and TensorProto.FLOAT not in kinds
        elif node.op_type in SENSITIVE - {"Cast"}:
            assert TensorProto.FLOAT16 not in kinds, node.name
    assert all(o.type.tensor_type.elem_type != TensorProto.FLOAT16 for o in model.graph.output)
    manifests = [Manifest.read(path) for path in MODELS.glob("*.yaml")]
    task = next((m.task for m in manifests if name in [file.file for file in m.files.values()]), "")
    if task not in ("detection", "segmentation", "depth", "place"):
        return
    picture = photograph(tuple(axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim))
    names = [output.name for output in model.graph.output]
    # OpenVINO computes both in float32: what differs is the rounding of weights and scales
    have, want = (
        dict(zip(names, (np.array(v) for v in openvino_runner(path)(picture[None]))))
        for path in (target, source)
    )
    assert agreement(task, want, have) > (0.95 if "int8" in name else 0.99)


def test_scales_that_underflow_are_refused_and_dead_channels_are_not(tmp_path: Path) -> None:
    model = onnx.load(MODELS / "place_int8.onnx")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    dequantize = next(
        n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants
    )
    scale = numpy_helper.to_array(constants[dequantize.input[1]]).copy()
    scale[0] = 1e-7  # a dead channel of weights
    constants[dequantize.input[1]].CopyFrom(numpy_helper.from_array(scale, dequantize.input[1]))
    onnx.save(model, tmp_path / "dead.onnx")
    derive_half(tmp_path / "dead.onnx", tmp_path / "ok.onnx")
    quantize = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    constants[quantize.input[1]].CopyFrom(numpy_helper.from_array(np.float32(1e-6), quantize.input[1]))
    onnx.save(model, tmp_path / "small.onnx")
    with pytest.raises(ModelError, match="1e-06"):
        derive_half(tmp_path / "small.onnx", tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    model = onnx.load(MODELS / "place_int8.onnx")
    bias = next(
        t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and np.prod(t.dims) > 8
    )
    bias.CopyFrom(numpy_helper.from_array(np.full(tuple(bias.dims), 1e6, np.float32), bias.name))
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(ModelError, match="within half precision"):
        derive_half(tmp_path / "large.onnx", tmp_path / "none.onnx")


def test_export_fp16_enters_the_manifest_and_the_cpu_keeps_its_own(tmp_path: Path) -> None:
    for path in MODELS.glob("place*"):
        shutil.copy(path, tmp_path)
    manifest = Manifest.read(tmp_path / "place.yaml")
    assert main(["export", str(tmp_path / "place.yaml"), "--fp16"]) == 0
    derived = Manifest.read(tmp_path / "place.yaml")
    added = {"fp16", *(["int8_fp16"] if "int8" in manifest.files else [])}
    assert set(derived.files) == set(manifest.files) | added
    for precision in added:
        assert derived.file_for(precision).name == f"place_{precision}.onnx"
    with open_engine(str(tmp_path / "place.yaml")) as engine:
        assert "fp16" not in engine.precision  # half precision gains nothing on a CPU
