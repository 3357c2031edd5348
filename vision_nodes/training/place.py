"""The place task: data, multi-similarity loss with a memory of past batches, recall as the metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import ConcatDataset, Dataset

from vision_nodes.errors import ConfigError, TrainingError
from vision_nodes.evaluation.places import IGNORED, POSITIVE
from vision_nodes.evaluation.retrieval import pair_scores
from vision_nodes.networks.place import PlaceExport, PlaceNetwork
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.paths import find_data
from vision_nodes.training.place_data import PictureRevisits, PictureVisits
from vision_nodes.training.place_loss import masked_log_depth_loss, multi_similarity_loss
from vision_nodes.training.place_worlds import WorldClusters, WorldLoops, WorldRevisits, WorldVisits

Batch = dict[str, Tensor]
LAYOUT_DIM = 256  # of PlaceNetwork's defaults
DEFAULTS: dict[str, object] = {
    "pictures": "labelled/coco_val2017_subset/train.txt",
    "worlds": "",  # folder of rendered visits, written by `vision_nodes.training.place_worlds`
    "clusters": "",  # folders written by `vision_nodes.training.world_clusters`
    "loops": "",
    "start": "",  # checkpoint of an earlier stage to start from, "" = ImageNet trunk
    "max_pictures": 0,  # use only so many training pictures; 0 = all
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

    metric_name = "score"
    higher_is_better = True
    development = (
        "score is the mean of the three development sets: parts of photographs held out of training seen again, "
        "held-out rendered worlds walked again, loops in rendered worlds"
    )

    def __init__(self, config: TrainingConfig) -> None:
        unknown = sorted(set(config.options) - set(DEFAULTS))
        if unknown:
            raise ConfigError(f"place options among {sorted(DEFAULTS)}", str(unknown), "correct the config")
        self.config = config
        self.options = {**DEFAULTS, **config.options}
        self._bank: tuple[torch.Tensor, torch.Tensor] | None = None

    def network(self) -> nn.Module:
        """ImageNet trunk and a fresh head, or the network of an earlier stage."""
        start = str(self.options["start"])
        network = PlaceNetwork(self.config.input_wh, imagenet=not start)
        if start:
            load_weights(network, read_checkpoint(Path(start), self.config.task)["network"], start)
        return network

    def train_dataset(self) -> Dataset[Batch]:
        """Pictures, and rendered visits where the config names a folder of them."""
        size, views, seed = self.config.input_wh, int(self.options["views"]), self.config.seed
        severity = 1.0 if self.options["augment"] else 0.0
        pictures = self.picture_split()[0][: int(self.options["max_pictures"]) or None]
        sources: list[Dataset[Batch]] = [PictureVisits(pictures, size, views, seed, severity)]
        if self.options["worlds"]:
            held_out = int(self.options["dev_worlds"])
            sources.append(WorldVisits(self._folder("worlds"), size, views, seed, held_out))
        if self.options["clusters"]:
            sources.append(WorldClusters(self._folder("clusters"), size, views, seed))
        return EpochConcat(sources)

    def val_dataset(self) -> Dataset[Batch]:
        """Pictures and worlds that training never shows."""
        size, seed = self.config.input_wh, self.config.seed
        sources: list[Dataset[Batch]] = [PictureRevisits(self.picture_split()[1], size, seed)]
        if self.options["worlds"]:
            worlds = self._folder("worlds")
            sources.append(WorldRevisits(worlds, size, seed, int(self.options["dev_worlds"])))
        if self.options["loops"]:
            sources.append(WorldLoops(self._folder("loops"), size))
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
        metric = torch.stack(
            [
                multi_similarity_loss(part, batch["place"], bank)
                for part, bank in zip(parts_of(descriptor), self._bank_parts())
            ]
        ).sum()
        depth = masked_log_depth_loss(log_depth, batch["depth"])
        self._remember(descriptor.detach(), batch["place"])
        total = metric + float(self.options["depth_weight"]) * depth
        return {"total": total, "metric": metric, "depth": depth}

    def evaluate(self, network: nn.Module, dataset: Dataset[Batch]) -> dict[str, float]:
        """See `evaluate_graph`; for `--overfit`, whose samples are training samples, recall among views."""
        if "gallery" in dataset[0]:
            return self.evaluate_graph(self.export_module(network), dataset)
        batch = self.collate([dataset[i] for i in range(len(dataset))])
        descriptor = network(batch["tensor"])
        similarity = (descriptor @ descriptor.T).fill_diagonal_(-1.0)
        right = batch["place"][similarity.argmax(dim=1)] == batch["place"]
        return {"score": float(right.float().mean())}

    def evaluate_graph(self, graph: nn.Module, dataset: Dataset[Batch]) -> dict[str, float]:
        """Recall at 1 on walks over pictures and worlds, average precision of loops; `score` is their mean.

        Args:
            graph: `image` (B, H, W, 3) uint8 -> `descriptor` (B, D).
        """
        walks: dict[str, list[tuple[Tensor, Tensor]]] = {}
        loops: list[tuple[Tensor, Tensor]] = []
        for index in range(len(dataset)):
            sample = dataset[index]
            gallery = _first(graph(sample["gallery"]))
            if "overlap" in sample:
                loops.append((gallery, sample["overlap"]))
            else:
                walks.setdefault(SOURCES[int(sample["source"])], []).append(
                    (gallery, _first(graph(sample["query"])))
                )
        figures = {f"recall_at_1_{name}": recall(found) for name, found in sorted(walks.items())}
        if loops:
            figures["loops_average_precision"] = loop_precision(loops)
        return {"score": float(np.mean(list(figures.values()))), **figures}

    def export_module(self, network: nn.Module) -> nn.Module:
        """`image` -> `descriptor`."""
        return PlaceExport(network)

    def manifest_fields(self) -> dict[str, object]:
        """Further manifest keys."""
        return {"descriptor_dim": PlaceNetwork(self.config.input_wh, imagenet=False).dim}

    def _bank_parts(self) -> list[tuple[Tensor, Tensor] | None]:
        """The memory for the whole descriptor and for each part."""
        if self._bank is None:
            return [None, None, None]
        return [(part, self._bank[1]) for part in parts_of(self._bank[0])]

    def _remember(self, descriptor: torch.Tensor, place: torch.Tensor) -> None:
        """Keep the latest descriptors; a place seen again replaces nothing, it is a positive."""
        size = int(self.options["bank"])
        if not size:
            return
        if self._bank is not None:
            descriptor = torch.cat([descriptor, self._bank[0].to(descriptor.device)])[:size]
            place = torch.cat([place, self._bank[1].to(place.device)])[:size]
        self._bank = (descriptor, place)

    def picture_split(self) -> tuple[list[Path], list[Path]]:
        """Paths for training and for choosing; the list is split at its end."""
        listing = find_data(str(self.options["pictures"]))
        paths = [listing.parent / line.strip() for line in listing.read_text().splitlines() if line.strip()]
        held_out = int(self.options["dev_pictures"])
        if len(paths) <= held_out:
            raise TrainingError(
                f"more than {held_out} pictures", str(len(paths)), "lower options.dev_pictures"
            )
        return paths[:-held_out], paths[-held_out:]

    def _folder(self, option: str) -> Path:
        folder = Path(str(self.options[option]))
        if not folder.is_dir():
            raise TrainingError("rendered views", f"no folder {folder}", "render them, see the config")
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


def loop_precision(worlds: list[tuple[Tensor, Tensor]]) -> float:
    """Average precision over all pairs of views, of all worlds together; views of two worlds share nothing.

    Args:
        worlds: descriptors (N, D) and overlap (N, N) of each world; pairs that share 0.1 to 0.5 are left out.
    """
    everything = torch.cat([descriptor for descriptor, _ in worlds]).numpy()
    truth = torch.block_diag(*[overlap for _, overlap in worlds]).numpy()
    first, second = np.triu_indices(len(everything), 1)
    similarity, shared = (everything @ everything.T)[first, second], truth[first, second]
    decided = (shared < IGNORED) | (shared >= POSITIVE)
    return pair_scores(similarity[decided], shared[decided] >= POSITIVE)["average_precision"]


def parts_of(descriptor: Tensor, layout_dim: int = LAYOUT_DIM) -> tuple[Tensor, Tensor, Tensor]:
    """The whole (B, D), its layout and its pooled part, each of unit norm."""
    layout, pooled = descriptor[:, :layout_dim], descriptor[:, layout_dim:]
    return descriptor, functional.normalize(layout, dim=1), functional.normalize(pooled, dim=1)


def _first(answer: Tensor | tuple[Tensor, ...]) -> Tensor:
    return answer[0] if isinstance(answer, tuple) else answer
