"""Last stage of the place model: ``python -m vision_nodes.training.place_head runs/place/best.pt runs/place_head``.

The trunk is frozen and its features are computed once (`place_features`). The projection of the pooled part becomes a
whitening of training views in closed form. With ``--steps`` layout and projection then learn which views overlap,
while a regulariser keeps the similarities of the pooled part near those of the whitened features, which already order
revisits well. At last the weight between both parts is chosen on the development sets (`place_dev`).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vision_nodes.networks.mobilenet_v2 import load_imagenet
from vision_nodes.networks.place import PlaceNetwork
from vision_nodes.training.checkpoint import read_checkpoint, write_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.place import PlaceTask
from vision_nodes.training.place_bench import LOOPS, TRAVERSES, bench_found, read_set
from vision_nodes.training.place_features import (
    Features,
    loop_scenes,
    picture_scenes,
    read_features,
    trunk_features,
    walk_scenes,
)
from vision_nodes.training.place_loss import overlap_loss

logger = logging.getLogger(__name__)
EVERY_PICTURE = 4  # every fourth training picture
SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)


@dataclass(frozen=True)
class HeadSettings:
    """How the head is trained."""

    steps: int = 0  # closed form only, as shipped
    scenes: int = 40  # of a batch
    views: int = 4  # of a scene
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    anchor: float = 1.0  # weight of staying near the whitened features
    whitening: float = 0.5  # 0 rotates only, 1 gives every direction equal variance
    ema: float = 0.998
    seed: int = 20240603
    dropout: float = 0.1  # of tokens' channels


def start_network(path: Path) -> tuple[PlaceNetwork, TrainingConfig]:
    """The trunk and layout of an earlier stage; the last block has its ImageNet weights."""
    state = read_checkpoint(path, "place")
    config = TrainingConfig(**{**state["config"], "input_wh": tuple(state["config"]["input_wh"])})
    network = PlaceNetwork(config.input_wh, imagenet=False)
    load_imagenet(network.trunk)
    own = network.state_dict()
    kept = {k: v for k, v in state["network"].items() if k in own and v.shape == own[k].shape}
    network.load_state_dict({**own, **kept})
    return network.requires_grad_(False), config


def whiten(network: PlaceNetwork, pooled: Tensor, strength: float) -> None:
    """Set `to_pooled` to the principal directions of `pooled` (N, C), each divided by its deviation ** strength."""
    mean = pooled.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov((pooled - mean).T.double()))
    keep = values.argsort(descending=True)[: network.to_pooled.out_features]
    directions = (vectors[:, keep] / values[keep].clamp(min=1e-9) ** (strength / 2)).float()
    network.to_pooled.weight.copy_(directions.T)
    network.to_pooled.bias.copy_(-directions.T @ mean)


def batches(features: Features, settings: HeadSettings) -> Iterator[Tensor]:
    """Yields chosen views (B,): of every scene an anchor, some that share with it, some that do not."""
    generator = np.random.default_rng(settings.seed)
    members = [torch.nonzero(features.scene == n)[:, 0].numpy() for n in range(len(features.overlap))]
    sizes = np.array([len(m) for m in members], float)
    for _ in range(settings.steps):
        chosen = []
        for number in generator.choice(len(members), settings.scenes, replace=True, p=sizes / sizes.sum()):
            own, table = members[number], features.overlap[number].numpy()
            anchor = generator.integers(len(own))
            weight = 0.05 + table[anchor]
            weight[anchor] = 0
            others = generator.choice(
                len(own), min(settings.views, len(own)) - 1, False, weight / weight.sum()
            )
            chosen += [own[anchor], *own[others]]
        yield torch.from_numpy(np.unique(chosen))


def train_head(network: PlaceNetwork, features: Features, settings: HeadSettings) -> None:
    """Train mixer, rows, channels and projection in place; the averaged weights stay."""
    torch.manual_seed(settings.seed)
    parts = (network.mixer, network.to_rows, network.to_channels, network.to_pooled)
    parameters = [p.requires_grad_() for part in parts for p in part.parameters()]
    average = [p.detach().clone() for p in parameters]
    anchor = functional.normalize(network.to_pooled(features.pooled).detach(), dim=1)
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, settings.steps, pct_start=0.05
    )
    running = 0.0
    for step, chosen in enumerate(batches(features, settings), 1):
        loss = head_loss(network, features, chosen, anchor[chosen], settings)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        schedule.step()
        decay = min(settings.ema, step / (step + 10))
        for mean, parameter in zip(average, parameters):
            mean.lerp_(parameter.detach(), 1 - decay)
        running += 0.01 * (float(loss.detach()) - running)
        if step % 250 == 0:
            logger.info("step %d of %d, loss %.4f", step, settings.steps, running)
    for mean, parameter in zip(average, parameters):
        parameter.requires_grad_(False).copy_(mean)


def head_loss(
    network: PlaceNetwork, features: Features, chosen: Tensor, anchor: Tensor, settings: HeadSettings
) -> Tensor:
    """Overlap loss of the whole, the layout and the pooled part; distance of pooled similarities to the anchor's."""
    tokens = functional.dropout1d(features.tokens[chosen].float(), settings.dropout)
    with torch.autocast("cpu", torch.bfloat16):
        layout = network.layout(tokens)
    layout = functional.normalize(layout.float(), dim=1)
    pooled = functional.normalize(network.to_pooled(features.pooled[chosen]), dim=1)
    shared = features.shared(chosen)
    loss = sum(overlap_loss(part, shared) for part in (network.join(layout, pooled), layout, pooled))
    kept = functional.mse_loss(pooled @ pooled.T, anchor @ anchor.T)
    return loss + settings.anchor * kept * 100


