"""The street task: CamVid's 11 classes at 480x360, begun from MOSAIC's public weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vision_nodes.networks.deploy import SegmentationGraph
from vision_nodes.networks.mosaic import ADE_CLASSES
from vision_nodes.networks.street import StreetSegmenter
from vision_nodes.networks.weights import find_weights, read_tensors
from vision_nodes.training.camvid import CAMVID_CLASSES, UNLABELLED, CamVid, read_pairs, split_by_time
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.images import read_rgb
from vision_nodes.training.paths import find_data
from vision_nodes.training.pseudo_labels import WEIGHTS
from vision_nodes.training.segmentation import MixedMasks, class_iou
from vision_nodes.training.segmentation_loss import lovasz_softmax
from vision_nodes.training.street_pictures import StreetPictures
from vision_nodes.training.task import Batch, Samples

# ADE20K class -> ours, for the first output rows; the others begin without a member
MEMBERS = {
    "sky": "sky", "building": "building", "house": "building", "wall": "building", "road": "road",
    "sidewalk": "pavement", "tree": "tree", "plant": "tree", "grass": "tree", "car": "car",
    "person": "pedestrian",
}  # fmt: skip
# median-frequency weights, their square root taken, of the training pictures' pixel shares (sky first)
CLASS_WEIGHTS = (0.3, 0.25, 1.2, 0.22, 0.6, 0.4, 1.1, 1.1, 0.5, 1.5, 2.0)


class StreetTask:
    """See `TrainingTask`.

    Options: `data` (CamVid folder), `crop_wh`, `zoom`, `weather`, `rare_crops` (see `CamVid`), `lovasz`
    (its weight beside cross entropy), `reduction` (input size / mask size), `augment`, `pictures` (COCO json,
    optional) with `masks` (folder of pseudo labels) and `repeat` (how often CamVid is seen per epoch beside
    them).
    """

    manifest_task = "segmentation"
    metric_name, higher_is_better = "miou", True
    class_names = CAMVID_CLASSES

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        defaults: dict[str, Any] = {"lovasz": 0.5, "reduction": 2, "augment": True, "repeat": 3}
        self.options = {**defaults, "crop_wh": list(config.input_wh), **config.options}
        self.weights = torch.tensor(CLASS_WEIGHTS)

    def network(self) -> nn.Module:
        """The street segmenter with the public weights."""
        network = StreetSegmenter(len(self.class_names))
        mapping = torch.zeros(len(self.class_names), len(ADE_CLASSES))
        for theirs, ours in MEMBERS.items():
            mapping[self.class_names.index(ours), ADE_CLASSES.index(theirs)] = 1
        network.start_from(read_tensors(find_weights(WEIGHTS)), mapping, self._some_pictures())
        return network

    def _some_pictures(self) -> Tensor:
        """(16, 3, 352, 480): training pictures, spread over the recordings."""
        pairs = split_by_time(read_pairs(find_data(self.options["data"]), "train"), development=False)
        chosen = [pairs[i][0] for i in np.linspace(0, len(pairs) - 1, 16).astype(int)]
        stack = np.stack([read_rgb(path)[:352, :480] for path in chosen])
        return torch.from_numpy(stack).permute(0, 3, 1, 2).float()

    def train_dataset(self) -> Samples:
        """CamVid outside the development blocks, and street scenes of other places when asked for."""
        pairs = split_by_time(read_pairs(find_data(self.options["data"]), "train"), development=False)
        if not (self.options["augment"] and self.options.get("pictures")):
            return CamVid(pairs, self.config, self.options["augment"])
        camvid = CamVid(pairs * self.options["repeat"], self.config, augment=True)
        elsewhere = StreetPictures(
            find_data(self.options["pictures"]), Path(self.options["masks"]), self.config
        )
        return MixedMasks(camvid, elsewhere)

    def val_dataset(self) -> Samples:
        """A block of time out of every training recording."""
        pairs = read_pairs(find_data(self.options["data"]), "train")
        return CamVid(split_by_time(pairs, development=True), self.config, augment=False)

    def collate(self, samples: list[Batch]) -> Batch:
        """Stack."""
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Class-weighted cross entropy at half resolution, the Lovasz surrogate of mean IoU at a quarter."""
        coarse = network(batch["image"].permute(0, 3, 1, 2).float()).float()
        lovasz = lovasz_softmax(coarse.softmax(1), batch["labels"][:, 2::4, 2::4].long(), UNLABELLED)
        logits = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        labels = batch["labels"][:, ::2, ::2].long()
        weights = self.weights.to(logits.device)
        entropy = functional.cross_entropy(logits, labels, weights, ignore_index=UNLABELLED, reduction="sum")
        known = labels != UNLABELLED
        entropy = entropy / weights[labels[known]].sum().clamp(min=1)
        total = entropy + self.options["lovasz"] * lovasz
        return {"total": total, "entropy": entropy, "lovasz": lovasz}

    def evaluate(self, network: nn.Module, dataset: Samples) -> dict[str, float]:
        """Mean IoU of the masks the graph gives, enlarged to the labels' size as the robot's are."""
        return self.evaluate_graph(self.export_module(network), dataset)

    @torch.no_grad()
    def evaluate_graph(self, graph: nn.Module, dataset: Samples) -> dict[str, float]:
        """The same for a deployed graph."""
        count = len(self.class_names)
        confusion = np.zeros((count, count), np.int64)
        device = next(graph.parameters()).device
        for index in range(len(dataset)):
            sample = dataset[index]
            masks = graph(sample["image"][None].to(device))[0].cpu()
            truth = sample["labels"].numpy()
            found = functional.interpolate(masks[None].float(), truth.shape)[0, 0].numpy()
            known = truth != UNLABELLED
            pairs = truth[known].astype(np.int64) * count + found[known].astype(np.int64)
            confusion += np.bincount(pairs, minlength=count * count).reshape(count, count)
        iou = class_iou(confusion)
        metrics = {"miou": float(np.nanmean(iou)), "pixels": float(np.trace(confusion) / confusion.sum())}
        return {**metrics, **{f"iou_{n}": float(v) for n, v in zip(self.class_names, iou) if np.isfinite(v)}}

    def export_module(self, network: nn.Module) -> nn.Module:
        """The contract's graph."""
        return SegmentationGraph(network, self.config.input_wh, self.options["reduction"]).eval()
