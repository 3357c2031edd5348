"""``vision-nodes models pull NAME``: public weights -> their re-implementation -> a model by the contract."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vision_nodes.engine.fields import write_atomically
from vision_nodes.engine.manifest import DepthSpec, InputSpec, Manifest, ModelFile, Training
from vision_nodes.engine.onnxruntime import OnnxRuntimeEngine
from vision_nodes.engine.zoo import ZooEntry, find_entry
from vision_nodes.errors import ModelError
from vision_nodes.export.fetch import fetch_weights
from vision_nodes.export.onnx import export_onnx
from vision_nodes.export.onnx_file import output_specs
from vision_nodes.export.published_tensors import read_published
from vision_nodes.networks.deploy import DetectionGraph, SegmentationGraph, from_uint8
from vision_nodes.networks.meter import FX_TRAINING, Meter
from vision_nodes.networks.meter import INPUT_WH as METER_WH
from vision_nodes.networks.mosaic import ADE_CLASSES, Mosaic
from vision_nodes.networks.nanodet import NanoDetPlus
from vision_nodes.networks.xfeat import XFeat, XFeatExport
from vision_nodes.resources import cache_directory
from vision_nodes.tasks.classes import COCO_CLASSES

NANODET_WH, XFEAT_WH, MOSAIC_WH = (416, 416), (640, 480), (512, 512)
CANDIDATES, KEYPOINTS = 300, 1000
METER_MAX_M = {"nyu": 10.0, "kitti": 80.0}  # farthest depth in its training data


class MeterGraph(nn.Module):
    """`image` -> `depth`: METER at a quarter of the input size."""

    output_names = ("depth",)

    def __init__(self, network: Meter) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, H / 4, W / 4) float32 metres."""
        return self.network(from_uint8(image))


@dataclass(frozen=True)
class Recipe:
    """How weights become a model: the network to fill, the graph around it, the manifest's further keys."""

    network: Callable[[], nn.Module]
    graph: Callable[[nn.Module], nn.Module]
    input_wh: tuple[int, int]
    keys: dict[str, object]


def _nanodet(channels: tuple[int, int, int], width: int) -> Recipe:
    return Recipe(
        lambda: NanoDetPlus(len(COCO_CLASSES), channels, width),
        lambda network: DetectionGraph(network, len(COCO_CLASSES), NANODET_WH, CANDIDATES),
        NANODET_WH,
        {"class_names": COCO_CLASSES, "postprocess": {"score_threshold": 0.35, "nms_iou": 0.6}},
    )


def _meter(scene: str) -> Recipe:
    spec = DepthSpec(FX_TRAINING[scene], METER_MAX_M[scene])
    return Recipe(lambda: Meter(scene), lambda network: MeterGraph(network), METER_WH[scene], {"depth": spec})


RECIPES: dict[str, Recipe] = {
    "nanodet_plus_m": _nanodet((116, 232, 464), 96),
    "nanodet_plus_m_15x": _nanodet((176, 352, 704), 128),
    "xfeat": Recipe(XFeat, lambda network: XFeatExport(network, KEYPOINTS), XFEAT_WH, {"descriptor_dim": 64}),
    "mosaic": Recipe(
        Mosaic,
        lambda network: SegmentationGraph(network, MOSAIC_WH, 4),
        MOSAIC_WH,
        {"class_names": ADE_CLASSES},
    ),
    "meter_nyu": _meter("nyu"),
    "meter_kitti": _meter("kitti"),
}


def pull(name: str, mirror: Path | None = None, cache: Path | None = None) -> Manifest:
    """Fetch, check, convert, prove that it runs, and only then make it findable in ``<cache>/models``.

    Raises:
        ModelError: no such entry, weights that cannot be had or are not the published ones, or a cache that
            cannot be written; no part of a model is left.
    """
    entry = find_entry(name)
    root = cache or cache_directory()
    form, files = fetch_weights(entry, root / "zoo", mirror)
    recipe = RECIPES[entry.network]
    network = recipe.network().eval()
    load_published(network, read_published(form, files, network), files[0].name)
    with tempfile.TemporaryDirectory() as trial:
        path = Path(trial) / f"{name}.onnx"
        graph = recipe.graph(network).eval()
        export_onnx(graph, graph.output_names, recipe.input_wh, path)
        manifest = _manifest(entry, recipe, path, files)
        manifest.write(Path(trial) / f"{name}.yaml")
        OnnxRuntimeEngine(Manifest.read(Path(trial) / f"{name}.yaml"), "fp32").close()
        return _publish(manifest, path.read_bytes(), root / "models")


def load_published(network: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """All of the network's state from `tensors`, nothing left over. Raises ModelError otherwise."""
    wanted = (
        network.state_dict()
        if any("running_mean" in key for key in tensors)
        else dict(network.named_parameters())
    )
    wrong = [key for key, own in wanted.items() if key not in tensors or tensors[key].shape != own.shape]
    extra = sorted(set(tensors) - set(wanted))
    if wrong or extra:
        received = f"missing or misshapen {wrong[:2]}, unused {extra[:2]} in {source}"
        raise ModelError(
            f"{len(wanted)} tensors of {type(network).__name__}", received, "use the listed file"
        )
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise ModelError(f"finite weights in {source}", "NaN or infinity", "use the listed file")
    network.load_state_dict(tensors, strict=False)


def _manifest(entry: ZooEntry, recipe: Recipe, path: Path, files: list[Path]) -> Manifest:
    return Manifest(
        name=entry.name,
        task=entry.task,
        description=entry.description,
        files={"fp32": ModelFile.of(path)},
        input=InputSpec(recipe.input_wh),
        outputs=output_specs(path),
        training=Training(
            (entry.data,),
            0,
            f"vision-nodes models pull {entry.name}",
            f"public weights {files[0].name}, unchanged",
        ),
        licence=entry.licence,
        label=entry.label,
        source=f"{entry.source}; network re-implemented in this repository",
        **recipe.keys,
    )


def _publish(manifest: Manifest, content: bytes, folder: Path) -> Manifest:
    """The manifest last: a model without one is never found."""
    path = folder / f"{manifest.name}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / manifest.files["fp32"].file, content)
        manifest.write(path)
    except OSError as error:
        raise ModelError(
            f"a cache that can be written: {folder}", str(error), "--cache DIR, or set VISION_NODES_CACHE"
        ) from error
    return Manifest.read(path)
