"""One fused model in the graph: an untrained one, exported as the real one is, behind four nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from vision_nodes.bags.reader import BagReader
from vision_nodes.engine.lint import lint_onnx
from vision_nodes.engine.loader import open_engine
from vision_nodes.engine.manifest import InputSpec, Manifest, ModelFile, Training
from vision_nodes.engine.shared import SharedEngine
from vision_nodes.export.onnx import export_onnx, output_specs
from vision_nodes.networks.fused import HEADS, OUTPUTS, FusedNetwork
from vision_nodes.nodes.replay import replay
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.fused import FusedTask, HeadView

SIZE_WH = (128, 128)


def untrained() -> tuple[FusedTask, FusedNetwork]:
    torch.manual_seed(0)
    options = {"detection": {"candidates": 20}}
    task = FusedTask(TrainingConfig("fused", input_wh=SIZE_WH, options=options))
    classes = len(task.detection.class_names), len(task.segmentation.class_names)
    return task, FusedNetwork(*classes, SIZE_WH).eval()


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The model file and its manifest."""
    folder = tmp_path_factory.mktemp("models")
    task, network = untrained()
    module = task.export_module(network)
    export_onnx(module, module.output_names, SIZE_WH, folder / "fused_test.onnx")
    Manifest(
        name="fused_test",
        task="fused",
        description="untrained, of a test",
        files={"fp32": ModelFile.of(folder / "fused_test.onnx")},
        input=InputSpec(SIZE_WH),
        outputs=output_specs(folder / "fused_test.onnx"),
        training=Training((), 0, "none", "random"),
        licence="Apache-2.0",
        source="a test",
        **task.manifest_fields(),
    ).write(folder / "fused_test.yaml")
    return Manifest.read(folder / "fused_test.yaml")


def test_exported_file_is_clean_and_agrees_with_torch(fused: Manifest) -> None:
    assert lint_onnx(fused.read_file("fp32")) == []
    task, network = untrained()
    graph = task.export_module(network)
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8), SIZE_WH)
    with open_engine(fused, backend="onnxruntime") as engine, torch.no_grad():
        have = engine.infer(image)
        want = dict(zip(graph.output_names, graph(torch.from_numpy(image)[None])))
    for name in ("depth", "descriptor", "scores", "label_confidence"):
        np.testing.assert_allclose(have[name], want[name].numpy(), atol=2e-3)
    for head in HEADS:
        assert set(HeadView(graph, head, SIZE_WH).output_names) == set(OUTPUTS[head])


def test_four_nodes_run_one_inference_per_frame(
    fused: Manifest, good_bag: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inferences: list[int] = []
    close = SharedEngine.close
    monkeypatch.setattr(
        SharedEngine, "close", lambda self: (inferences.append(self.inferences), close(self))[1]
    )
    parameters = {f"{head}_node": {"model": str(fused.path)} for head in HEADS}
    parameters["place_node"]["use_odometry"] = False
    summary = replay(good_bag(5), tmp_path / "out.mcap", tasks=HEADS, parameters=parameters)
    assert summary.processed == 5 and summary.problem == ""
    topics = Counter(message.topic for message in BagReader(tmp_path / "out.mcap").messages())
    assert topics["/detections"] == topics["/segmentation/mask"] == topics["/depth/image"] == 5
    assert topics["/place_matches"] >= 1
    assert inferences == [5]
