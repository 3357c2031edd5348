"""Place models on the development sets of `place_dev`: ``python -m vision_nodes.training.place_bench MODEL ...``.

A MODEL is a manifest (``models/place.yaml``, or ``models/place.yaml:int8``), a checkpoint (``runs/place/best.pt``) or an
untrained trunk to compare with (``gem:mobilenet_v2``, ``gem:edgetpu``). Nothing here is test data: choose by it.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from vision_nodes.engine.loader import open_cpu
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import ConfigError, TrainingError
from vision_nodes.evaluation.places import IGNORED, POSITIVE
from vision_nodes.evaluation.retrieval import pair_scores
from vision_nodes.networks.edgetpu import EdgeTpuTrunk, trunk_tensors
from vision_nodes.networks.mobilenet_v2 import MobileNetV2, load_imagenet
from vision_nodes.networks.place import PlaceExport, PlaceNetwork
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors
from vision_nodes.training.checkpoint import read_checkpoint

logger = logging.getLogger(__name__)
Describe = Callable[[np.ndarray], np.ndarray]  # (N, H, W, 3) uint8 -> (N, D) float32 unit norm
LOOPS, TRAVERSES = ("rooms", "crops"), ("streets", "corridors", "pictures")
TOLERANCE = {"streets": 2, "corridors": 2, "pictures": 0}  # steps
EDGETPU = "mobilenet_edgetpu_imagenet/mobilenet_edgetpu_fused_q8.npz"


class UntrainedGem(nn.Module):
    """Generalised mean (p = 3) of a public ImageNet trunk's last map, less its mean over pictures."""

    def __init__(self, name: str) -> None:
        super().__init__()
        if name == "edgetpu":
            self.trunk: nn.Module = EdgeTpuTrunk()
            load_tensors(self.trunk, trunk_tensors(read_tensors(find_weights(EDGETPU))), EDGETPU)
        elif name == "mobilenet_v2":
            self.trunk = MobileNetV2(17, (17,))
            load_imagenet(self.trunk)
        else:
            raise ConfigError("gem:edgetpu or gem:mobilenet_v2", f"gem:{name}", "use one of these")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 -> (B, C), not centred yet."""
        tensor = image.float().permute(0, 3, 1, 2)
        if isinstance(self.trunk, EdgeTpuTrunk):
            x = self.trunk(tensor)[0]
        else:
            x = self.trunk(tensor / 127.5 - 1)[0]
        return functional.normalize(x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3), dim=1)


def opened(name: str) -> Describe:
    """The model named on the command line. Raises ConfigError or ModelError when there is none."""
    if name.startswith("gem:"):
        return of_module(UntrainedGem(name[4:]), centred=True)
    if name.endswith(".pt"):
        state = read_checkpoint(Path(name), "place")
        network = PlaceNetwork(tuple(state["config"]["input_wh"]), imagenet=False)
        own = network.state_dict()
        network.load_state_dict({**own, **{k: v for k, v in state["network"].items() if k in own}})
        return of_module(PlaceExport(network))
    path, _, precision = name.partition(":")
    engine = open_cpu(Manifest.read(Path(path)), precision or "fp32")
    height, width = engine.input_hw

    def describe(images: np.ndarray) -> np.ndarray:
        found = []
        for image in images:
            fitting = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            found.append(engine.infer(fitting)["descriptor"][0].copy())
        return np.stack(found)

    return describe


def of_module(module: nn.Module, centred: bool = False, batch: int = 16) -> Describe:
    """A graph (B, H, W, 3) uint8 -> (B, D); `centred` takes the mean of the set away first."""
    module.eval()

    @torch.no_grad()
    def describe(images: np.ndarray) -> np.ndarray:
        found = torch.cat([module(chunk) for chunk in torch.from_numpy(images).split(batch)])
        if centred:
            found = found - found.mean(dim=0)
        return functional.normalize(found, dim=1).numpy()

    return describe


def bench(describe: Describe, folder: Path) -> dict[str, float]:
    """Figures of every set, see `bench_found`."""
    sets = {name: read_set(folder, name) for name in LOOPS + TRAVERSES}
    sides = ((name, side) for name in sets for side in ("images", "queries") if side in sets[name])
    return bench_found(sets, {(name, side): describe(sets[name][side]) for name, side in sides})


def read_set(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Arrays of one development set. Raises TrainingError when it was not rendered."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        raise TrainingError("development sets", f"no {path}", "python -m vision_nodes.training.place_dev")
    return dict(np.load(path, allow_pickle=False))


def bench_found(
    sets: dict[str, dict[str, np.ndarray]], found: dict[tuple[str, str], np.ndarray]
) -> dict[str, float]:
    """Figures from descriptors of every (set, side).

    `score` is the mean of the average precisions of the loops and the recalls at 1 of the traverses.
    """
    figures: dict[str, float] = {}
    for name, arrays in sets.items():
        images = found[name, "images"]
        if name in LOOPS:
            figures |= loop_figures(name, images, arrays)
        else:
            queries, group = found[name, "queries"], arrays["group"]
            figures[f"{name}_recall_at_1"] = traverse_recall(images, queries, group, TOLERANCE[name])
    chosen = [v for n, v in figures.items() if n.endswith(("_average_precision", "_recall_at_1"))]
    return {"score": float(np.mean(chosen)), **figures}


def loop_figures(name: str, found: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Average precision, and recall before the first wrong pair.

    Rooms are scored one by one (a robot has one map) and averaged; the few views into each picture are scored
    against those of all pictures.
    """
    similarity, table, group = found @ found.T, arrays["overlap"], arrays["group"]
    first, second = np.triu_indices(len(found), 1)
    if name == "crops":
        table = np.where(group[:, None] == group[None, :], table, 0.0)
        parts = [np.full(len(first), True)]
    else:
        parts = [(group[first] == g) & (group[second] == g) for g in np.unique(group)]
    rows = []
    for part in parts:
        shared, alike = table[first[part], second[part]], similarity[first[part], second[part]]
        decided = (shared < IGNORED) | (shared >= POSITIVE)  # NaN is neither
        if (shared >= POSITIVE).sum() >= 5:
            rows.append(pair_scores(alike[decided], shared[decided] >= POSITIVE))
    return {f"{name}_{key}": float(np.mean([row[key] for row in rows])) for key in rows[0]}


def traverse_recall(found: np.ndarray, queries: np.ndarray, group: np.ndarray, tolerance: int) -> float:
    """Share of queries whose nearest reference is of the same way, at most `tolerance` steps off."""
    nearest = (queries @ found.T).argmax(axis=1)
    right = (group[nearest] == group) & (np.abs(nearest - np.arange(len(group))) <= tolerance)
    return float(right.mean())


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--sets", type=Path, default=Path("runs/place_dev"))
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    rows = {}
    for name in options.models:
        began = time.monotonic()
        rows[name] = bench(opened(name), options.sets)
        logger.info("%s: %.0f s", name, time.monotonic() - began)
    table = Table("figure", *rows)
    for figure in next(iter(rows.values())):
        table.add_row(figure, *[f"{row[figure]:.4f}" for row in rows.values()])
    Console(width=60 + 24 * len(rows)).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