@torch.no_grad()
def choose_share(network: PlaceNetwork, folder: Path) -> dict[str, float]:
    """Set `pooled_share` to the best of SHARES on the development sets; returns their figures."""
    sets = {name: read_set(folder, name) for name in LOOPS + TRAVERSES}
    stored = {
        (name, side): [trunk_features(network, part) for part in torch.from_numpy(arrays[side]).split(32)]
        for name, arrays in sets.items()
        for side in ("images", "queries")
        if side in arrays
    }
    results = {}
    for share in SHARES:
        network.pooled_share.fill_(share)
        found = {
            key: torch.cat([network.join(network.layout(t), network.to_pooled(p)) for t, p in parts]).numpy()
            for key, parts in stored.items()
        }
        results[share] = bench_found(sets, found)
        logger.info("pooled share %.2f: %s", share, {k: round(v, 4) for k, v in results[share].items()})
    best = max(results, key=lambda share: results[share]["score"])
    network.pooled_share.fill_(best)
    return results[best]


def scene_features(network: PlaceNetwork, task: PlaceTask, loops: Path) -> Features:
    """Features of everything the head learns from: some of the training pictures, all renderings."""
    size, seed = task.config.input_wh, task.config.seed
    pictures = task.picture_split()[0][::EVERY_PICTURE]
    walks, held_out = Path(str(task.options["worlds"])), int(task.options["dev_worlds"])
    scenes = chain(
        picture_scenes(pictures, size, seed, 2 * len(pictures) // 3),
        loop_scenes(loops, size, seed),
        walk_scenes(walks, size, seed, held_out),
    )
    return read_features(network, scenes)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="of `vision-nodes train place`")
    parser.add_argument("run", type=Path, help="folder for best.pt and the stored features")
    parser.add_argument("--loops", type=Path, default=Path("runs/place_loops"))
    parser.add_argument("--sets", type=Path, default=Path("runs/place_dev"))
    defaults = HeadSettings()
    for name, value in vars(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args(arguments)
    settings = HeadSettings(**{name: getattr(options, name) for name in vars(defaults)})
    cv2.setNumThreads(1)
    network, config = start_network(options.checkpoint)
    stored = options.run / "features.pt"
    if not stored.exists():
        scene_features(network, PlaceTask(config), options.loops).save(stored)
    features = Features.load(stored)
    with torch.no_grad():
        whiten(network, features.pooled, settings.whitening)
    if settings.steps:
        train_head(network, features, settings)
    metrics = choose_share(network, options.sets)
    logger.info("pooled share %.2f: %s", float(network.pooled_share), metrics)
    config = config.overriding(options={**config.options, "start": ""}, seed=settings.seed)
    state = {"network": network.state_dict(), "metrics": metrics, "config": asdict(config)}
    write_checkpoint(options.run / "best.pt", state)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
