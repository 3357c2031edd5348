"""The segmentation task: the general classes, distilled from MOSAIC on COCO pictures and rendered worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import ConcatDataset, Dataset

from vision_nodes.errors import TrainingError
from vision_nodes.networks.deploy import SegmentationGraph
from vision_nodes.networks.segmenter import Segmenter
from vision_nodes.networks.weights import find_weights, read_tensors
from vision_nodes.tasks.classes import GENERAL_CLASSES, UNLABELLED, class_id
from vision_nodes.training.coco import CocoBoxes
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.paths import find_data
from vision_nodes.training.planted_poles import plant_poles
from vision_nodes.training.pseudo_labels import (
    WEIGHTS,
    mapping_matrix,
    read_pseudo_labels,
    write_pseudo_labels,
)
from vision_nodes.training.rendered_masks import RenderedMasks, write_rendered_masks
from vision_nodes.training.segmentation_sample import to_sample
from vision_nodes.training.segmentation_teacher import CropTeacher
from vision_nodes.training.task import Batch, Samples


class MaskDataset(Dataset[Batch]):
    """COCO pictures with the teacher's masks."""

    def __init__(self, data: CocoBoxes, folder: Path, config: TrainingConfig, augment: bool) -> None:
        self.folder, self.input_wh, self.seed = folder, config.input_wh, config.seed
        self.augment, self.epoch = augment, 0
        self.poles = config.options.get("poles", 0.0)
        have = [i for i, image in enumerate(data.images) if self._mask_path(image).exists()]
        self.data = data.subset(have)

    def _mask_path(self, image: dict[str, str]) -> Path:
        return self.folder / f"{Path(image['file_name']).stem}.png"

    def set_epoch(self, epoch: int) -> None:
        """Other random numbers from here on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Batch:
        """`image` (H, W, 3) uint8, `labels` (H, W) uint8, `confidence` (H, W) uint8."""
        image = self.data.image(index)
        labels, confidence = read_pseudo_labels(self._mask_path(self.data.images[index]))
        rng = np.random.default_rng((self.seed, self.epoch, index)) if self.augment else None
        if rng is not None and rng.random() < self.poles:
            image, labels, confidence = plant_poles(image, labels, confidence, rng)
        return to_sample(image, labels, confidence, self.input_wh, rng)


class SegmentationTask:
    """See `TrainingTask`.

    Options: `data` (COCO json), `masks` (folder of pseudo labels), `dev_images`, `rendered` (folder of
    rendered frames, optional), `reduction` (input size / mask size), `augment`, `poles` (share of street
    pictures with poles drawn in), `class_weights` (class -> factor in the loss, where it is not 1), `distil`
    (weight of the teacher's opinion of the very crop that is learnt; 0 = the stored masks alone).
    """

    metric_name, higher_is_better = "miou", True
    class_names = GENERAL_CLASSES

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        defaults: dict[str, Any] = {
            "dev_images": 120,
            "rendered": None,
            "rendered_worlds": 10,
            "rendered_frames": 30,
            "reduction": 2,
            "augment": True,
            "class_weights": {},
            "distil": 0.0,
        }
        self.options = {**defaults, **config.options}
        self._teacher: CropTeacher | None = None
        self.weights = torch.ones(len(self.class_names))
        for name, factor in self.options["class_weights"].items():
            self.weights[class_id(name)] = factor

    def network(self) -> nn.Module:
        """The segmenter, beginning as its teacher."""
        network = Segmenter(len(self.class_names), self.config.input_wh)
        network.start_from(read_tensors(find_weights(WEIGHTS)), torch.from_numpy(mapping_matrix()))
        return network

    def prepare(self) -> None:
        """Write the pseudo labels and rendered frames that are not there yet (minutes, resumable)."""
        write_pseudo_labels(find_data(self.options["data"]), Path(self.options["masks"]))
        if self.options["rendered"]:
            worlds, frames = self.options["rendered_worlds"], self.options["rendered_frames"]
            write_rendered_masks(Path(self.options["rendered"]), worlds, frames)

    def _masks(self, development: bool) -> MaskDataset:
        data = CocoBoxes(find_data(self.options["data"]))
        order = np.random.default_rng(self.config.seed).permutation(len(data)).tolist()
        cut = self.options["dev_images"]
        chosen = data.subset(sorted(order[:cut] if development else order[cut:]))
        augment = self.options["augment"] and not development
        masks = MaskDataset(chosen, Path(self.options["masks"]), self.config, augment)
        if len(masks) == 0:
            remedy = "`vision-nodes train segmentation` writes them"
            raise TrainingError(f"pseudo labels in {self.options['masks']}", "none", remedy)
        return masks

    def train_dataset(self) -> Samples:
        """Pictures with masks, and rendered frames when asked for."""
        masks = self._masks(development=False)
        if not self.options["rendered"]:
            return masks
        return MixedMasks(masks, RenderedMasks(Path(self.options["rendered"]), self.config, masks.augment))

    def val_dataset(self) -> Samples:
        """Development pictures, drawn from the training split."""
        return self._masks(development=True)

    def collate(self, samples: list[Batch]) -> Batch:
        """Stack."""
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy at half resolution, weighted by the teacher's confidence."""
        images = batch["image"].permute(0, 3, 1, 2).float()
        coarse = network(images).float()
        logits = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        labels = batch["labels"][:, ::2, ::2].long()
        weight = batch["confidence"][:, ::2, ::2].float() / 255 * (labels != UNLABELLED)
        losses = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none")
        weight = weight * self.weights.to(weight.device)[labels.clamp(max=len(self.weights) - 1)]
        entropy = (losses * weight).sum() / weight.sum().clamp(min=1)
        if not self.options["distil"]:
            return {"total": entropy}
        if self._teacher is None:
            self._teacher = CropTeacher().to(images.device)
        # where something was drawn in, the teacher sees no such class
        drawn = batch["labels"][:, 2::4, 2::4] == class_id("pole_sign")
        distil = self._teacher.divergence(
            coarse, images, drawn | (batch["labels"][:, 2::4, 2::4] == UNLABELLED)
        )
        return {"total": entropy + self.options["distil"] * distil, "entropy": entropy, "distil": distil}

    def evaluate(self, network: nn.Module, dataset: Samples) -> dict[str, float]:
        """Mean IoU with the stored masks, over the classes that occur, and the share of equal pixels."""
        return self.evaluate_graph(self.export_module(network), dataset)

    @torch.no_grad()
    def evaluate_graph(self, graph: nn.Module, dataset: Samples) -> dict[str, float]:
        """The same for a deployed graph."""
        count = len(self.class_names)
        confusion = np.zeros((count, count), np.int64)
        step = self.options["reduction"]
        device = next(graph.parameters()).device
        for index in range(len(dataset)):
            sample = dataset[index]
            labels = graph(sample["image"][None].to(device))[0][0].cpu().numpy()
            truth = sample["labels"].numpy()[::step, ::step]
            known = truth != UNLABELLED
            pairs = truth[known].astype(np.int64) * count + labels[known]
            confusion += np.bincount(pairs, minlength=count * count).reshape(count, count)
        iou = class_iou(confusion)
        metrics = {"miou": float(np.nanmean(iou)), "agreement": float(np.trace(confusion) / confusion.sum())}
        return {**metrics, **{f"iou_{n}": float(v) for n, v in zip(self.class_names, iou) if np.isfinite(v)}}

    def export_module(self, network: nn.Module) -> nn.Module:
        """The contract's graph."""
        return SegmentationGraph(network, self.config.input_wh, self.options["reduction"]).eval()


class MixedMasks(ConcatDataset[Batch]):
    """Photographs and rendered frames; passes the epoch on."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(parts)
        self.parts = parts

    def set_epoch(self, epoch: int) -> None:
        """Other random numbers from here on."""
        for part in self.parts:
            part.set_epoch(epoch)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """(K,) intersection over union from (truth, predicted) counts; NaN for a class without truth."""
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - hits
    occurs = confusion.sum(1) > 0
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=occurs)
