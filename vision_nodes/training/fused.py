"""The fused task: one encoder, four heads, trained together.

Every picture carries every label: COCO's boxes, the mask teacher's classes, and what the separate depth and place
models say of the very view the network sees. Renderings add exact depth. Data and metrics are those of the
four tasks, so the figures compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from vision_nodes.engine.manifest import DepthSpec, Head
from vision_nodes.errors import ConfigError
from vision_nodes.networks.fused import HEADS, OUTPUTS, FusedGraph, FusedNetwork
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.depth import DepthTask, EpochConcat
from vision_nodes.training.depth_data import FX_CANONICAL, MAX_M, RenderedViews
from vision_nodes.training.detection import DetectionTask
from vision_nodes.training.fused_data import LabelledPictures, RenderedPictures, SampleShape, Teachers
from vision_nodes.training.place import PlaceTask
from vision_nodes.training.segmentation import SegmentationTask
from vision_nodes.training.task import Batch, Samples, TrainingTask

METRICS = {"detection": "ap", "segmentation": "miou", "depth": "abs_rel", "place": "score"}
DEFAULTS: dict[str, object] = {
    "detection": {"data": "labelled/coco_val2017_subset/train.json", "dev_images": 200},
    "segmentation": {"masks": "runs/pseudo/train", "dev_images": 120},
    "depth": {"rooms": "runs/rooms", "worlds": "runs/worlds/views", "dev_rooms": 20, "dev_worlds": 10},
    "place": {"worlds": "runs/worlds/visits", "dev_pictures": 200, "loops": "runs/worlds/loops"},
    "teachers": {"depth": "depth", "place": "place"},  # models that label pictures while training
    "rendered_views": 600,  # per epoch
    "weights": {"detection": 1.0, "segmentation": 1.0, "depth": 1.0, "place": 4.0},  # of the losses
    "balance": {},  # head -> weight of its gradient in the encoder, 1 each
    "references": {},  # head -> the separate model's dev figure; `score` is the mean ratio to them
    "dev_share": 1.0,  # of each head's dev samples, for quick validations
    "augment": True,
}


class FusedTask:
    """See `TrainingTask`. Options: `DEFAULTS`; those of a head are its own task's."""

    metric_name, higher_is_better = "score", True

    def __init__(self, config: TrainingConfig) -> None:
        unknown = sorted(set(config.options) - set(DEFAULTS))
        if unknown:
            raise ConfigError(f"fused options among {sorted(DEFAULTS)}", str(unknown), "correct the config")
        self.config = config
        self.options: dict[str, object] = {**DEFAULTS, **config.options}
        self.detection = DetectionTask(self._head_config("detection"))
        self.segmentation = SegmentationTask(self._head_config("segmentation", "detection", "data"))
        self.depth = DepthTask(self._head_config("depth"))
        self.place = PlaceTask(self._head_config("place"))
        self.fx_canonical = FX_CANONICAL * config.input_wh[0] / 256
        self._teachers: Teachers | None = None

    def _head_config(self, head: str, other: str = "", shared: str = "") -> TrainingConfig:
        options = dict(self._mapping(head))
        if other:  # an option that two heads share is written once
            options.setdefault(shared, self._mapping(other)[shared])
        return replace(self.config, task=head, options=options)

    def _mapping(self, option: str) -> dict[str, object]:
        value, default = self.options[option], DEFAULTS[option]
        if not isinstance(value, dict) or not isinstance(default, dict):
            raise ConfigError(f"options.{option}: a mapping", str(value), "see configs/fused.yaml")
        return {**default, **value}

    def network(self) -> nn.Module:
        """NanoDet-Plus-m with its public weights under fresh heads."""
        boxes, labels = len(self.detection.class_names), len(self.segmentation.class_names)
        balance = {head: float(str(weight)) for head, weight in self._mapping("balance").items()}
        network = FusedNetwork(boxes, labels, self.config.input_wh, balance)
        network.detector.load_state_dict(self.detection.network().state_dict())
        return network

    def prepare(self) -> None:
        """Mask labels that are not there yet (see `SegmentationTask`)."""
        self.segmentation.prepare()

    def train_dataset(self) -> Dataset[Batch]:
        """Pictures that no head's development set shows, then renderings."""
        shape = SampleShape(self.config.input_wh, self.fx_canonical, self.config.seed)
        teachers = self._teachers or Teachers(**{k: str(v) for k, v in self._mapping("teachers").items()})
        self._teachers = teachers
        pictures = self.detection.train_dataset().data
        held_out = {path.name for path in self.place.picture_split()[1]}
        keep = [i for i, image in enumerate(pictures.images) if image["file_name"] not in held_out]
        masks, augment = Path(str(self._mapping("segmentation")["masks"])), bool(self.options["augment"])
        labelled = LabelledPictures(pictures.subset(keep), masks, teachers, shape, augment)
        count = int(str(self.options["rendered_views"]))
        files = [path for kind in ("rooms", "worlds") for path in self.depth.view_files(kind)[0]]
        if not count or not augment or not files:
            return EpochConcat([labelled])
        views = RenderedViews(files, self.config.seed, augmented=True)
        return EpochConcat([labelled, RenderedPictures(views, teachers, shape, count)])

    def val_dataset(self) -> Samples:
        """The four tasks' development sets, one after the other."""
        return DevelopmentSets({head: self._dev(self.head_task(head)) for head in HEADS})

    def _dev(self, task: TrainingTask) -> Samples:
        data = task.val_dataset()
        share = float(str(self.options["dev_share"]))
        count = max(1, round(len(data) * share))
        chosen = np.unique(np.linspace(0, len(data) - 1, count).astype(int)).tolist()
        return data if len(chosen) == len(data) else Subset(data, chosen)

    def head_task(self, head: str) -> TrainingTask:
        """The task of one head, with this run's settings."""
        task: TrainingTask = getattr(self, head)
        return task

    def collate(self, samples: list[Batch]) -> Batch:
        """Stack; boxes one after another with `owner`, as detection has them."""
        dense = ("labels", "confidence", "depth", "descriptor")
        batch = {name: torch.stack([sample[name] for sample in samples]) for name in dense}
        return {**self.detection.collate(samples), **batch}

    def loss(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Weighted sum of the four tasks' own losses; place copies its teacher's descriptor."""
        tensor = batch["image"].permute(0, 3, 1, 2).float()
        # a frozen detector learns nothing from its loss: neither its head nor the loss is computed
        learns = any(parameter.requires_grad for parameter in network.detector.parameters())
        heads = HEADS if learns else tuple(head for head in HEADS if head != "detection")
        said = network(tensor.contiguous(memory_format=torch.channels_last), heads)
        losses = {"segmentation": self.segmentation.loss(_saying(said["segmentation"]), batch)["total"]}
        if learns:
            losses["detection"] = self.detection.loss(_saying(said["detection"]), batch)["total"]
        views = {"tensor": tensor, "depth": batch["depth"], "boxes": tensor.new_zeros(len(tensor), 1, 5)}
        losses["depth"] = self.depth.loss(_saying((said["depth"], said["log_scale"])), views)["total"]
        losses["place"] = (1 - (said["place"].float() * batch["descriptor"]).sum(dim=1)).mean()
        weights = self._mapping("weights")
        total = sum(float(str(weights[head])) * loss for head, loss in losses.items())
        return {"total": total, **losses}  # type: ignore[dict-item]

    def evaluate(self, network: nn.Module, dataset: Samples) -> dict[str, float]:
        """Every head's figures on its own development set, or on training samples with `--overfit`."""
        if not isinstance(dataset, DevelopmentSets):
            return self._evaluate_samples(network, dataset)
        return self._figures(dataset, lambda head: self.export_module(network, (head,)))

    def evaluate_graph(self, graph: nn.Module, dataset: Samples) -> dict[str, float]:
        """The same for a deployed graph with all heads."""
        assert isinstance(dataset, DevelopmentSets)
        return self._figures(dataset, lambda head: graph)

    def _figures(self, dataset: DevelopmentSets, graph_for: Callable[[str], nn.Module]) -> dict[str, float]:
        figures: dict[str, float] = {}
        ratios = []
        references = self._mapping("references")
        for head, data in dataset.sets.items():
            view = HeadView(graph_for(head), head, self.config.input_wh)
            measured = self.head_task(head).evaluate_graph(view, data)
            value = measured[METRICS[head]]
            figures[f"{head}_{METRICS[head]}"] = value
            if head == "detection":
                figures["detection_ap50"] = measured["ap50"]
            reference = float(str(references.get(head, value)))
            ratios.append(reference / max(value, 1e-6) if head == "depth" else value / max(reference, 1e-6))
        return {"score": float(np.mean(ratios)), **figures}

    def _evaluate_samples(self, network: nn.Module, dataset: Samples) -> dict[str, float]:
        rows = []
        for start in range(0, len(dataset), 16):
            batch = self.collate([dataset[i] for i in range(start, min(start + 16, len(dataset)))])
            rows.append({name: float(value.detach()) for name, value in self.loss(network, batch).items()})
        losses = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return {"score": -losses["total"], **losses}

    def export_module(self, network: nn.Module, heads: tuple[str, ...] = HEADS) -> FusedGraph:
        """The contract's graph."""
        assert isinstance(network, FusedNetwork)
        return FusedGraph(network, self.config.input_wh, self.detection.options["candidates"], heads).eval()

    def manifest_fields(self) -> dict[str, object]:
        """Further manifest keys."""
        names = {"detection": self.detection.class_names, "segmentation": self.segmentation.class_names}
        heads = {head: Head(dict(OUTPUTS[head]), tuple(names.get(head, ()))) for head in HEADS}
        dim = FusedNetwork(1, 1, self.config.input_wh).place.dim
        depth = DepthSpec(fx_canonical=self.fx_canonical, max_m=MAX_M)
        return {"heads": heads, "depth": depth, "descriptor_dim": dim}


class DevelopmentSets(ConcatDataset[Batch]):
    """One development set per head. Samples: those of each head; `image` has the head's own size."""

    def __init__(self, sets: dict[str, Samples]) -> None:
        super().__init__(list(sets.values()))
        self.sets = sets


class HeadView(nn.Module):
    """A graph with several heads seen as the graph of one: its outputs only, pictures of any size."""

    def __init__(self, graph: nn.Module, head: str, input_wh: tuple[int, int]) -> None:
        super().__init__()
        self.graph, self.head, self.input_wh = graph, head, input_wh
        names = OUTPUTS[head]
        self.output_names = tuple(names)
        order: Any = graph.output_names
        self._places = [order.index(ours) for ours in names.values()]

    @torch.no_grad()
    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, h, w, 3) uint8 -> the head's outputs; dense ones at half of h and w where it was scaled."""
        height, width = image.shape[1:3]
        scaled = (width, height) != self.input_wh
        if scaled:
            views = [cv2.resize(one, self.input_wh, interpolation=cv2.INTER_LINEAR) for one in image.numpy()]
            image = torch.from_numpy(np.stack(views))
        everything = self.graph(image)
        outputs = tuple(everything[place] for place in self._places)
        if scaled and self.head == "depth":
            # canonical metres belong to a focal length in px of the network's width, the picture's angle stays
            size = (height // 2, width // 2)
            outputs = tuple(nn.functional.interpolate(x[:, None], size)[:, 0] for x in outputs)
        return outputs


def _saying(answer: object) -> nn.Module:
    """A network that has already said its answer: lets a task's loss serve one head."""
    said: Callable[[Tensor], object] = lambda _: answer
    return said  # type: ignore[return-value]
