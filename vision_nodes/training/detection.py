"""The detection task: NanoDet-Plus fine-tuned on COCO-style boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.datatypes import Detections
from vision_nodes.networks.deploy import DetectionGraph
from vision_nodes.networks.nanodet import NanoDetPlus, decode_boxes, locations, slice_classes
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors
from vision_nodes.preprocess.frame import resize
from vision_nodes.tasks.detection import DetectionDecoder
from vision_nodes.training.assignment import assign
from vision_nodes.training.augmentation import (
    GeometryRange,
    photometric,
    random_geometry,
    warp_boxes,
    warp_image,
)
from vision_nodes.training.coco import COCO_CLASSES, ROBOT_CLASSES, CocoBoxes
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.detection_distillation import distillation_loss, larger_nanodet, opinion
from vision_nodes.training.detection_loss import distribution_focal, generalised_iou_loss, quality_focal
from vision_nodes.training.paths import find_data
from vision_nodes.training.task import Batch, Samples

WEIGHTS = "nanodet_plus_coco/nanodet_plus_m_416_fused_f16.npz"
MIN_VISIBLE = 0.35  # share of a box's area that must stay in the picture, else the region is ignored


class BoxDataset(Dataset[Batch]):
    """Augmented pictures with boxes at the network's input size."""

    def __init__(self, data: CocoBoxes, config: TrainingConfig, augment: bool) -> None:
        self.data, self.input_wh, self.seed = data, config.input_wh, config.seed
        self.augment, self.epoch = augment, 0

    def set_epoch(self, epoch: int) -> None:
        """Other random numbers from here on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Batch:
        """`image` (H, W, 3) uint8, `boxes` (M, 4) px (edge at 0), `classes` (M,), `ignored` (M,) bool."""
        image = self.data.image(index)
        boxes, classes, crowd = self.data.boxes(index)
        wh = (image.shape[1], image.shape[0])
        if self.augment:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            matrix = random_geometry(rng, wh, self.input_wh, GeometryRange())
            image = photometric(warp_image(image, matrix, self.input_wh), rng)
        else:
            matrix = ResizeMap(wh, self.input_wh).matrix()
            image = resize(image, ResizeMap(wh, self.input_wh))
        clipped, visible, ignored = visible_boxes(boxes, crowd, matrix, self.input_wh)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image)),
            "boxes": torch.from_numpy(clipped[visible]),
            "classes": torch.from_numpy(classes[visible]),
            "ignored": torch.from_numpy(ignored[visible]),
        }


def visible_boxes(
    boxes: np.ndarray, crowd: np.ndarray, matrix: np.ndarray, input_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes through `matrix`: (M, 4) clipped to the input, (M,) still seen, (M,) to be ignored."""
    warped = warp_boxes(boxes, matrix)
    clipped = np.clip(warped, 0, np.array([*input_wh, *input_wh], np.float32))
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (warped, clipped)]
    return clipped, areas[1] > 1, crowd | (areas[1] < MIN_VISIBLE * areas[0])


