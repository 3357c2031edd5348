"""Foreign detection heads: imported, run by our own runner, compared with an independent decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from foreign_heads import boxes_cxcywh, corners, save_head

from vision_nodes.cli import main
from vision_nodes.datatypes import Detections
from vision_nodes.engine.lint import ERROR, lint_model
from vision_nodes.engine.manifest import Manifest
from vision_nodes.engine.onnxruntime import OnnxRuntimeEngine
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import Detector

NAMES = ("cat", "dog", "cup")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


def imported(tmp_path: Path, file: Path, decoder: str, *options: object) -> Manifest:
    words = [
        "import",
        file,
        "--task",
        "detection",
        "--decoder",
        decoder,
        "--out",
        tmp_path / "models",
        *options,
    ]
    assert main([str(word) for word in words]) == 0
    return Manifest.read(tmp_path / "models" / f"{file.stem}.yaml")


def detect(manifest: Manifest, size_wh: tuple[int, int] = (64, 64), threshold: float = 0.3) -> Detections:
    image = np.random.default_rng(5).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        return Detector(engine, threshold, 0.9).detect(Frame(0, "cam", image, size_wh))


def same(found: Detections, boxes_px: np.ndarray, scores: np.ndarray, class_ids: np.ndarray) -> None:
    """`boxes_px` are edges; the project's pixel centres lie half a pixel before them. Best first."""
    order = np.argsort(-scores, kind="stable")
    np.testing.assert_allclose(found.scores, scores[order], atol=1e-5)
    np.testing.assert_array_equal(found.class_ids, class_ids[order])
    np.testing.assert_allclose(found.boxes_xyxy, np.clip(boxes_px[order] - 0.5, -0.5, 63.5), atol=2e-4)


