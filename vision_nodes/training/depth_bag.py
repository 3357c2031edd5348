"""Depth fine-tuned on a user's own bag, without any labels: photometric error, and the odometry's landmarks.

Poses are our odometry's. What the pictures cannot say (still frames, blank walls) stays as the pre-trained network
has it. The tail of the bag is held out: two parts, one that chooses the checkpoint and a last one that is only
reported, before and after.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from vision_nodes.engine.manifest import DepthSpec
from vision_nodes.errors import ConfigError, TrainingError
from vision_nodes.networks.depth import DepthExport, DepthNetwork
from vision_nodes.training import place_augment
from vision_nodes.training.bag_clip import Clip
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.depth import depth_errors
from vision_nodes.training.depth_data import FX_CANONICAL, MAX_M
from vision_nodes.training.photometric import reprojection, sample_at, smoothness
from vision_nodes.training.task import Batch

logger = logging.getLogger(__name__)
PARTS = {"train": (0.0, 0.70), "choose": (0.72, 0.84), "report": (0.86, 1.0)}  # of the frames, in time
PARALLAX = (0.01, 0.15)  # baseline / median depth of a useful neighbour; wanted is their geometric mean
REACH = 12  # frames to either side in which neighbours are looked for
MIN_PAIRS = 20  # training frames with neighbours below which there is nothing to learn
LANDMARKS = 100  # per sample
DEFAULTS: dict[str, Any] = {
    "landmarks_weight": 0.5,
    "smooth_weight": 1e-3,
    "anchor_weight": 0.05,
    "photometric_weight": 1.0,
    "augment": True,
}


class BagDepthTask:
    """See `TrainingTask`. `weights` are those of the section `self_supervised` (see `DEFAULTS`)."""

    metric_name, higher_is_better = "error", False

    def __init__(self, config: TrainingConfig, clip: Clip, start: Path, **weights: Any) -> None:
        unknown = sorted(set(weights) - set(DEFAULTS))
        if unknown:
            raise ConfigError(
                f"self_supervised settings among {sorted(DEFAULTS)}", str(unknown), "correct them"
            )
        self.config, self.clip, self.start = config, clip, start
        self.weights = {**DEFAULTS, **weights}
        self.metres_per_canonical = float(clip.K[0, 0]) / (FX_CANONICAL * config.input_wh[0] / 256)
        self._teacher: nn.Module | None = None

    def network(self) -> nn.Module:
        """The pre-trained network."""
        return pretrained(self.start)

    def train_dataset(self) -> Neighbours:
        """The first part of the bag."""
        data = Neighbours(self.clip, "train", self.config.seed, bool(self.weights["augment"]))
        if len(data) < MIN_PAIRS:
            tracked = int(np.isfinite(self.clip.poses[:, 0, 0]).sum())
            received = f"{len(data)} usable frames ({tracked} of {len(self.clip.poses)} have a pose)"
            remedy = "record a bag in which the camera moves sideways or forwards past things, in good light"
            raise TrainingError(f"{MIN_PAIRS} frames with motion between them", received, remedy)
        return data

    def val_dataset(self) -> Neighbours:
        """The part that chooses."""
        return self._held_out("choose")

    def report_dataset(self) -> Neighbours:
        """The last part; it chooses nothing."""
        return self._held_out("report")

    def _held_out(self, part: str) -> Neighbours:
        data = Neighbours(self.clip, part, self.config.seed, augmented=False)
        if len(data) == 0:
            remedy = "record a longer bag: its last third is held out"
            raise TrainingError("moving frames in the held-out end of the bag", "none", remedy)
        return data

    def collate(self, samples: list[Batch]) -> Batch:
        """Stack."""
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Photometric error where motion explains the picture, landmarks, smoothness, and the anchor."""
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # a few hundred pictures of one place are no statistics
        log_depth, _ = network(batch["input"])
        log_depth = log_depth.float()
        picture = batch["picture"]
        error, seen, still = self._reprojection(log_depth, batch)
        explained = seen & (error < still)
        with torch.no_grad():
            before = self._before(batch["clean"])
        weight = explained.float()
        photometric = (error * weight).sum() / weight.sum().clamp(min=1)
        half = functional.avg_pool2d(picture, 2)
        parts = {
            "photometric": photometric,
            "landmarks": self._landmark_error(log_depth, batch),
            "smooth": smoothness(log_depth, half),
            "anchor": (log_depth - before).abs().mean(),
        }
        total = sum(float(self.weights[f"{name}_weight"]) * value for name, value in parts.items())
        return {"total": total, **parts}

    def evaluate(self, network: nn.Module, dataset: Any) -> dict[str, float]:
        """See `evaluate_graph`."""
        return self.evaluate_graph(self.export_module(network), dataset)

    @torch.no_grad()
    def evaluate_graph(self, graph: nn.Module, dataset: Any) -> dict[str, float]:
        """Means over frames: `photometric` and `landmarks`, their weighted sum `error`, which chooses, and where
        the bag holds true depth `abs_rel`, `abs_rel_median`, `delta_1`, which choose nothing."""
        rows = []
        for index in range(len(dataset)):
            sample = dataset[index]
            batch = self.collate([sample])
            log_depth = torch.log(graph(sample["image"][None])[0])
            error, seen, _ = self._reprojection(log_depth, batch)
            row = {
                "photometric": float((error * seen).sum() / seen.sum().clamp(min=1)),
                "landmarks": float(self._landmark_error(log_depth, batch)),
            }
            row["error"] = sum(float(self.weights[f"{name}_weight"]) * value for name, value in row.items())
            known = torch.isfinite(sample["truth"]) & (sample["truth"] > 0) & (sample["truth"] < 0.9 * MAX_M)
            if known.any():
                metres = (log_depth[0].exp() * self.metres_per_canonical)[known].numpy()
                row |= depth_errors(metres, sample["truth"][known].numpy())
            rows.append(row)
        names = [name for name in rows[0] if all(name in row for row in rows)]
        return {name: float(np.mean([row[name] for row in rows])) for name in names}

    def export_module(self, network: nn.Module) -> nn.Module:
        """`image` -> `depth`, `confidence`."""
        assert isinstance(network, DepthNetwork)
        return DepthExport(network)

    def manifest_fields(self) -> dict[str, object]:
        """Further manifest keys."""
        return {"depth": DepthSpec(fx_canonical=FX_CANONICAL * self.config.input_wh[0] / 256, max_m=MAX_M)}

    def _reprojection(self, log_depth: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        metres = torch.exp(log_depth) * self.metres_per_canonical
        metres = functional.interpolate(
            metres[:, None], scale_factor=2.0, mode="bilinear", align_corners=False
        )
        return reprojection(batch["picture"], batch["sources"], metres[:, 0], batch["K"], batch["motions"])

    def _landmark_error(self, log_depth: Tensor, batch: Batch) -> Tensor:
        """Mean absolute difference of log metres at the odometry's landmarks, outliers capped."""
        uvz = batch["landmarks"]
        known = uvz[..., 2] > 0
        said = sample_at(log_depth, uvz[..., :2], self.config.input_wh) + np.log(self.metres_per_canonical)
        difference = (said - torch.log(uvz[..., 2].clamp(min=1e-3))).abs().clamp(max=1.0)
        return (difference * known).sum() / known.sum().clamp(min=1)

    def _before(self, tensor: Tensor) -> Tensor:
        if self._teacher is None:
            self._teacher = pretrained(self.start).eval().requires_grad_(False).to(tensor.device)
        return self._teacher(tensor)[0]


class Neighbours(Dataset[Batch]):
    """Frames of one part of a clip that have a neighbour on one or both sides at a useful distance."""

    def __init__(self, clip: Clip, part: str, seed: int, augmented: bool) -> None:
        self.clip, self.seed, self.augmented, self.epoch = clip, seed, augmented, 0
        low, high = (round(share * len(clip.images)) for share in PARTS[part])
        starts = np.searchsorted(clip.landmarks[:, 0], np.arange(len(clip.images) + 1))
        self.points = [clip.landmarks[a:b, 1:] for a, b in pairwise(starts.tolist())]
        found = {i: neighbours(clip, self.points, i, (low, high)) for i in range(low, high)}
        self.pairs = [(i, sides) for i, sides in found.items() if sides]

    def set_epoch(self, epoch: int) -> None:
        """Other colours from here on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Batch:
        """`image` (H, W, 3) uint8; `clean` and `input` (3, H, W) 0..255, `input` in other light; `picture` and
        `sources` (2, 3, H, W) in 0..1; `motions` (2, 4, 4); `K`; `landmarks` (100, 3) u, v, m; `truth`."""
        number, sides = self.pairs[index]
        image, rng = self.clip.images[number], np.random.default_rng((self.seed, self.epoch, index))
        shown = place_augment.change_light(image, rng, 0.3) if self.augmented else image
        both = [sides[0], sides[-1]]  # the only neighbour twice where there is one
        motions = [np.linalg.inv(self.clip.poses[j]) @ self.clip.poses[number] for j in both]
        points = self.points[number]
        chosen = rng.permutation(len(points))[:LANDMARKS]
        landmarks = np.zeros((LANDMARKS, 3), np.float32)
        landmarks[: len(chosen)] = points[chosen]
        unknown = np.full((image.shape[0] // 2, image.shape[1] // 2), np.nan, np.float32)
        return {
            "image": torch.from_numpy(image),
            "clean": _chw(image),
            "input": _chw(shown),
            "picture": _chw(image) / 255,
            "sources": torch.stack([_chw(self.clip.images[j]) / 255 for j in both]),
            "motions": torch.from_numpy(np.stack(motions).astype(np.float32)),
            "K": torch.from_numpy(self.clip.K.astype(np.float32)),
            "landmarks": torch.from_numpy(landmarks),
            "truth": torch.from_numpy(self.clip.truth[number] if len(self.clip.truth) else unknown),
        }


def neighbours(clip: Clip, points: list[np.ndarray], number: int, bounds: tuple[int, int]) -> list[int]:
    """The frame before and the frame after with the most useful parallax, of those within `bounds`."""
    if clip.runs[number] == 0 or len(points[number]) == 0:
        return []
    typical = float(np.median(points[number][:, 2]))
    wanted = np.sqrt(PARALLAX[0] * PARALLAX[1])
    sides = []
    for step in (-1, 1):
        best: tuple[float, int] | None = None
        for other in range(number + step, number + step * (REACH + 1), step):
            if not bounds[0] <= other < bounds[1] or clip.runs[other] != clip.runs[number]:
                break
            baseline = float(np.linalg.norm(clip.poses[other][:3, 3] - clip.poses[number][:3, 3])) / typical
            if PARALLAX[0] <= baseline <= PARALLAX[1]:
                distance = abs(float(np.log(baseline / wanted)))
                best = min(best or (distance, other), (distance, other))
        if best is not None:
            sides.append(best[1])
    return sides


def pretrained(start: Path) -> DepthNetwork:
    """The depth network of a checkpoint. Raises TrainingError when it is not there or of another network."""
    if not start.is_file():
        raise TrainingError(
            "a trained depth network", f"nothing at {start}", "train depth first, or give --start"
        )
    network = DepthNetwork(imagenet=False)
    load_weights(network, read_checkpoint(start, "depth")["network"], str(start))
    return network


def _chw(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float()
