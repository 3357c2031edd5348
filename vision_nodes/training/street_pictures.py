"""Street scenes among the COCO pictures, with the teacher's masks in CamVid's classes and poles drawn in.

CamVid shows three recordings of one town. These pictures show what people, cars, trees and roads look like
elsewhere; what CamVid names more finely than the teacher (fences, riders) stays unlabelled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from vision_nodes.tasks.classes import GENERAL_CLASSES, UNLABELLED, class_id
from vision_nodes.training.augmentation import (
    GeometryRange,
    photometric,
    random_geometry,
    warp_image,
    warp_labels,
)
from vision_nodes.training.camvid import CAMVID_CLASSES
from vision_nodes.training.coco import COCO_CLASSES, CocoBoxes
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.planted_poles import plant_poles
from vision_nodes.training.pseudo_labels import read_pseudo_labels
from vision_nodes.training.task import Batch
from vision_nodes.training.weather import weather

TO_CAMVID = {
    "sky": "sky", "building": "building", "road": "road", "pavement": "pavement", "vegetation": "tree",
    "vehicle": "car", "person": "pedestrian",
}  # fmt: skip
STREET = [class_id(name) for name in ("road", "pavement")]
INDOORS = [class_id(name) for name in ("floor", "ceiling", "furniture", "seat")]
MIN_STREET, MAX_INDOORS = 0.08, 0.1  # shares of the picture
MIN_CONFIDENCE = 115  # of 255
RIDERS = ("bicycle", "motorcycle")
ZOOM = (0.8, 1.8)


class StreetPictures(Dataset[Batch]):
    """Augmented crops of `crop_wh`: `image` (H, W, 3) uint8, `labels` (H, W) uint8 in CamVid's classes."""

    def __init__(self, annotation: Path, masks: Path, config: TrainingConfig) -> None:
        data = CocoBoxes(annotation, COCO_CLASSES)
        self.masks, self.config, self.epoch = masks, config, 0
        chosen = [i for i, image in enumerate(data.images) if self._shows_a_street(image["file_name"])]
        self.data = data.subset(chosen)
        self.lookup = np.full(256, UNLABELLED, np.uint8)
        for theirs, ours in TO_CAMVID.items():
            self.lookup[GENERAL_CLASSES.index(theirs)] = CAMVID_CLASSES.index(ours)

    def _mask_path(self, name: str) -> Path:
        return self.masks / f"{Path(name).stem}.png"

    def _shows_a_street(self, name: str) -> bool:
        if not self._mask_path(name).exists():
            return False
        labels = read_pseudo_labels(self._mask_path(name))[0][::4, ::4]
        share = np.bincount(labels.ravel(), minlength=256) / labels.size
        return bool(share[STREET].sum() >= MIN_STREET and share[INDOORS].sum() <= MAX_INDOORS)

    def set_epoch(self, epoch: int) -> None:
        """Other random numbers from here on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Batch:
        """One augmented sample."""
        rng = np.random.default_rng((self.config.seed, self.epoch, index, 2))
        image = self.data.image(index)
        labels, confidence = read_pseudo_labels(self._mask_path(self.data.images[index]["file_name"]))
        ids = (201, 202)  # apart from the general classes until these are translated
        planted, labels, confidence = plant_poles(image, labels, confidence, rng, ids)
        camvid = self.lookup[labels]
        camvid[confidence < MIN_CONFIDENCE] = UNLABELLED
        self._forget_riders(camvid, index)
        for value, name in zip(ids, ("pole", "sign_symbol")):
            camvid[labels == value] = CAMVID_CLASSES.index(name)
        crop = tuple(self.config.options["crop_wh"])
        matrix = random_geometry(rng, image.shape[1::-1], crop, GeometryRange(zoom=ZOOM))
        image = photometric(warp_image(planted, matrix, crop), rng)
        if rng.random() < self.config.options.get("weather", 0.0):
            image = weather(image, rng)
        arrays = {"image": image, "labels": warp_labels(camvid, matrix, crop)}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _forget_riders(self, labels: np.ndarray, index: int) -> None:
        """No label in and above bicycles: CamVid's riders are a class of their own."""
        boxes, classes, _ = self.data.boxes(index)
        for (x0, y0, x1, y1), category in zip(boxes.tolist(), classes.tolist()):
            if COCO_CLASSES[category] in RIDERS:
                top = max(0, int(y0 - 1.2 * (y1 - y0)))
                labels[top : int(y1) + 1, max(0, int(x0)) : int(x1) + 1] = UNLABELLED
