"""Training samples that carry every label: boxes and masks of the data set, the rest from the teachers."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.engine.base import Engine
from vision_nodes.engine.loader import open_cpu
from vision_nodes.engine.models import find_model
from vision_nodes.preprocess.frame import resize
from vision_nodes.tasks.classes import UNLABELLED
from vision_nodes.training.augmentation import (
    GeometryRange,
    photometric,
    random_geometry,
    warp_image,
    warp_labels,
)
from vision_nodes.training.coco import CocoBoxes
from vision_nodes.training.depth_data import RenderedViews
from vision_nodes.training.detection import visible_boxes
from vision_nodes.training.pseudo_labels import read_pseudo_labels
from vision_nodes.training.task import Batch

GEOMETRY = GeometryRange(zoom=(0.8, 1.6))
SURE = 0.3  # the depth teacher's least confidence that counts as a label


class Teachers:
    """The separate models that label depth and place on any picture, while training."""

    def __init__(self, depth: str, place: str) -> None:
        self._models = {"depth": depth, "place": place}
        self._engines: dict[tuple[int, str], Engine] = {}
        self._engine("depth"), self._engine("place")  # a missing model is said before any training

    def _engine(self, task: str) -> Engine:
        key = (os.getpid(), task)  # a session does not survive the fork into a loader's worker
        if key not in self._engines:
            manifest, _ = find_model(self._models[task])
            self._engines[key] = open_cpu(manifest.head(task), "fp32")
        return self._engines[key]

    def depth(self, image: np.ndarray, size_wh: tuple[int, int], fx_canonical: float) -> np.ndarray:
        """(h, w) float32 metres for a lens of `fx_canonical` px at the width of `image`; 0 where unsure."""
        engine = self._engine("depth")
        outputs = engine.infer(_fitted(image, engine))
        depth = outputs["depth"][0].copy()
        if "confidence" in outputs:
            depth[outputs["confidence"][0] < SURE] = 0
        spec = engine.manifest.depth
        assert spec is not None  # a depth manifest always has it
        own = spec.fx_canonical * image.shape[1] / engine.input_hw[1]
        return cv2.resize(depth * np.float32(fx_canonical / own), size_wh, interpolation=cv2.INTER_NEAREST)

    def descriptor(self, image: np.ndarray) -> np.ndarray:
        """(D,) float32, unit norm."""
        engine = self._engine("place")
        return engine.infer(_fitted(image, engine))["descriptor"][0].copy()


def _fitted(image: np.ndarray, engine: Engine) -> np.ndarray:
    height, width = engine.input_hw
    return resize(image, ResizeMap((image.shape[1], image.shape[0]), (width, height)))


class LabelledPictures(Dataset[Batch]):
    """COCO pictures with their boxes and the masks in `masks`; teachers add depth and place."""

    def __init__(
        self, data: CocoBoxes, masks: Path, teachers: Teachers, shape: SampleShape, augment: bool
    ) -> None:
        self.data, self.masks, self.teachers, self.shape = data, masks, teachers, shape
        self.augment, self.epoch = augment, 0

    def set_epoch(self, epoch: int) -> None:
        """Other random numbers from here on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Batch:
        """See `SampleShape.sample`."""
        picture, size = self.data.image(index), self.shape.input_wh
        boxes, classes, crowd = self.data.boxes(index)
        labels, confidence = self._mask(index, picture.shape[:2])
        source_wh = (picture.shape[1], picture.shape[0])
        rng = np.random.default_rng((self.shape.seed, self.epoch, index))
        matrix = ResizeMap(source_wh, size).matrix()
        if self.augment:
            matrix = random_geometry(rng, source_wh, size, GEOMETRY)
        clean = warp_image(picture, matrix, size)
        boxes, visible, ignored = visible_boxes(boxes, crowd, matrix, size)
        return self.shape.sample(
            image=photometric(clean, rng) if self.augment else clean,
            boxes=boxes[visible],
            classes=classes[visible],
            ignored=ignored[visible],
            labels=warp_labels(labels, matrix, size),
            confidence=warp_labels(confidence, matrix, size),
            depth=self.teachers.depth(clean, self.shape.dense_wh, self.shape.fx_canonical),
            descriptor=self.teachers.descriptor(clean),
        )

    def _mask(self, index: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        path = self.masks / f"{Path(self.data.images[index]['file_name']).stem}.png"
        if path.exists():
            return read_pseudo_labels(path)
        return np.full(size_hw, UNLABELLED, np.uint8), np.zeros(size_hw, np.uint8)


class RenderedPictures(Dataset[Batch]):
    """Views with exact depth, `count` of them per epoch, others in the next; teachers add place only."""

    def __init__(self, views: RenderedViews, teachers: Teachers, shape: SampleShape, count: int) -> None:
        self.views, self.teachers, self.shape = views, teachers, shape
        self.count = min(count, len(views))
        self.order = np.random.default_rng(shape.seed).permutation(len(views))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next views, other augmentation."""
        self.epoch = epoch
        self.views.set_epoch(epoch)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        """See `SampleShape.sample`; the whole picture is ignored by detection and unlabelled."""
        number = int(self.order[(self.epoch * self.count + index) % len(self.order)])
        view, (width, height) = self.views[number], self.shape.input_wh
        image = cv2.resize(view["image"].numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
        depth = cv2.resize(view["depth"].numpy(), self.shape.dense_wh, interpolation=cv2.INTER_NEAREST)
        return self.shape.sample(
            image=image,
            boxes=np.array([[0, 0, width, height]], np.float32),
            classes=np.zeros(1, np.int64),
            ignored=np.ones(1, bool),
            labels=np.full((height, width), UNLABELLED, np.uint8),
            confidence=np.zeros((height, width), np.uint8),
            depth=depth,
            descriptor=self.teachers.descriptor(image),
        )


class SampleShape:
    """What every fused sample looks like, whatever its source."""

    def __init__(self, input_wh: tuple[int, int], fx_canonical: float, seed: int) -> None:
        self.input_wh, self.fx_canonical, self.seed = input_wh, fx_canonical, seed
        self.dense_wh = (input_wh[0] // 2, input_wh[1] // 2)

    def sample(self, **arrays: np.ndarray) -> Batch:
        """`image` (H, W, 3) uint8; `boxes` (M, 4), `classes`, `ignored`; `labels`, `confidence` (H, W) uint8;
        `depth` (H / 2, W / 2) canonical metres, 0 = unknown; `descriptor` (D,)."""
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