def yolo_rows(rng: np.random.Generator, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    return boxes_cxcywh(rng, count, 64), rng.uniform(0.01, 0.99, (count, len(NAMES))).astype(np.float32)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("opset", [12, 17, 21])
def test_yolov8_layouts_and_opsets(tmp_path: Path, names: Path, transposed: bool, opset: int) -> None:
    boxes, shares = yolo_rows(np.random.default_rng(1))
    raw = np.concatenate((boxes, shares), 1)
    raw = raw if transposed else raw.T
    file = save_head(tmp_path / "v8.onnx", {"output0": raw[None]}, opset=opset)
    manifest = imported(tmp_path, file, "yolov8", "--names", names)
    best = shares.max(1)
    kept = best >= 0.3
    same(detect(manifest), corners(boxes)[kept], best[kept], shares.argmax(1)[kept])
    assert not [f for f in lint_model(manifest)["fp32"] if f.severity == ERROR]
    assert manifest.class_names == NAMES and manifest.input.fit.value == "letterbox"


def test_letterboxed_boxes_come_back_in_the_cameras_pixels(tmp_path: Path, names: Path) -> None:
    row = np.array([[16, 24, 8, 4, 0.9, 0.1, 0.2], [40, 40, 16, 8, 0.1, 0.8, 0.2]], np.float32)
    raw = np.concatenate((row, np.zeros((3, 7), np.float32) + 0.01)).T
    manifest = imported(
        tmp_path, save_head(tmp_path / "v8.onnx", {"o": raw[None]}), "yolov11", "--names", names
    )
    found = detect(manifest, size_wh=(200, 100))  # scale 0.32: 64x32 inside 64x64, 16 rows above and below
    first = np.array([12, 22, 20, 26]) - np.array([0, 16, 0, 16])
    second = np.array([32, 36, 48, 44]) - np.array([0, 16, 0, 16])
    np.testing.assert_allclose(found.boxes_xyxy, np.array([first, second]) / 0.32 - 0.5, atol=1e-3)
    assert found.class_ids.tolist() == [0, 1]


def test_names_from_the_file_and_mask_channels_left_out(tmp_path: Path) -> None:
    boxes, shares = yolo_rows(np.random.default_rng(2))
    raw = np.concatenate((boxes, shares, np.full((60, 5), 7, np.float32)), 1).T
    metadata = {"names": "{0: 'cat', 1: 'dog', 2: 'cup'}", "task": "segment"}
    file = save_head(tmp_path / "seg.onnx", {"output0": raw[None]}, metadata=metadata)
    manifest = imported(tmp_path, file, "yolov8", "--candidates", 20)
    assert manifest.class_names == NAMES
    best = shares.max(1)
    top = np.argsort(-best)[:20]
    same(detect(manifest, threshold=0.0), corners(boxes)[top], best[top], shares.argmax(1)[top])


def test_yolov5_multiplies_objectness(tmp_path: Path, names: Path) -> None:
    rng = np.random.default_rng(3)
    boxes, shares = yolo_rows(rng)
    sure = rng.uniform(0.1, 1, (60, 1)).astype(np.float32)
    extra = np.zeros((1, 3, 8, 8, 8), np.float32)  # the undecoded levels that YOLOv5's exporter also gives
    file = save_head(
        tmp_path / "v5.onnx", {"output": np.concatenate((boxes, sure, shares), 1)[None], "p3": extra}
    )
    best = (sure * shares).max(1)
    kept = best >= 0.3
    same(detect(imported(tmp_path, file, "yolov5", "--names", names)), corners(boxes)[kept], best[kept],
         shares.argmax(1)[kept])  # fmt: skip


def test_yolox_decodes_its_grid(tmp_path: Path, names: Path) -> None:
    rng = np.random.default_rng(4)
    raw = np.concatenate((rng.normal(0, 0.3, (84, 4)), rng.uniform(0, 1, (84, 4))), 1).astype(np.float32)
    boxes, row = [], 0
    for stride in (8, 16, 32):
        for y in range(64 // stride):
            for x in range(64 // stride):
                cx, cy, w, h = raw[row, 0] + x, raw[row, 1] + y, np.exp(raw[row, 2]), np.exp(raw[row, 3])
                boxes.append(
                    [
                        (cx - w / 2) * stride,
                        (cy - h / 2) * stride,
                        (cx + w / 2) * stride,
                        (cy + h / 2) * stride,
                    ]
                )
                row += 1
    manifest = imported(tmp_path, save_head(tmp_path / "x.onnx", {"o": raw[None]}), "yolox", "--names", names)
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        outputs = engine.infer(np.zeros((64, 64, 3), np.uint8))
    best = raw[:, 4] * raw[:, 5:].max(1)
    order = np.argsort(-best)
    np.testing.assert_allclose(outputs["scores"][0], best[order], atol=1e-6)
    np.testing.assert_allclose(outputs["boxes"][0], np.array(boxes)[order] - 0.5, atol=1e-3)
    np.testing.assert_array_equal(outputs["class_ids"][0], raw[order, 5:].argmax(1))
    assert "bgr" in manifest.description and "[0.0, 0.0, 0.0]) / [1.0, 1.0, 1.0]" in manifest.description


def test_end_to_end_rows_pass_through(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    boxes, scores = corners(boxes_cxcywh(rng, 30, 64)), rng.uniform(0, 1, (30, 1)).astype(np.float32)
    class_ids = rng.integers(0, 80, (30, 1)).astype(np.float32)
    file = save_head(tmp_path / "v10.onnx", {"o": np.concatenate((boxes, scores, class_ids), 1)[None]})
    manifest = imported(tmp_path, file, "yolov10", "--names", "coco80")
    kept = scores[:, 0] >= 0.3
    same(detect(manifest), boxes[kept], scores[kept, 0], class_ids[kept, 0].astype(int))


def test_rtdetr_as_logits_and_boxes(tmp_path: Path, names: Path) -> None:
    rng = np.random.default_rng(6)
    boxes, logits = boxes_cxcywh(rng, 40, 1.0), rng.normal(0, 2, (40, 3)).astype(np.float32)
    file = save_head(tmp_path / "detr.onnx", {"pred_logits": logits[None], "pred_boxes": boxes[None]})
    manifest = imported(tmp_path, file, "rtdetr", "--names", names, "--candidates", 50)
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        outputs = engine.infer(np.zeros((64, 64, 3), np.uint8))
    pairs = sorted((-logits[q, c], q, c) for q in range(40) for c in range(3))[:50]
    np.testing.assert_allclose(
        outputs["scores"][0], [1 / (1 + np.exp(value)) for value, _, _ in pairs], atol=1e-5
    )
    np.testing.assert_array_equal(outputs["class_ids"][0], [c for _, _, c in pairs])
    np.testing.assert_allclose(
        outputs["boxes"][0], corners(boxes)[[q for _, q, _ in pairs]] * 64 - 0.5, atol=1e-3
    )


def test_rtdetr_joined_as_ultralytics_exports_it(tmp_path: Path, names: Path) -> None:
    rng = np.random.default_rng(7)
    boxes, shares = boxes_cxcywh(rng, 40, 1.0), rng.uniform(0, 1, (40, 3)).astype(np.float32)
    file = save_head(tmp_path / "joined.onnx", {"o": np.concatenate((boxes, shares), 1)[None]})
    kept = shares.max(1) >= 0.3
    same(detect(imported(tmp_path, file, "rtdetr", "--names", names)), corners(boxes)[kept] * 64,
         shares.max(1)[kept], shares.argmax(1)[kept])  # fmt: skip


def test_dfine_finished_boxes_scale_with_the_baked_size(tmp_path: Path, names: Path) -> None:
    """labels, boxes, scores and a second input orig_target_sizes, as D-FINE and RT-DETR are exported."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(8)
    boxes = corners(boxes_cxcywh(rng, 20, 1.0))
    scores, labels = rng.uniform(0, 1, 20).astype(np.float32), rng.integers(0, 3, 20)
    path = save_head(
        tmp_path / "base.onnx", {"labels": labels[None], "raw": boxes[None], "scores": scores[None]}
    )
    model = onnx.load(path)
    graph = model.graph
    graph.input.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [1, 2]))
    graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 4]), "shape"))
    graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "twice"))
    graph.node.extend([
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], "c", to=TensorProto.FLOAT),
        helper.make_node("Tile", ["size", "twice"], ["wide"], "t"),
        helper.make_node("Reshape", ["wide", "shape"], ["size4"], "r"),
        helper.make_node("Mul", ["raw", "size4"], ["boxes"], "m"),
    ])  # fmt: skip
    kept_outputs = [o for o in graph.output if o.name != "raw"]
    del graph.output[:]
    graph.output.extend(
        [*kept_outputs, helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 20, 4])]
    )
    file = tmp_path / "dfine.onnx"
    file.write_bytes(model.SerializeToString())
    manifest = imported(tmp_path, file, "dfine", "--names", names)
    kept = scores >= 0.3
    same(detect(manifest), boxes[kept] * 64, scores[kept], labels[kept])
    assert list(manifest.outputs) and "orig_target_sizes" not in manifest.outputs


def test_detr_drops_its_no_object_class(tmp_path: Path, names: Path) -> None:
    rng = np.random.default_rng(9)
    boxes, logits = boxes_cxcywh(rng, 30, 1.0), rng.normal(0, 3, (30, 4)).astype(np.float32)
    file = save_head(tmp_path / "d.onnx", {"logits": logits[None], "pred_boxes": boxes[None]})
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    kept = shares[:, :3].max(1) >= 0.3
    same(detect(imported(tmp_path, file, "detr", "--names", names)), corners(boxes)[kept] * 64,
         shares[kept, :3].max(1), shares[kept, :3].argmax(1))  # fmt: skip


@pytest.mark.parametrize(("strides", "offset"), [((8, 16, 32, 64), 0.0), ((8, 16, 32), 0.5)])
@pytest.mark.parametrize("sigmoid_inside", [True, False])
def test_nanodet_distributions(
    tmp_path: Path, names: Path, strides: tuple[int, ...], offset: float, sigmoid_inside: bool
) -> None:
    rng = np.random.default_rng(10)
    boxes, rows = [], []
    for stride in strides:
        for y in range(-(-64 // stride)):
            for x in range(-(-64 // stride)):
                logits, bins = rng.normal(-1, 2, 3), rng.normal(0, 2, (4, 8))
                rows.append(
                    np.concatenate((1 / (1 + np.exp(-logits)) if sigmoid_inside else logits, bins.ravel()))
                )
                share = np.exp(bins) / np.exp(bins).sum(1, keepdims=True)
                left, top, right, bottom = (share * np.arange(8)).sum(1) * stride
                cx, cy = (x + offset) * stride, (y + offset) * stride
                boxes.append([cx - left, cy - top, cx + right, cy + bottom])
    raw = np.array(rows, np.float32)
    shares = raw[:, :3] if sigmoid_inside else 1 / (1 + np.exp(-raw[:, :3]))
    manifest = imported(
        tmp_path, save_head(tmp_path / "n.onnx", {"o": raw[None]}), "nanodet", "--names", names
    )
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        outputs = engine.infer(np.zeros((64, 64, 3), np.uint8))
    order = np.argsort(-shares.max(1))
    np.testing.assert_allclose(outputs["scores"][0], shares.max(1)[order], atol=1e-5)
    np.testing.assert_allclose(outputs["boxes"][0], np.array(boxes)[order] - 0.5, atol=1e-3)
    np.testing.assert_array_equal(outputs["class_ids"][0], shares[order].argmax(1))


def test_a_dynamic_export_is_made_static(tmp_path: Path, names: Path) -> None:
    """A convolutional head with its grid computed from the input's shape, exported with open axes."""
    torch = pytest.importorskip("torch")
    import warnings

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 7, 8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            h, w = y.shape[2:]
            ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            centre = torch.stack((xs, ys))[None].to(y.dtype) * 8 + 4 + y[:, :2]
            return torch.cat((centre, y[:, 2:4].exp() * 8, y[:, 4:].sigmoid()), 1).flatten(2)

    torch.manual_seed(0)
    network, file = Tiny().eval(), tmp_path / "open.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 2: "anchors"}}
        torch.onnx.export(network, (torch.zeros(1, 3, 64, 64),), str(file), dynamo=False, opset_version=16,
                          input_names=["images"], output_names=["output0"], dynamic_axes=axes)  # fmt: skip
    manifest = imported(tmp_path, file, "yolov8", "--names", names, "--size", "96x64", "--fit", "stretch")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    with torch.no_grad():
        raw = network(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[0].numpy().T
    with OnnxRuntimeEngine(manifest, "fp32") as engine:
        outputs = engine.infer(image)
    order = np.argsort(-raw[:, 4:].max(1))
    assert outputs["boxes"].shape == (1, 96, 4)
    np.testing.assert_allclose(outputs["scores"][0], raw[order, 4:].max(1), atol=1e-5)
    np.testing.assert_allclose(outputs["boxes"][0], corners(raw[order, :4]) - 0.5, atol=1e-3)
    assert not [f for f in lint_model(manifest)["fp32"] if f.severity == ERROR]
