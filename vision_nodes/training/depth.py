"""The depth task: rendered rooms and worlds with exact depth, real pictures with things of known size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from vision_nodes.engine.manifest import DepthSpec
from vision_nodes.errors import ConfigError
from vision_nodes.networks.depth import DepthExport, DepthNetwork
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.depth_data import FX_CANONICAL, MAX_M, RenderedViews, SizedThings
from vision_nodes.training.depth_loss import gradient_loss, laplace_loss, sized_things_loss
from vision_nodes.training.paths import find_data
from vision_nodes.training.task import Batch

DEFAULTS: dict[str, object] = {
    "rooms": "runs/rooms",  # a folder or a list of folders
    "worlds": "runs/worlds/views",
    "dev_rooms": 20,  # files; the last by name of each folder are held out
    "dev_worlds": 10,
    "dev_stride": 1,  # every how many held-out views are scored after an epoch
    "pictures": "labelled/coco_val2017_subset/train.json",  # "" = none
    "things_weight": 0.3,
    "gradient_weight": 0.5,
    "start": "",  # checkpoint of an earlier stage to start from, "" = ImageNet trunk
    "augment": True,
}


class DepthTask:
    """See `TrainingTask`. Options: `DEFAULTS`."""

    metric_name = "abs_rel"
    higher_is_better = False

    def __init__(self, config: TrainingConfig) -> None:
        unknown = sorted(set(config.options) - set(DEFAULTS))
        if unknown:
            raise ConfigError(f"depth options among {sorted(DEFAULTS)}", str(unknown), "correct the config")
        self.config = config
        self.options = {**DEFAULTS, **config.options}

    def network(self) -> nn.Module:
        """ImageNet trunk and a fresh decoder, or the network of an earlier stage."""
        start = str(self.options["start"])
        network = DepthNetwork(imagenet=not start)
        if start:
            state = read_checkpoint(Path(start), self.config.task)
            load_weights(network, state["network"], start)
        return network

    def train_dataset(self) -> Dataset[Batch]:
        """Renderings, then real pictures."""
        seed, augmented = self.config.seed, bool(self.options["augment"])
        files = [path for kind in ("rooms", "worlds") for path in self.view_files(kind)[0]]
        sources: list[Dataset[Batch]] = [RenderedViews(files, seed, augmented)]
        if self.options["pictures"] and augmented:
            annotation = find_data(str(self.options["pictures"]))
            sources.append(SizedThings(annotation, self.config.input_wh, seed, augmented))
        return EpochConcat(sources)

    def val_dataset(self) -> Dataset[Batch]:
        """Rooms and worlds that training never shows."""
        files = [path for kind in ("rooms", "worlds") for path in self.view_files(kind)[1]]
        views = RenderedViews(files, self.config.seed, augmented=False)
        return Subset(views, range(0, len(views), int(str(self.options["dev_stride"]))))

    def collate(self, samples: list[Batch]) -> Batch:
        """Stack; `tensor` (B, 3, H, W) float32 0..255."""
        batch = {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
        batch["tensor"] = batch.pop("image").permute(0, 3, 1, 2).float()
        return batch

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Laplace likelihood and gradients where depth is known; sizes where things are."""
        log_depth, log_scale = network(batch["tensor"].contiguous(memory_format=torch.channels_last))
        log_depth, log_scale = log_depth.float(), log_scale.float()
        known = batch["depth"] > 0
        target = torch.log(batch["depth"].clamp(min=1e-3))
        likelihood = laplace_loss(log_depth, log_scale, target, known)
        # a jump to the sky is no slope to learn
        gradient = gradient_loss(log_depth, target, known & (batch["depth"] < 0.9 * MAX_M))
        things = sized_things_loss(log_depth, batch["boxes"])
        total = likelihood + float(self.options["gradient_weight"]) * gradient
        total = total + float(self.options["things_weight"]) * things
        return {"total": total, "likelihood": likelihood, "gradient": gradient, "things": things}

    def evaluate(self, network: nn.Module, dataset: Dataset[Batch]) -> dict[str, float]:
        """See `evaluate_graph`."""
        return self.evaluate_graph(self.export_module(network), dataset)

    def evaluate_graph(self, graph: nn.Module, dataset: Dataset[Batch]) -> dict[str, float]:
        """Mean over pictures of AbsRel, raw and after median scaling, and the share within 25 %."""
        rows = []
        for index in range(len(dataset)):
            sample = dataset[index]
            depth, confidence = graph(sample["image"][None])
            truth = sample["depth"].numpy()
            known = (truth > 0) & (truth < 0.9 * MAX_M)
            if known.any():
                rows.append(depth_errors(depth[0].numpy()[known], truth[known]))
                rows[-1]["confidence"] = float(confidence[0].numpy()[known].mean())
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def export_module(self, network: nn.Module) -> nn.Module:
        """`image` -> `depth`, `confidence`."""
        return DepthExport(network)

    def manifest_fields(self) -> dict[str, object]:
        """Further manifest keys."""
        fx = FX_CANONICAL * self.config.input_wh[0] / 256
        return {"depth": DepthSpec(fx_canonical=fx, max_m=MAX_M)}

    def view_files(self, kind: str) -> tuple[list[Path], list[Path]]:
        """Files for training and for choosing, of `rooms` or `worlds`."""
        folders = self.options[kind] or []
        held_out = int(str(self.options[f"dev_{kind}"]))
        training: list[Path] = []
        development: list[Path] = []
        for folder in [folders] if isinstance(folders, str) else list(folders):
            files = sorted(Path(folder).glob("*.npz"))
            training += files[: len(files) - held_out]
            development += files[len(files) - held_out :]
        return training, development


class EpochConcat(ConcatDataset[Batch]):
    """Sources one after the other; the epoch is handed on."""

    def set_epoch(self, epoch: int) -> None:
        """New augmentations in every source."""
        for part in self.datasets:
            part.set_epoch(epoch)


def depth_errors(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Errors of (N,) predicted depths against (N,) true ones, both positive (Eigen et al. 2014).

    `abs_rel` as predicted, `abs_rel_median` after matching the medians, `delta_1` share within 25 %.
    """
    scaled = predicted * np.median(truth) / np.median(predicted)
    ratio = np.maximum(predicted / truth, truth / predicted)
    return {
        "abs_rel": float(np.mean(np.abs(predicted - truth) / truth)),
        "abs_rel_median": float(np.mean(np.abs(scaled - truth) / truth)),
        "delta_1": float(np.mean(ratio < 1.25)),
    }
