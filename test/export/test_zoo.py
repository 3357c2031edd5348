"""The zoo: its list, fetching with every way it can fail, and the published forms of weights."""

from __future__ import annotations

import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pooch")
pytest.importorskip("onnxsim")

from vision_nodes.cli import main
from vision_nodes.engine.loader import open_engine
from vision_nodes.engine.manifest import Manifest
from vision_nodes.engine.zoo import WeightFile, WeightSource, find_entry, read_zoo
from vision_nodes.errors import ModelError
from vision_nodes.export.fetch import fetch_weights
from vision_nodes.export.published_tensors import (
    read_ncnn,
    read_onnx_convolutions,
    read_order,
    read_published,
)
from vision_nodes.export.pull import RECIPES, load_published, pull
from vision_nodes.networks.nanodet import NanoDetPlus
from vision_nodes.networks.weights import read_tensors

MIRROR = Path(__file__).parents[2].parent / "shared" / "weights"
needs_mirror = pytest.mark.skipif(not MIRROR.exists(), reason="shared weights absent")
CONTENT = np.random.default_rng(0).bytes(5000)


def test_every_entry_can_be_converted_and_is_addressed_by_commit() -> None:
    zoo = read_zoo()
    assert set(zoo) >= {"nanodet_plus_coco80", "xfeat", "mosaic_ade20k", "meter_nyu"}
    for entry in zoo.values():
        assert entry.network in RECIPES and entry.licence and entry.data["licence"]
        for part in (part for source in entry.sources for part in source.parts):
            assert len(part.sha256) == 64 and part.bytes > 0
            assert not part.url or any(len(word) == 40 for word in part.url.split("/"))


def test_unknown_names_list_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "yolov99"]) == 1
    assert "nanodet_plus_coco80" in capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "w.bin").write_bytes(CONTENT)
    (folder / "cut.bin").write_bytes(CONTENT[:3000])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: object) -> None:
            """Nothing on stderr."""

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


def entry_at(url: str, content: bytes = CONTENT) -> object:
    part = WeightFile("x/w.bin", len(content), hashlib.sha256(content).hexdigest(), url)
    return replace(find_entry("xfeat"), name="tiny", sources=(WeightSource("npz", (part,)),))


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_download_is_checked_kept_and_not_repeated(server: str, tmp_path: Path) -> None:
    form, (path,) = fetch_weights(entry_at(f"{server}/w.bin"), tmp_path / "zoo")
    assert form == "npz" and path.read_bytes() == CONTENT
    before = path.stat().st_mtime_ns
    (tmp_path / "www" / "w.bin").unlink()  # a second request would fail
    assert fetch_weights(entry_at(f"{server}/w.bin"), tmp_path / "zoo")[1][0].stat().st_mtime_ns == before


@pytest.mark.parametrize(("file", "part"), [("cut.bin", "SHA-256"), ("none.bin", "404")])
def test_wrong_or_missing_downloads_leave_nothing(server: str, tmp_path: Path, file: str, part: str) -> None:
    with pytest.raises(ModelError, match=part):
        fetch_weights(entry_at(f"{server}/{file}"), tmp_path / "zoo")
    assert files_below(tmp_path / "zoo") == []


def test_a_damaged_cache_is_fetched_again(server: str, tmp_path: Path) -> None:
    _, (path,) = fetch_weights(entry_at(f"{server}/w.bin"), tmp_path / "zoo")
    path.write_bytes(CONTENT[:100])
    assert fetch_weights(entry_at(f"{server}/w.bin"), tmp_path / "zoo")[1][0].read_bytes() == CONTENT


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--mirror DIR"):
        fetch_weights(entry_at("http://127.0.0.1:9/w.bin"), tmp_path / "zoo")
    assert files_below(tmp_path) == []


def test_mirrors(tmp_path: Path) -> None:
    entry = entry_at("")
    with pytest.raises(ModelError, match="nothing at"):
        fetch_weights(entry, tmp_path / "zoo", tmp_path / "nowhere")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with pytest.raises(ModelError, match="no such file"):
        fetch_weights(entry, tmp_path / "zoo", mirror)
    with pytest.raises(ModelError, match="--mirror DIR with x/w"):
        fetch_weights(entry, tmp_path / "zoo")
    (mirror / "w.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match="cut off"):
        fetch_weights(entry, tmp_path / "zoo", mirror)
    assert files_below(tmp_path / "zoo") == []
    (mirror / "w.bin").write_bytes(CONTENT)
    assert fetch_weights(entry, tmp_path / "zoo", mirror)[1][0].read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "zoo").write_text("a file where the folder should be")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "w.bin").write_bytes(CONTENT)
    with pytest.raises(ModelError, match="--cache DIR"):
        fetch_weights(entry_at(""), tmp_path / "zoo", tmp_path / "mirror")
    with pytest.raises(ModelError, match="--cache DIR"):
        fetch_weights(entry_at("http://127.0.0.1:9/w.bin"), tmp_path / "zoo")


