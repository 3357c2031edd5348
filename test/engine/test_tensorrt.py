"""TensorRT code against the strict fake of four versions: names, order of calls, and every way it can fail.

This has not been run on TensorRT itself.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fake_tensorrt import API, Behaviour, make_tensorrt
from toy_models import expected_outputs, segmentation_graph, write_model

from vision_nodes.engine import cudart, tensorrt_build
from vision_nodes.engine.cache import EngineCache
from vision_nodes.engine.loader import build_engine, open_engine
from vision_nodes.engine.manifest import Manifest
from vision_nodes.engine.upgrading import UpgradingEngine
from vision_nodes.errors import EngineError, ModelError

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler for the CUDA stand-in")


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cuda") / "libcudart_fake.so"
    source = Path(__file__).with_name("fake_cudart.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(path), str(source)], check=True)
    return path


@pytest.fixture(params=list(API))
def behaviour(request, cuda_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Behaviour:
    """TensorRT of one version and a GPU, both fake; an empty cache."""
    monkeypatch.setenv("VISION_NODES_CUDART", str(cuda_library))
    monkeypatch.setenv("VISION_NODES_CACHE", str(tmp_path / "cache"))
    cudart.library.cache_clear()
    cudart._thread.__dict__.clear()
    library = ctypes.CDLL(str(cuda_library))
    library.fake_enqueue.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    library.fake_set(1, 0, 0)
    behaviour = Behaviour(library)
    trt = make_tensorrt(request.param, behaviour)
    trt.__spec__ = "fake"  # importlib.util.find_spec asks for it
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    yield behaviour
    library.fake_set(1, 0, 0)
    cudart.library.cache_clear()


def kept(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache" / "engines").glob("*"))


def test_builds_checks_keeps_and_reuses(behaviour: Behaviour, toy: Manifest, images, tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    with open_engine(toy, backend="tensorrt", on_build=lambda *step: seen.append(step)) as engine:
        assert (engine.backend, engine.precision) == ("tensorrt", "int8")
        for image in images:
            assert np.mean(engine.infer(image)["labels"][0] == expected_outputs(image)[0]) > 0.9
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert len(behaviour.built) == 1 and len(kept(tmp_path)) == 2
    with open_engine(toy) as engine:
        assert engine.backend == "tensorrt"
    assert len(behaviour.built) == 1, "taken from the cache"


def test_fp32_gives_what_onnx_runtime_gives(behaviour: Behaviour, toy: Manifest, images) -> None:
    with (
        open_engine(toy, precision="fp32", backend="tensorrt") as engine,
        open_engine(toy, precision="fp32", backend="onnxruntime") as reference,
    ):
        for image in images:
            expected, received = reference.infer(image), engine.infer(image)
            assert all(np.array_equal(expected[name], received[name]) for name in expected)


def test_nothing_is_left_behind(behaviour: Behaviour, toy: Manifest, images) -> None:
    gc.collect()
    before = behaviour.cudart.fake_live()
    engine = open_engine(toy, backend="tensorrt")
    outputs = engine.infer(images[0])
    copy = outputs["confidence"].copy()
    engine.close()
    engine.close()
    assert np.array_equal(outputs["confidence"], copy), "a result outlives its engine"
    with pytest.raises(EngineError, match="closed"):
        engine.infer(images[0])
    del outputs, engine
    gc.collect()
    assert behaviour.cudart.fake_live() == before


def test_any_thread_may_infer(behaviour: Behaviour, toy: Manifest, images) -> None:
    with open_engine(toy, backend="tensorrt") as engine:
        found: list[object] = []

        def work() -> None:
            try:
                found.append(engine.infer(images[1])["labels"].copy())
            except EngineError as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert np.array_equal(found[0], engine.infer(images[1])["labels"])


def test_a_network_that_cannot_be_captured_still_runs(
    behaviour: Behaviour, toy: Manifest, images, caplog
) -> None:
    behaviour.cudart.fake_set(1, 1, 0)
    with open_engine(toy, precision="fp32", backend="tensorrt") as engine:
        assert np.mean(engine.infer(images[0])["labels"][0] == expected_outputs(images[0])[0]) > 0.99
    assert "without a CUDA graph" in caplog.text


def test_serves_from_the_cpu_while_building(behaviour: Behaviour, toy: Manifest, images) -> None:
    with open_engine(toy) as engine:
        assert isinstance(engine, UpgradingEngine)
        engine.infer(images[0])
        assert engine.wait(30) and engine.state == "ready" and engine.fraction == 1.0
        assert np.mean(engine.infer(images[0])["labels"][0] == expected_outputs(images[0])[0]) > 0.9
        assert engine.backend == "tensorrt"


def test_int8_falls_back_to_fp16(behaviour: Behaviour, toy: Manifest, tmp_path: Path, caplog) -> None:
    int8, half = toy.read_file("int8"), segmentation_graph(seed=0).SerializeToString() + b""
    assert EngineCache().store_onnx(toy, "fp16", half) == ""
    behaviour.build_fails = (int8,)
    with open_engine(toy, precision="int8", backend="tensorrt") as engine:
        assert engine.precision == "fp16"
    assert "Could not find any implementation" in caplog.text
    count = len(behaviour.built)
    with open_engine(toy, precision="int8") as engine:
        assert (engine.backend, engine.precision) == ("tensorrt", "fp16")
    assert len(behaviour.built) == count, "what failed is not tried at every start"


def test_all_builds_fail(behaviour: Behaviour, toy: Manifest, images) -> None:
    behaviour.build_fails = (toy.read_file("int8"), toy.read_file("fp32"))
    with pytest.raises(EngineError, match="Could not find any implementation"):
        open_engine(toy, backend="tensorrt")
    with open_engine(toy) as engine:
        assert isinstance(engine, UpgradingEngine) and engine.wait(30)
        assert engine.state == "failed" and "Could not find" in engine.message
        engine.infer(images[0])
        assert engine.backend != "tensorrt"


def test_the_build_command_tries_again(behaviour: Behaviour, toy: Manifest) -> None:
    behaviour.build_fails = (toy.read_file("int8"),)
    build_engine(toy).close()
    behaviour.build_fails = ()
    with build_engine(toy) as engine:
        assert engine.precision == "int8"
    count = len(behaviour.built)
    build_engine(toy).close()
    assert len(behaviour.built) == count + 1


def test_a_build_that_computes_wrongly_is_refused(
    behaviour: Behaviour, toy: Manifest, tmp_path: Path
) -> None:
    behaviour.wrong_answers = (toy.read_file("int8"), toy.read_file("fp32"))
    with pytest.raises(EngineError, match="something else than the CPU"):
        open_engine(toy, backend="tensorrt")
    assert not [name for name in kept(tmp_path) if name.endswith(".plan")]


def test_a_stale_engine_is_rebuilt_and_says_why(
    behaviour: Behaviour, toy: Manifest, tmp_path: Path, caplog
) -> None:
    open_engine(toy, backend="tensorrt").close()
    sidecar = next((tmp_path / "cache" / "engines").glob("*.json"))
    content = json.loads(sidecar.read_text())
    content["key"]["tensorrt"] = "8.6.1"
    sidecar.write_text(json.dumps(content))
    with caplog.at_level(logging.INFO):
        open_engine(toy, backend="tensorrt").close()
    assert "tensorrt: '8.6.1' then" in caplog.text and len(behaviour.built) == 2


@pytest.mark.parametrize("damage", ["plan", "sidecar", "no sidecar"])
def test_a_damaged_cache_is_rebuilt(
    behaviour: Behaviour, toy: Manifest, tmp_path: Path, damage: str, caplog
) -> None:
    open_engine(toy, backend="tensorrt").close()
    plan = next((tmp_path / "cache" / "engines").glob("*.plan"))
    if damage == "plan":
        plan.write_bytes(plan.read_bytes()[:50])
    elif damage == "sidecar":
        plan.with_suffix(".json").write_text("{")
    else:
        plan.with_suffix(".json").unlink()
    with caplog.at_level(logging.INFO):
        open_engine(toy, backend="tensorrt").close()
    assert "damaged" in caplog.text and len(behaviour.built) == 2


def test_deserialize_returns_none(behaviour: Behaviour, toy: Manifest, tmp_path: Path) -> None:
    cache = EngineCache()
    key = tensorrt_build.engine_key(toy, "int8", toy.read_file("int8"))
    cache.store(key, b"PLAN8.6|anything")
    reasons: list[str] = []
    assert tensorrt_build.open_cached(toy, None, reasons) is None
    assert "not compatible with this version" in reasons[0]
    assert kept(tmp_path) == [], "what cannot be loaded is not offered again"


def test_an_unwritable_cache(
    behaviour: Behaviour, toy: Manifest, tmp_path: Path, monkeypatch, caplog
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISION_NODES_CACHE", str(tmp_path / "file" / "cache"))
    with open_engine(toy, backend="tensorrt") as engine:
        assert engine.backend == "tensorrt"
    assert "VISION_NODES_CACHE" in caplog.text


def test_the_timing_cache_is_used_and_a_refused_one_replaced(behaviour: Behaviour, toy: Manifest) -> None:
    for precision in ("int8", "fp32"):
        open_engine(toy, precision=precision, backend="tensorrt").close()
    assert behaviour.timing_caches == [b"", b"T"]
    behaviour.refuse_timing_cache = True
    shutil.rmtree(EngineCache().directory / "engines")
    open_engine(toy, precision="int8", backend="tensorrt").close()
    assert behaviour.timing_caches[-1] == b""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("parse_fails", "Frobnicate"),
        ("factory_fails", "nullptr"),
        ("context_fails", "execution context"),
        ("execute_fails", "queued"),
    ],
)
def test_faults_have_a_name(behaviour: Behaviour, toy: Manifest, fault: str, words: str) -> None:
    before = behaviour.cudart.fake_live()
    setattr(behaviour, fault, True)
    with pytest.raises(EngineError, match=words):
        open_engine(toy, backend="tensorrt")
    gc.collect()
    assert behaviour.cudart.fake_live() == before


def test_out_of_gpu_memory(behaviour: Behaviour, toy: Manifest) -> None:
    behaviour.cudart.fake_set(1, 0, 1)
    with pytest.raises(EngineError, match="cudaErrorMemoryAllocation"):
        open_engine(toy, backend="tensorrt")


def test_no_gpu(behaviour: Behaviour, toy: Manifest) -> None:
    behaviour.cudart.fake_set(0, 0, 0)
    with pytest.raises(EngineError, match="no CUDA GPU"):
        open_engine(toy, backend="tensorrt")
    with open_engine(toy) as engine:
        assert engine.backend in ("openvino", "onnxruntime-cpu")


def test_closing_cancels_the_build(behaviour: Behaviour, toy: Manifest) -> None:
    started, go_on = threading.Event(), threading.Event()

    def hold(_: str, __: float) -> None:
        started.set()
        go_on.wait(20)

    engine = open_engine(toy, on_build=hold)
    assert isinstance(engine, UpgradingEngine) and started.wait(20)
    engine.close()
    go_on.set()
    assert engine.wait(20) and engine.state == "failed" and "cancelled" in engine.message
    assert EngineCache().failure(tensorrt_build.engine_key(toy, "int8", toy.read_file("int8"))) == ""


def test_an_engine_of_another_shape(behaviour: Behaviour, toy: Manifest, tmp_path: Path) -> None:
    other = segmentation_graph(batch=2).SerializeToString()
    plan = tensorrt_build.build_plan(other, tensorrt_build.engine_key(toy, "fp32", other), EngineCache())
    with pytest.raises(ModelError, match="image"):
        tensorrt_build.TensorRtEngine(toy, "fp32", plan, 12060)


def test_two_cameras(behaviour: Behaviour, tmp_path: Path, images) -> None:
    manifest = write_model(tmp_path, {"fp32": segmentation_graph(batch=2)}, name="pair", batch=2)
    with open_engine(manifest, backend="tensorrt") as engine:
        labels = engine.infer(np.stack(images[:2]))["labels"]
        assert np.mean(labels[1] == expected_outputs(images[1])[0]) > 0.99
