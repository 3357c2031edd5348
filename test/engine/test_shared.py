"""A fused model in one process: one session, one inference per picture, each task its own head."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
from toy_models import H, W, segmentation_graph, write_model

from vision_nodes.engine.loader import open_engine
from vision_nodes.engine.manifest import DepthSpec, Head, Manifest
from vision_nodes.engine.shared import HeadEngine, SharedEngine, open_task_engine
from vision_nodes.errors import EngineError, ModelError
from vision_nodes.preprocess.frame import Frame


@pytest.fixture
def fused(tmp_path: Path) -> Manifest:
    """The toy segmentation network, its confidence served as depth too."""
    toy = write_model(tmp_path, {"fp32": segmentation_graph()})
    heads = {
        "segmentation": Head({"labels": "labels", "confidence": "confidence"}, toy.class_names),
        "depth": Head({"depth": "confidence"}),
    }
    fused = dataclasses.replace(
        toy, task="fused", class_names=(), heads=heads, depth=DepthSpec(fx_canonical=20.0, max_m=5.0)
    )
    fused.write(tmp_path / "toy.yaml")
    return Manifest.read(tmp_path / "toy.yaml")


def open_head(manifest: Manifest, task: str) -> HeadEngine:
    engine = open_task_engine(str(manifest.path), task, backend="onnxruntime")
    assert isinstance(engine, HeadEngine)
    return engine


def test_two_tasks_share_one_inference_per_picture(fused: Manifest, images: list[np.ndarray]) -> None:
    with open_head(fused, "segmentation") as masks, open_head(fused, "depth") as depth:
        assert masks.shared is depth.shared
        assert masks.manifest.task == "segmentation" and depth.manifest.depth is not None
        for image in images:
            labels, metres = masks.infer(image), depth.infer(image)
            np.testing.assert_array_equal(labels["confidence"], metres["depth"])
            assert set(metres) == {"depth"}
        assert masks.shared.inferences == len(images)


def test_heads_answer_like_the_whole_model(fused: Manifest, images: list[np.ndarray]) -> None:
    with open_engine(fused, backend="onnxruntime") as whole, open_head(fused, "segmentation") as head:
        for image in images:
            want = {name: value.copy() for name, value in whole.infer(image).items()}
            have = head.infer(image)
            assert all(np.array_equal(want[name], have[name]) for name in want)


def test_an_equal_picture_in_another_array_is_computed(fused: Manifest, images: list[np.ndarray]) -> None:
    with open_head(fused, "depth") as engine:
        engine.infer(images[0])
        engine.infer(images[0].copy())
        assert engine.shared.inferences == 2


def test_answers_stay_valid_and_are_not_to_be_written(fused: Manifest, images: list[np.ndarray]) -> None:
    with open_head(fused, "depth") as engine:
        first = engine.infer(images[0])["depth"]
        kept = first.copy()
        for image in images[1:]:
            engine.infer(image)
        np.testing.assert_array_equal(first, kept)
        with pytest.raises(ValueError, match="read-only"):
            first[...] = 0


def test_threads_that_ask_at_once_get_one_inference(fused: Manifest, images: list[np.ndarray]) -> None:
    frames = [
        Frame(i, "camera", np.repeat(np.repeat(image, 3, 0), 3, 1), (3 * W, 3 * H))
        for i, image in enumerate(images)
    ]
    tasks = ("segmentation", "depth", "segmentation", "depth")
    engines = [open_head(fused, task) for task in tasks]
    start = threading.Barrier(len(engines))

    def work(engine: HeadEngine) -> None:
        for frame in frames:
            start.wait(10)
            engine.infer(frame.resized((W, H)))

    threads = [threading.Thread(target=work, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert engines[0].shared.inferences == len(frames)
    for engine in engines:
        engine.close()


def test_the_last_to_close_frees_the_session(
    fused: Manifest, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[SharedEngine] = []
    close = SharedEngine.close
    monkeypatch.setattr(SharedEngine, "close", lambda self: (freed.append(self), close(self))[1])
    first, second = open_head(fused, "depth"), open_head(fused, "segmentation")
    first.close()
    first.close()
    assert not freed and second.infer(images[0])
    with pytest.raises(EngineError, match="closed"):
        first.infer(images[0])
    second.close()
    assert freed == [first.shared]
    with open_head(fused, "depth") as again:
        assert again.shared is not first.shared


def test_a_model_that_does_not_serve_the_task_is_refused(fused: Manifest) -> None:
    with pytest.raises(ModelError, match="toy serves segmentation, depth"):
        open_task_engine(str(fused.path), "place")


def test_a_model_of_the_task_itself_is_opened_plainly(toy: Manifest) -> None:
    with open_task_engine(str(toy.path), "segmentation", backend="onnxruntime") as engine:
        assert not isinstance(engine, HeadEngine)
    with pytest.raises(ModelError, match="a depth model"):
        open_task_engine(str(toy.path), "depth")
