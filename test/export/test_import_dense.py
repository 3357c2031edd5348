"""Foreign segmentation, depth, place and feature heads, and how pictures are prepared for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from foreign_heads import save_echo, save_head

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.cli import main
from vision_nodes.engine.manifest import Manifest
from vision_nodes.engine.onnxruntime import OnnxRuntimeEngine
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.features import FeatureDecoder
from vision_nodes.tasks.runners import DepthEstimator, DescriptorExtractor, Segmenter

NAMES = ("floor", "wall", "sky")
PICTURE = np.random.default_rng(11).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def imported(tmp_path: Path, file: Path, task: str, decoder: str, *options: object) -> Manifest:
    words = ["import", file, "--task", task, "--decoder", decoder, "--out", tmp_path / "models", *options]
    assert main([str(word) for word in words]) == 0
    return Manifest.read(tmp_path / "models" / f"{file.stem}.yaml")


def infer(manifest: Manifest, image: np.ndarray) -> dict[str, np.ndarray]:
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        return {name: np.array(value) for name, value in engine.infer(image).items()}


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.yaml"
    path.write_text("names: {0: floor, 1: wall, 2: sky}\n")
    return path


@pytest.mark.parametrize(
    ("options", "mean", "std", "order"),
    [
        ((), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (0, 1, 2)),
        (("--normalise", "symmetric", "--colour", "bgr"), (127.5,) * 3, (127.5,) * 3, (2, 1, 0)),
        (("--normalise", "10,20,30/2,3,4", "--colour", "bgr"), (10, 20, 30), (2, 3, 4), (2, 1, 0)),
    ],
)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_picture_reaches_the_network_as_asked(
    tmp_path: Path, names: Path, options: tuple[str, ...], mean: tuple, std: tuple, order: tuple, layout: str
) -> None:
    """The network hands back its input as class scores: arg max and softmax of the prepared pixels."""
    shape = (1, 3, 32, 48) if layout == "nchw" else (1, 32, 48, 3)
    file = save_echo(tmp_path / "echo.onnx", input_shape=shape)
    extra = ("--layout", "nhwc") if layout == "nhwc" else ()
    manifest = imported(
        tmp_path, file, "segmentation", "logits", "--names", names, "--scores", "logits", *options, *extra
    )
    value = ((PICTURE.astype(np.float64) - mean) / std)[..., list(order)]
    share = np.exp(value - value.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        found = Segmenter(engine).segment(Frame(0, "cam", PICTURE, (48, 32)))
    clear = np.sort(value, -1)[..., -1] - np.sort(value, -1)[..., -2] > 1e-4
    np.testing.assert_array_equal(found.labels[clear], value.argmax(-1)[clear])
    np.testing.assert_allclose(found.confidence, share.max(-1), atol=1e-5)


def test_open_shapes_get_the_size_asked_for(tmp_path: Path, names: Path) -> None:
    file = save_echo(tmp_path / "open.onnx", input_shape=("batch", 3, "height", "width"))
    options = ("--names", names, "--size", "48x32", "--scores", "logits", "--mask-size", "96x64")
    manifest = imported(tmp_path, file, "segmentation", "segformer", *options)
    assert manifest.outputs["labels"].shape == (1, 64, 96)
    value = (PICTURE.astype(np.float32) - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    labels = infer(manifest, PICTURE)["labels"][0]
    # half-pixel bilinear at factor 2: every new sample lies a quarter between its two nearest old ones
    rows = np.clip((np.arange(64) + 0.5) / 2 - 0.5, 0, 31)
    columns = np.clip((np.arange(96) + 0.5) / 2 - 0.5, 0, 47)
    y0, x0 = np.floor(rows).astype(int), np.floor(columns).astype(int)
    fy, fx = (rows - y0)[:, None, None], (columns - x0)[None, :, None]
    y1, x1 = np.minimum(y0 + 1, 31), np.minimum(x0 + 1, 47)
    top = value[y0][:, x0] * (1 - fx) + value[y0][:, x1] * fx
    low = value[y1][:, x0] * (1 - fx) + value[y1][:, x1] * fx
    assert np.mean(labels == (top * (1 - fy) + low * fy).argmax(-1)) > 0.999


def test_probabilities_and_one_channel(tmp_path: Path, names: Path) -> None:
    rng = np.random.default_rng(1)
    share = rng.dirichlet((1, 1, 1), (16, 24)).transpose(2, 0, 1).astype(np.float32)
    manifest = imported(tmp_path, save_head(tmp_path / "p.onnx", {"o": share[None]}), "segmentation", "logits",
                        "--names", names)  # fmt: skip
    outputs = infer(manifest, np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_array_equal(outputs["labels"][0], share.argmax(0))
    np.testing.assert_allclose(outputs["confidence"][0], share.max(0), atol=1e-6)
    two = tmp_path / "two.txt"
    two.write_text("background\nroad\n")
    logits = rng.normal(0, 3, (1, 1, 16, 24)).astype(np.float32)
    manifest = imported(tmp_path, save_head(tmp_path / "b.onnx", {"o": logits}), "segmentation", "logits",
                        "--names", two)  # fmt: skip
    outputs = infer(manifest, np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_array_equal(outputs["labels"][0], logits[0, 0] > 0)
    np.testing.assert_allclose(outputs["confidence"][0], 1 / (1 + np.exp(-np.abs(logits[0, 0]))), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 16, 24), (1, 1, 16, 24)])
def test_label_maps_keep_known_classes(tmp_path: Path, names: Path, shape: tuple[int, ...]) -> None:
    labels = np.random.default_rng(2).integers(0, 5, shape)
    manifest = imported(
        tmp_path, save_head(tmp_path / "m.onnx", {"o": labels}), "segmentation", "mask", "--names", names
    )
    outputs = infer(manifest, np.zeros((64, 64, 3), np.uint8))
    flat = labels.reshape(16, 24)
    np.testing.assert_array_equal(outputs["labels"][0], np.where(flat < 3, flat, 255))
    assert (outputs["confidence"] == 1).all() and "states none" in manifest.description


def depth_frame() -> Frame:
    camera = CameraModel((64, 64), np.array([[80.0, 0, 31.5], [0, 80, 31.5], [0, 0, 1]]))
    return Frame(0, "cam", np.zeros((64, 64, 3), np.uint8), (64, 64), camera)


def test_metric_depth_is_carried_to_the_camera(tmp_path: Path) -> None:
    centimetres = np.random.default_rng(3).uniform(100, 700, (1, 1, 16, 16)).astype(np.float32)
    options = ("--fx-canonical", 40, "--metres-per-unit", 0.01, "--max-m", 10)
    manifest = imported(
        tmp_path, save_head(tmp_path / "d.onnx", {"o": centimetres}), "depth", "metric", *options
    )
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        depth = DepthEstimator(engine).estimate(depth_frame())
    assert depth.metric
    np.testing.assert_allclose(depth.depth_m, centimetres[0, 0] / 100 * 80 / 40, rtol=1e-5)


def test_inverse_depth_never_becomes_metres(tmp_path: Path) -> None:
    inverse = np.random.default_rng(4).uniform(-3, 900, (1, 16, 16)).astype(np.float32)
    manifest = imported(tmp_path, save_head(tmp_path / "midas.onnx", {"o": inverse}), "depth", "midas")
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        depth = DepthEstimator(engine).estimate(depth_frame())
    assert not depth.metric and not Manifest.read(manifest.path).depth.metric
    nearness = (inverse[0] - inverse.min()) / (inverse.max() - inverse.min())
    expected = 1 / (nearness * 0.98 + 0.02)
    known = expected < 49
    np.testing.assert_allclose(depth.depth_m[known], expected[known], rtol=1e-4)
    assert np.isnan(depth.depth_m[~known]).all() and np.nanmin(depth.depth_m) == pytest.approx(1)


def test_descriptors_and_gem(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    vector, features = rng.normal(0, 5, (1, 32, 1, 1)), rng.uniform(-1, 4, (1, 16, 6, 5))
    frame = Frame(0, "cam", np.zeros((64, 64, 3), np.uint8), (64, 64))
    pooled = np.array([np.mean(np.maximum(plane, 1e-6) ** 2.5) ** (1 / 2.5) for plane in features[0]])
    for name, raw, decoder, options, want in (
        ("v", vector, "descriptor", (), vector.ravel()),
        ("g", features, "gem", ("--gem-power", 2.5), pooled),
    ):
        file = save_head(tmp_path / f"{name}.onnx", {"o": raw.astype(np.float32)})
        manifest = imported(tmp_path, file, "place", decoder, *options)
        with OnnxRuntimeEngine(manifest, "fp32") as engine:
            np.testing.assert_allclose(
                DescriptorExtractor(engine)(frame), want / np.linalg.norm(want), atol=1e-5
            )


def test_superpoint_maps(tmp_path: Path) -> None:
    """Three cells hold a peak each; the descriptor at a cell's centre is that cell's own."""
    logits, dense = np.zeros((1, 65, 8, 8), np.float32), np.random.default_rng(6).normal(0, 1, (1, 16, 8, 8))
    logits[:, 64] = 12
    peaks = [
        (1, 2, 3, 4, 14.0),
        (5, 5, 0, 7, 13.0),
        (7, 0, 6, 1, 12.5),
    ]  # cell row, cell column, row, column, logit
    for cy, cx, y, x, value in peaks:
        logits[0, y * 8 + x, cy, cx] = value
    file = save_head(tmp_path / "sp.onnx", {"semi": logits, "desc": dense.astype(np.float32)},
                     input_shape=(1, 1, 64, 64))  # fmt: skip
    manifest = imported(tmp_path, file, "features", "superpoint", "--candidates", 20)
    found = FeatureDecoder().decode(
        infer(manifest, np.zeros((64, 64, 3), np.uint8)), ResizeMap((64, 64), (64, 64))
    )
    assert found.keypoints_xy.tolist() == [[cx * 8 + x, cy * 8 + y] for cy, cx, y, x, _ in peaks]
    others = np.exp(12) + 63
    want = [np.exp(value) / (np.exp(value) + others) for *_, value in peaks]
    np.testing.assert_allclose(found.scores, want, rtol=1e-4)
    from scipy.ndimage import map_coordinates

    unit = dense[0] / np.linalg.norm(dense[0], axis=0)
    for (cy, cx, y, x, _), have in zip(peaks[:2], found.descriptors):
        at = [[(cy * 8 + y - 3.5) / 8], [(cx * 8 + x - 3.5) / 8]]
        vector = np.array([map_coordinates(plane, at, order=1)[0] for plane in unit])
        np.testing.assert_allclose(have, vector / np.linalg.norm(vector), atol=1e-4)


@pytest.mark.parametrize("channels_first", [True, False])
def test_sparse_keypoints(tmp_path: Path, channels_first: bool) -> None:
    rng = np.random.default_rng(7)
    xy, scores = rng.integers(0, 64, (1, 30, 2)), rng.uniform(0.1, 1, (1, 30)).astype(np.float32)
    vectors = rng.normal(0, 1, (1, 30, 24)).astype(np.float32)
    stored = vectors.transpose(0, 2, 1) if channels_first else vectors
    file = save_head(
        tmp_path / "s.onnx", {"keypoints": xy, "scores": scores, "descriptors": np.ascontiguousarray(stored)}
    )
    manifest = imported(tmp_path, file, "features", "sparse")
    outputs = infer(manifest, np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_allclose(outputs["keypoints"], xy)
    np.testing.assert_allclose(outputs["scores"], scores)
    np.testing.assert_allclose(
        outputs["descriptors"], vectors / np.linalg.norm(vectors, axis=2, keepdims=True), atol=1e-5
    )


def test_half_precision_files_keep_the_contract(tmp_path: Path, names: Path) -> None:
    logits = np.random.default_rng(8).normal(0, 4, (1, 3, 16, 16)).astype(np.float32)
    file = save_head(tmp_path / "half.onnx", {"o": logits}, half=True)
    manifest = imported(tmp_path, file, "segmentation", "logits", "--names", names)
    outputs = infer(manifest, np.zeros((64, 64, 3), np.uint8))
    assert np.mean(outputs["labels"][0] == logits[0].argmax(0)) > 0.99
    assert outputs["confidence"].dtype == np.float32
