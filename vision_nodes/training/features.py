"""The features task: a student of XFeat learns its descriptors on warped pictures."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vision_nodes.errors import ConfigError
from vision_nodes.evaluation.pose_errors import area_under_curve, mutual_nearest
from vision_nodes.networks.feature_graph import (
    HALF,
    FeatureGraph,
    corner_response,
    halved,
    normalised,
    sample,
)
from vision_nodes.networks.features import DESCRIPTOR_DIM, new_student
from vision_nodes.networks.xfeat import XFeat, load_xfeat
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.feature_data import WarpedPictures
from vision_nodes.training.feature_loss import (
    choose_points,
    cosine_loss,
    match_loss,
    relative_loss,
    transfer,
)
from vision_nodes.training.paths import find_data
from vision_nodes.training.task import Batch, Samples

DEFAULTS: dict[str, object] = {
    "pictures": "labelled/coco_val2017_subset/train.txt",
    "dev_pictures": 60,  # the last of the list
    "size_wh": [512, 384],  # that the network sees of `input_wh`
    "crop_wh": [320, 240],  # of a training view; at the network's scale multiples of 32
    "points": 256,  # correspondences per pair
    "random_share": 0.25,  # of them anywhere, not at corners
    "temperature": 0.08,
    "teacher_weight": 3.0,
    "inside_weight": 0.5,  # maps at stride 16 and 32 like the teacher's
    "reliability_weight": 1.0,
    "count": 1000,  # features of the exported graph
    "augment": True,
}


class FeaturesTask:
    """See `TrainingTask`. Options: `DEFAULTS`."""

    metric_name = "corner_auc_5px"
    higher_is_better = True

    def __init__(self, config: TrainingConfig) -> None:
        unknown = sorted(set(config.options) - set(DEFAULTS))
        if unknown:
            raise ConfigError(
                f"features options among {sorted(DEFAULTS)}", str(unknown), "correct the config"
            )
        self.config = config
        self.options = {**DEFAULTS, **config.options}
        self._teacher: XFeat | None = None

    def network(self) -> nn.Module:
        """XFeat's coarse layers, all else fresh."""
        torch.manual_seed(self.config.seed)
        return new_student(self._size("size_wh"))

    def train_dataset(self) -> WarpedPictures:
        """Pictures of the training list."""
        crop = self._size("crop_wh")
        return WarpedPictures(self._paths()[0], crop, self.config.seed, bool(self.options["augment"]))

    def val_dataset(self) -> WarpedPictures:
        """Pictures that training never shows, at the network's size."""
        return WarpedPictures(self._paths()[1], self.config.input_wh, self.config.seed, augmented=False)

    def collate(self, samples: list[Batch]) -> Batch:
        """`tensor` (2 B, H, W, 3) uint8: the views, then the warped ones; `homography` (B, 3, 3)."""
        views = [sample[key] for key in ("image", "warped") for sample in samples]
        homographies = torch.stack([sample["homography"] for sample in samples])
        return {"tensor": torch.stack(views), "homography": homographies}

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Like the teacher in the first view, and so in the second; told apart within the pair."""
        pairs, homography = len(batch["homography"]), batch["homography"]
        half = normalised(halved(batch["tensor"]))
        gray = functional.interpolate(half, scale_factor=self._scale(), mode="bilinear", align_corners=False)
        size = torch.tensor([half.shape[3], half.shape[2]], device=half.device) * HALF
        with torch.no_grad():
            inner = self._teacher_on(gray).pyramid(gray[:pairs])
            features, sure = self._teacher_on(gray).fuse(*inner)
            points = choose_points(
                corner_response(half[:pairs]), int(self._number("points")), self._number("random_share")
            )
            xy_a = HALF * points + (HALF - 1) / 2
            xy_b = transfer(homography, xy_a)
            valid = ((xy_b > 3) & (xy_b < size - 4)).all(-1)
            at_a, at_b = (xy_a + 0.5) / size, (xy_b + 0.5) / size
            wanted, wanted_sure = sample(features, at_a), sample(sure, at_a)[..., 0]
        ours, our_sure, middle, coarse = network(gray)
        a = functional.normalize(sample(ours[:pairs], at_a), dim=-1)
        b = functional.normalize(sample(ours[pairs:], at_b), dim=-1)
        dense = cosine_loss(ours[:pairs].flatten(2).transpose(1, 2), features.flatten(2).transpose(1, 2))
        seen_b = sample(our_sure[pairs:], at_b)[..., 0].clamp(1e-4, 1 - 1e-4)
        there = functional.binary_cross_entropy(seen_b, wanted_sure, valid.float())
        weighted = {
            "teacher": dense + cosine_loss(b, wanted, valid.float()),
            "inside": relative_loss(middle[:pairs], inner[1]) + relative_loss(coarse[:pairs], inner[2]),
            "reliability": functional.binary_cross_entropy(our_sure[:pairs], sure) + there,
        }
        match = match_loss(a, b, xy_b, valid, self._number("temperature"))
        total = match + sum(self._number(f"{name}_weight") * value for name, value in weighted.items())
        return {"total": total, "match": match, **weighted}

    def evaluate(self, network: nn.Module, dataset: Samples) -> dict[str, float]:
        """See `evaluate_graph`."""
        return self.evaluate_graph(self.export_module(network), dataset)

    def evaluate_graph(self, graph: nn.Module, dataset: Samples) -> dict[str, float]:
        """Means over pairs: share and number of matches within 3 px; AUC of the homography's corner error."""
        shares, counts, errors = [], [], []
        for index in range(len(dataset)):
            pair = dataset[index]
            with torch.no_grad():
                views = [[part[0].numpy() for part in graph(pair[key][None])] for key in ("image", "warped")]
            found = [view[1] > 0 for view in views]
            xy = [view[0][keep] for view, keep in zip(views, found)]
            vectors = [view[2][keep] for view, keep in zip(views, found)]
            pairs = mutual_nearest(vectors[0], vectors[1])
            matched = xy[0][pairs[:, 0]], xy[1][pairs[:, 1]]
            homography = pair["homography"].numpy().astype(np.float64)
            right = match_errors(*matched, homography) < 3.0
            shares.append(float(right.mean()) if len(right) else 0.0)
            counts.append(float(right.sum()))
            size = (pair["image"].shape[1], pair["image"].shape[0])
            errors.append(corner_error(*matched, homography, size))
        return {
            "corner_auc_5px": area_under_curve(np.array(errors), [5.0])[0],
            "matching_accuracy_3px": float(np.mean(shares)),
            "right_matches": float(np.mean(counts)),
        }

    def export_module(self, network: nn.Module) -> nn.Module:
        """`image` -> `keypoints`, `scores`, `descriptors`."""
        return FeatureGraph(network, self.config.input_wh, int(self._number("count"))).eval()

    def manifest_fields(self) -> dict[str, object]:
        """Further manifest keys."""
        return {"descriptor_dim": DESCRIPTOR_DIM}

    def _size(self, name: str) -> tuple[int, int]:
        width, height = self.options[name]
        return int(width), int(height)

    def _scale(self) -> float:
        """Of the halved picture to the one that the network sees."""
        return HALF * self._size("size_wh")[0] / self.config.input_wh[0]

    def _number(self, name: str) -> float:
        return float(str(self.options[name]))

    def _teacher_on(self, tensor: Tensor) -> XFeat:
        if self._teacher is None:
            self._teacher = load_xfeat().requires_grad_(False)
        return self._teacher.to(tensor.device)

    def _paths(self) -> tuple[list, list]:
        """Pictures for training and for choosing."""
        listing = find_data(str(self.options["pictures"]))
        paths = [listing.parent / line for line in listing.read_text().split()]
        held_out = int(self._number("dev_pictures"))
        return paths[: len(paths) - held_out], paths[len(paths) - held_out :]


def match_errors(xy_a: np.ndarray, xy_b: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """(P,) px between (P, 2) matched points and where they should be."""
    if len(xy_a) == 0:
        return np.zeros(0)
    expected = cv2.perspectiveTransform(xy_a[None].astype(np.float64), homography)[0]
    return np.asarray(np.linalg.norm(expected - xy_b, axis=1))


def corner_error(
    xy_a: np.ndarray, xy_b: np.ndarray, homography: np.ndarray, size_wh: tuple[int, int]
) -> float:
    """Mean distance in px of the picture's corners under the estimated and the true homography; inf = none."""
    if len(xy_a) < 4:
        return float("inf")
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(xy_a, xy_b, cv2.USAC_MAGSAC, 1.0, confidence=0.9999)
    if found is None:
        return float("inf")
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (np.array(size_wh) - 1.0)
    a, b = (cv2.perspectiveTransform(corners[None], H)[0] for H in (found, homography))
    return float(np.linalg.norm(a - b, axis=1).mean())
