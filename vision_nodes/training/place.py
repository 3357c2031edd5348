"""The place task: data, multi-similarity loss with a memory of past batches, recall as the metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset

from vision_nodes.errors import ConfigError, TrainingError
from vision_nodes.networks.place import PlaceExport, PlaceNetwork
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.paths import find_data
from vision_nodes.training.place_data import PictureRevisits, PictureVisits
from vision_nodes.training.place_loss import masked_log_depth_loss, multi_similarity_loss
from vision_nodes.training.place_worlds import WorldRevisits, WorldVisits

Batch = dict[str, Tensor]
DEFAULTS: dict[str, object] = {
    "pictures": "labelled/coco_val2017_subset/train.txt",
    "worlds": "",  # folder of rendered visits, written by `vision_nodes.training.place_worlds`
    "views": 4,
    "dev_pictures": 200,
    "dev_worlds": 8,
    "bank": 2048,
    "depth_weight": 0.1,
    "augment": True,
}
SOURCES = ("pictures", "worlds")
PLACES_PER_SOURCE = 1_000_000  # labels of different sources never meet


class PlaceTask:
    """See `TrainingTask`."""

    metric_name = "recall_at_1"
    higher_is_better = True

    def __init__(self, config: TrainingConfig) -> None:
        unknown = sorted(set(config.options) - set(DEFAULTS))
        if unknown:
            raise ConfigError(f"place options among {sorted(DEFAULTS)}", str(unknown), "correct the config")
        self.config = config
        self.options = {**DEFAULTS, **config.options}
        self._bank: tuple[torch.Tensor, torch.Tensor] | None = None

    def network(self) -> nn.Module:
        """ImageNet trunk, fresh head."""
        return PlaceNetwork(self.config.input_wh)

    def train_dataset(self) -> Dataset[Batch]:
        """Pictures, and rendered visits where the config names a folder of them."""
        size, views, seed = self.config.input_wh, int(self.options["views"]), self.config.seed
        severity = 1.0 if self.options["augment"] else 0.0
        sources: list[Dataset[Batch]] = [PictureVisits(self._pictures()[0], size, views, seed, severity)]
        if self.options["worlds"]:
            held_out = int(self.options["dev_worlds"])
            sources.append(WorldVisits(self._worlds(), size, views, seed, held_out))
        return EpochConcat(sources)

    def val_dataset(self) -> Dataset[Batch]:
        """Pictures and worlds that training never shows."""
        size, seed = self.config.input_wh, self.config.seed
        sources: list[Dataset[Batch]] = [PictureRevisits(self._pictures()[1], size, seed)]
        if self.options["worlds"]:
            sources.append(WorldRevisits(self._worlds(), size, seed, int(self.options["dev_worlds"])))
        return ConcatDataset(sources)

    def collate(self, samples: list[Batch]) -> Batch:
        """Views of all samples along the batch axis; pixels stay uint8 until the network's input."""
        return {
            "tensor": torch.cat([sample["views"] for sample in samples]).float(),
            "place": torch.cat([sample["place"] for sample in samples]),
            "depth": torch.cat([sample["depth"] for sample in samples]),
        }

    def loss(self, network: nn.Module, batch: Batch) -> Batch:
        """Multi-similarity against this and earlier batches, plus the auxiliary depth."""
        tensor = batch["tensor"].contiguous(memory_format=torch.channels_last)
        descriptor, log_depth = network(tensor, with_depth=True)
        descriptor, log_depth = descriptor.float(), log_depth.float()
        metric = multi_similarity_loss(descriptor, batch["place"], self._bank)
        depth = masked_log_depth_loss(log_depth, batch["depth"])
        self._remember(descriptor.detach(), batch["place"])
        total = metric + float(self.options["depth_weight"]) * depth
        return {"total": total, "metric": metric, "depth": depth}

    def evaluate(self, network: nn.Module, dataset: Dataset[Batch]) -> dict[str, float]:
        """Recall at 1 on walks; for `--overfit`, whose samples are training samples, on their views."""
        if "gallery" in dataset[0]:
            return self.evaluate_graph(self.export_module(network), dataset)
        batch = self.collate([dataset[i] for i in range(len(dataset))])
        descriptor = network(batch["tensor"])
        similarity = (descriptor @ descriptor.T).fill_diagonal_(-1.0)
        right = batch["place"][similarity.argmax(dim=1)] == batch["place"]
        return {"recall_at_1": float(right.float().mean())}

    def evaluate_graph(self, graph: nn.Module, dataset: Dataset[Batch]) -> dict[str, float]:
        """Recall at 1 within one step of a walk, over pictures and over worlds; their mean decides.

        Args:
            graph: `image` (B, H, W, 3) uint8 -> `descriptor` (B, D).
        """
        walks: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for index in range(len(dataset)):
            sample = dataset[index]
            pair = tuple(_first(graph(sample[side])) for side in ("gallery", "query"))
            walks.setdefault(SOURCES[int(sample["source"])], []).append(pair)
        parts = {f"recall_at_1_{name}": recall(found) for name, found in sorted(walks.items())}
        return {"recall_at_1": float(np.mean(list(parts.values()))), **parts}

    def export_module(self, network: nn.Module) -> nn.Module:
        """`image` -> `descriptor`."""
        return PlaceExport(network)

    def manifest_fields(self) -> dict[str, object]:
        """Further manifest keys."""
        return {"descriptor_dim": PlaceNetwork(self.config.input_wh, imagenet=False).dim}

    def _remember(self, descriptor: torch.Tensor, place: torch.Tensor) -> None:
        """Keep the latest descriptors; a place seen again replaces nothing, it is a positive."""
        size = int(self.options["bank"])
        if not size:
            return
        if self._bank is not None:
            descriptor = torch.cat([descriptor, self._bank[0].to(descriptor.device)])[:size]
            place = torch.cat([place, self._bank[1].to(place.device)])[:size]
        self._bank = (descriptor, place)

    def _pictures(self) -> tuple[list[Path], list[Path]]:
        """Paths for training and for choosing; the list is split at its end."""
        listing = find_data(str(self.options["pictures"]))
        paths = [listing.parent / line.strip() for line in listing.read_text().splitlines() if line.strip()]
        held_out = int(self.options["dev_pictures"])
        if len(paths) <= held_out:
            raise TrainingError(
                f"more than {held_out} pictures", str(len(paths)), "lower options.dev_pictures"
            )
        return paths[:-held_out], paths[-held_out:]

    def _worlds(self) -> Path:
        folder = Path(str(self.options["worlds"]))
        if not folder.is_dir():
            raise TrainingError("rendered visits", f"no folder {folder}", "render them, see place_worlds.py")
        return folder