class DetectionTask:
    """See `TrainingTask`.

    Options: `data` (train.json), `dev_images`, `candidates`, `augment`, `distil` (weight of the larger
    NanoDet-Plus's opinion beside the boxes; 0 = no teacher).
    """

    metric_name, higher_is_better = "ap", True
    class_names = ROBOT_CLASSES

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        defaults = {"dev_images": 200, "candidates": 200, "augment": True, "distil": 0.0}
        self.options = {**defaults, **config.options}
        self._teacher: NanoDetPlus | None = None
        self.places = locations(config.input_wh[1], config.input_wh[0])

    def network(self) -> nn.Module:
        """NanoDet-Plus-m with the public COCO weights, its head cut to our classes."""
        network = NanoDetPlus(len(self.class_names))
        keep = [COCO_CLASSES.index(name) for name in self.class_names]
        load_tensors(network, slice_classes(read_tensors(find_weights(WEIGHTS)), keep), WEIGHTS)
        return network

    def _split(self) -> tuple[CocoBoxes, CocoBoxes]:
        data = CocoBoxes(find_data(self.options["data"]), self.class_names)
        order = np.random.default_rng(self.config.seed).permutation(len(data)).tolist()
        cut = self.options["dev_images"]
        return data.subset(sorted(order[cut:])), data.subset(sorted(order[:cut]))

    def train_dataset(self) -> BoxDataset:
        """Training pictures without the development ones."""
        return BoxDataset(self._split()[0], self.config, self.options["augment"])

    def val_dataset(self) -> BoxDataset:
        """Development pictures, drawn from the training split."""
        return BoxDataset(self._split()[1], self.config, augment=False)

    def collate(self, samples: list[Batch]) -> Batch:
        """Boxes of all pictures one after another, with `owner` the picture of each."""
        owner = [torch.full((len(s["classes"]),), i) for i, s in enumerate(samples)]
        batch = {name: torch.cat([s[name] for s in samples]) for name in ("boxes", "classes", "ignored")}
        return {"image": torch.stack([s["image"] for s in samples]), "owner": torch.cat(owner), **batch}

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Quality focal + 2 GIoU + 0.25 DFL, normalised by the sum of target qualities."""
        classes = len(self.class_names)
        images = batch["image"].permute(0, 3, 1, 2).float()
        raw = network(images).float()
        places = self.places.to(raw.device)
        boxes = decode_boxes(raw[..., classes:], places)
        focal, giou, dfl, total_quality = (raw.new_zeros(()) for _ in range(4))
        for i in range(len(raw)):
            own = (batch["owner"] == i) & ~batch["ignored"]
            truth, truth_classes = batch["boxes"][own], batch["classes"][own]
            scores = raw[i, :, :classes].detach().sigmoid()
            match = assign(scores, boxes[i].detach(), places, truth, truth_classes)
            hit = (match.truth >= 0).nonzero()[:, 0]
            target = torch.zeros_like(scores)
            target[hit, truth_classes[match.truth[hit]]] = match.quality[hit]
            counted = self._counted(batch, i, places) | (match.truth >= 0)
            focal = focal + (quality_focal(raw[i, :, :classes], target).sum(1) * counted).sum()
            weight, wanted = match.quality[hit], truth[match.truth[hit]]
            giou = giou + (generalised_iou_loss(boxes[i, hit], wanted) * weight).sum()
            dfl = dfl + (distribution_focal(raw[i, hit, classes:], places[hit], wanted) * weight).sum()
            total_quality = total_quality + weight.sum()
        focal, giou, dfl = (value / total_quality.clamp(min=1) for value in (focal, giou, dfl))
        losses = {"total": focal + 2 * giou + 0.25 * dfl, "focal": focal, "giou": giou, "dfl": dfl}
        if self.options["distil"]:
            losses["distil"] = distillation_loss(raw, self._taught(images), classes)
            losses["total"] = losses["total"] + self.options["distil"] * losses["distil"]
        return losses

    def _taught(self, images: Tensor) -> Tensor:
        if self._teacher is None:
            keep = [COCO_CLASSES.index(name) for name in self.class_names]
            self._teacher = larger_nanodet(keep).to(images.device)
        return opinion(self._teacher, images)

    def _counted(self, batch: Batch, image: int, places: Tensor) -> Tensor:
        """(A,) bool: locations outside the picture's ignored regions."""
        regions = batch["boxes"][(batch["owner"] == image) & batch["ignored"]]
        inside = (places[:, None, :2] > regions[:, :2]) & (places[:, None, :2] < regions[:, 2:])
        return ~inside.all(-1).any(1)

    def evaluate(self, network: nn.Module, dataset: Samples) -> dict[str, float]:
        """Average precision on a `BoxDataset`, or on a subset of one."""
        return self.evaluate_graph(self.export_module(network), dataset)

    def evaluate_graph(self, graph: nn.Module, dataset: Samples) -> dict[str, float]:
        """The same for a deployed graph: torch, or a model file."""
        indices = getattr(dataset, "indices", range(len(dataset)))
        boxes: BoxDataset = getattr(dataset, "dataset", dataset)
        data = boxes.data.subset(list(indices))
        results = [detect_image(graph, data.image(i), self.config.input_wh) for i in range(len(data))]
        metrics = data.average_precision(results)
        return {name: metrics[name] for name in ("ap", "ap50")}

    def export_module(self, network: nn.Module) -> nn.Module:
        """The contract's graph."""
        classes = len(self.class_names)
        return DetectionGraph(network, classes, self.config.input_wh, self.options["candidates"]).eval()


@torch.no_grad()
def detect_image(graph: nn.Module, image: np.ndarray, input_wh: tuple[int, int]) -> Detections:
    """Detections in the pixels of `image`, with the low threshold that average precision wants."""
    source_map = ResizeMap((image.shape[1], image.shape[0]), input_wh)
    device = next(graph.parameters()).device
    tensor = torch.from_numpy(np.ascontiguousarray(resize(image, source_map)))[None].to(device)
    outputs = {name: value.cpu().numpy() for name, value in zip(graph.output_names, graph(tensor))}
    found = DetectionDecoder(input_wh, score_threshold=0.02).decode(outputs)
    return replace(found, boxes_xyxy=source_map.boxes_to_source(found.boxes_xyxy))
