"""The cache keeps what fits, says why it does not, and is never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_nodes.engine.cache import EngineCache, cache_directory
from vision_nodes.engine.manifest import Manifest

KEY = {
    "model": "toy",
    "precision": "fp16",
    "gpu": "Orin (nvgpu)/nvidia",
    "tensorrt": "10.3.0",
    "input": [1, 2],
}


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VISION_NODES_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("VISION_NODES_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_directory() == tmp_path / "x" / "vision_nodes"


def test_an_empty_cache(tmp_path: Path) -> None:
    plan, why = EngineCache(tmp_path / "none").load(KEY)
    assert plan is None and "yet" in why


def test_what_is_stored_is_found(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    assert cache.store(KEY, b"plan", {"checked_against": "x"}) == ""
    assert cache.load(KEY) == (b"plan", "")
    assert all(path.parent == tmp_path / "engines" for path in tmp_path.rglob("*.*"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tensorrt": "10.13.0"}, "tensorrt: '10.3.0' then, '10.13.0' now"),
        ({"input": [2, 2]}, "input"),
        ({"l4t": "R36"}, "l4t"),
    ],
)
def test_a_changed_key_names_the_change(tmp_path: Path, change: dict[str, object], word: str) -> None:
    cache = EngineCache(tmp_path)
    cache.store(KEY, b"plan")
    plan, why = cache.load({**KEY, **change})
    assert plan is None and word in why


def test_damage_is_noticed(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.store(KEY, b"plan")
    path = next(tmp_path.rglob("*.plan"))
    path.write_bytes(b"pl")
    assert "damaged" in cache.load(KEY)[1]
    for content in ("", "[]", "{}", '{"key": 1, "sha256": 2}', "null"):
        path.with_suffix(".json").write_text(content)
        plan, why = cache.load(KEY)
        assert plan is None and "damaged" in why
    path.with_suffix(".json").write_bytes(b"\xff\xfe")
    assert cache.load(KEY)[0] is None


def test_discard(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.store(KEY, b"plan")
    cache.discard(KEY)
    cache.discard(KEY)
    assert cache.load(KEY)[0] is None and not list(tmp_path.rglob("*.plan"))


def test_a_full_disk_leaves_the_old_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EngineCache(tmp_path)
    cache.store(KEY, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "No space left" in cache.store(KEY, b"new")
    assert cache.load(KEY) == (b"old", "")
    assert len(list((tmp_path / "engines").iterdir())) == 2, "no temporary file stays"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = EngineCache(tmp_path / "file" / "cache")
    assert "VISION_NODES_CACHE" in cache.store(KEY, b"plan")
    assert "VISION_NODES_CACHE" in cache.store_timing_cache("10.3.0", "Orin", b"t")
    assert cache.timing_cache("10.3.0", "Orin") == b""


def test_failures_are_remembered_for_their_key_only(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    assert cache.failure(KEY) == ""
    cache.store_failure(KEY, "no kernel")
    assert cache.failure(KEY) == "no kernel"
    assert cache.failure({**KEY, "tensorrt": "10.13.0"}) == ""


def test_timing_caches_are_kept_per_version_and_gpu(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    assert cache.store_timing_cache("10.3.0", "Orin", b"t") == ""
    assert cache.timing_cache("10.3.0", "Orin") == b"t"
    assert cache.timing_cache("10.13.0", "Orin") == b"" and cache.timing_cache("10.3.0", "Thor") == b""


def test_a_derived_file_belongs_to_its_source(
    tmp_path: Path, toy: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EngineCache(tmp_path / "cache")
    assert cache.onnx(toy, "fp16") is None
    assert cache.onnx(toy, "fp32") == toy.read_file("fp32")
    assert cache.store_onnx(toy, "fp16", b"half") == ""
    assert cache.onnx(toy, "fp16") == b"half"
    next((tmp_path / "cache" / "derived").glob("*.onnx")).write_bytes(b"altered")
    assert cache.onnx(toy, "fp16") is None and "damaged" in caplog.text