class EpochConcat(ConcatDataset[Batch]):
    """Sources one after the other; place labels made distinct, the epoch handed on."""

    def set_epoch(self, epoch: int) -> None:
        """New augmentations in every source."""
        for part in self.datasets:
            part.set_epoch(epoch)

    def __getitem__(self, index: int) -> Batch:
        """The sample, its places offset by its source."""
        sample = super().__getitem__(index)
        source = int(np.searchsorted(self.cumulative_sizes, index, side="right"))
        return {**sample, "place": sample["place"] + source * PLACES_PER_SOURCE}


def recall(walks: list[tuple[Tensor, Tensor]], tolerance: int = 1) -> float:
    """Share of queries whose nearest gallery view is of the same walk, at most `tolerance` steps away.

    Args:
        walks: gallery and query descriptors (steps, D) of each walk; step i of both is one place.
    """
    gallery, query = (torch.cat(side) for side in zip(*walks))
    steps = len(walks[0][0])
    nearest = (query @ gallery.T).argmax(dim=1)
    wanted = torch.arange(len(nearest))
    right = (nearest // steps == wanted // steps) & ((nearest - wanted).abs() <= tolerance)
    return float(right.float().mean())


def _first(answer: Tensor | tuple[Tensor, ...]) -> Tensor:
    return answer[0] if isinstance(answer, tuple) else answer