def write_ncnn(network: torch.nn.Module, folder: Path, int8: bool) -> list[Path]:
    """The network's convolutions as ncnn stores them, and the lines of its .param that matter."""
    binary, lines = b"", ["7767517", "1 1", "Input data 0 1 data"]
    parameters = dict(network.named_parameters())
    for i, name in enumerate(read_order("nanodet_plus_ncnn")):
        weight, bias = (parameters[f"{name}.{kind}"].detach().numpy() for kind in ("weight", "bias"))
        mode = (0, 1, 101)[i % 3] if int8 else 0
        if mode:
            scale = 127 / np.abs(weight).reshape(len(weight), -1).max(1)
            stored = np.rint(weight.reshape(len(weight), -1) * scale[:, None]).astype(np.int8).tobytes()
            tail = scale.astype(np.float32).tobytes() + b"\0" * (8 if mode > 100 else 4)
        else:
            stored, tail = weight.astype(np.float16).tobytes(), b""
        binary += struct.pack("<I", 0x000D4B38 if mode else 0x01306B47)
        binary += stored + b"\0" * (-len(stored) % 4) + bias.astype(np.float32).tobytes() + tail
        lines.append(f"Convolution c{i} 1 1 in out 0={len(bias)} 1=3 6={weight.size} 8={mode}")
    (folder / "w.bin").write_bytes(binary)
    (folder / "w.param").write_text("\n".join(lines))
    return [folder / "w.bin", folder / "w.param"]


@pytest.mark.parametrize("int8", [False, True])
def test_ncnn_files_are_read_back(tmp_path: Path, int8: bool) -> None:
    torch.manual_seed(0)
    network = NanoDetPlus(80).requires_grad_(False)
    files = write_ncnn(network, tmp_path, int8)
    tensors = read_published("ncnn", files, network)
    for name, value in network.named_parameters():
        limit = float(value.abs().max()) / 127 if int8 else 1e-3 * float(value.abs().max())
        assert float((tensors[name] - value).abs().max()) <= limit
    load_published(NanoDetPlus(80), tensors, "w.bin")
    files[0].write_bytes(files[0].read_bytes()[:-4])
    with pytest.raises(ModelError, match=r"w\.bin"):
        read_ncnn(files, network)
    files[0].write_bytes(b"\x01" * 1000)
    with pytest.raises(ModelError, match="unknown weight type"):
        read_ncnn(files, network)


@needs_mirror
def test_the_published_xfeat_file_holds_the_stored_tensors() -> None:
    found = read_onnx_convolutions(MIRROR / "xfeat" / "xfeat_320x224.onnx", read_order("xfeat_onnx"))
    stored = read_tensors(MIRROR / "xfeat" / "xfeat_fused_f32.npz")
    assert set(found) == set(stored)
    assert all(torch.equal(found[name], stored[name]) for name in stored)


def test_weights_of_another_network_are_refused() -> None:
    network = NanoDetPlus(23)
    tensors = dict(NanoDetPlus(80).named_parameters())
    with pytest.raises(ModelError, match="misshapen"):
        load_published(network, tensors, "w")
    tensors = {name: value.detach() * np.nan for name, value in network.named_parameters()}
    with pytest.raises(ModelError, match="finite"):
        load_published(network, tensors, "w")


@needs_mirror
@pytest.mark.parametrize(
    "name",
    ["meter_nyu", *(pytest.param(n, marks=pytest.mark.slow) for n in sorted(read_zoo()) if n != "meter_nyu")],
)
def test_a_pulled_model_is_found_by_name_and_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISION_NODES_CACHE", str(tmp_path / "cache"))
    assert main(["models", "pull", name, "--mirror", str(MIRROR)]) == 0
    with open_engine(name) as engine:
        height, width = engine.input_hw
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        assert set(engine.infer(picture)) == set(engine.manifest.outputs)
    capsys.readouterr()
    assert main(["models", "check", name]) == 0, capsys.readouterr().out


@needs_mirror
def test_a_pulled_detector_sees(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    from vision_nodes.preprocess.frame import Frame
    from vision_nodes.tasks.runners import Detector

    manifest = pull("nanodet_plus_15x_coco80", MIRROR, tmp_path)
    assert Manifest.read(tmp_path / "models" / "nanodet_plus_15x_coco80.yaml") == manifest
    for name, wanted in (("chelsea", "cat"), ("astronaut", "person"), ("coffee", "cup")):
        image = getattr(data, name)()
        with open_engine(manifest) as engine:
            found = Detector(engine, 0.4, 0.6).detect(
                Frame(0, "cam", image, (image.shape[1], image.shape[0]))
            )
        assert wanted in [manifest.class_names[i] for i in found.class_ids]
