"""Last stage of the place model: ``python -m vision_nodes.training.place_centre runs/place/best.pt runs/place_centred``.

Pooled activations of all pictures share a large common part, which makes every pair look alike. Some of it is
taken away: the mean over training pictures times a factor. The factor, and the weight of the pooled against
the layout part, are those that score best on the development set of the config; nothing is back-propagated.
"""

from __future__ import annotations

import argparse
import logging
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from vision_nodes.networks.place import PlaceNetwork
from vision_nodes.training.checkpoint import read_checkpoint, write_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.place import PlaceTask

logger = logging.getLogger(__name__)
FACTORS = (0.0, 0.5, 0.7, 0.85)
SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)
PICTURES = 150  # training samples whose views give the mean


class _Cached(torch.nn.Module):
    """`describe` of a network on parts computed before: layout (B, L) and pooled (B, P) side by side."""

    def __init__(self, network: PlaceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, parts: Tensor) -> Tensor:
        """(B, L + P) -> (B, D)."""
        network = self.network
        layout, pooled = parts[:, : network.layout_dim], parts[:, network.layout_dim :] - network.centre
        shares = torch.sqrt(1 - network.pooled_share), torch.sqrt(network.pooled_share)
        normalise = torch.nn.functional.normalize
        return torch.cat([shares[0] * normalise(layout, dim=1), shares[1] * normalise(pooled, dim=1)], dim=1)


@torch.no_grad()
def parts_of_views(network: PlaceNetwork, views: Tensor, batch: int = 32) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, L + P): layout, pooled before centring."""
    found = []
    for chunk in views.split(batch):
        maps = network.trunk(chunk.float().permute(0, 3, 1, 2) / 127.5 - 1.0)
        found.append(torch.cat([network.layout(maps), network.pool(maps)], dim=1))
    return torch.cat(found)


def fit_centre(network: PlaceNetwork, task: PlaceTask) -> dict[str, float]:
    """Set `centre` and `pooled_share`; returns the development figures of the choice."""
    training, development = task.train_dataset(), task.val_dataset()
    step = max(1, len(training) // PICTURES)
    views = [training[i]["views"].permute(0, 2, 3, 1) for i in range(0, len(training), step)]
    mean = parts_of_views(network, torch.cat(views))[:, network.layout_dim :].mean(dim=0)
    cached = []
    for index in range(len(development)):
        sample = development[index]
        for side in {"gallery", "query"} & set(sample):
            sample[side] = parts_of_views(network, sample[side])
        cached.append(sample)
    results = {}
    for factor, share in product(FACTORS, SHARES):
        network.centre.copy_(factor * mean)
        network.pooled_share.fill_(share)
        results[factor, share] = task.evaluate_graph(_Cached(network), cached)
        logger.info("centre %.2f, pooled share %.2f: %s", factor, share, results[factor, share])
    factor, share = max(results, key=lambda key: results[key]["score"])
    network.centre.copy_(factor * mean)
    network.pooled_share.fill_(share)
    return results[factor, share]


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("run", type=Path, help="folder for the new best.pt")
    options = parser.parse_args(arguments)
    state = read_checkpoint(options.checkpoint, "place")
    config = TrainingConfig(**{**state["config"], "input_wh": tuple(state["config"]["input_wh"])})
    network = PlaceNetwork(config.input_wh, imagenet=False).eval()
    own = network.state_dict()
    network.load_state_dict({**own, **{k: v for k, v in state["network"].items() if k in own}})
    metrics = fit_centre(network, PlaceTask(config))
    logger.info("chosen: %s", metrics)
    write_checkpoint(options.run / "best.pt", {**state, "network": network.state_dict(), "metrics": metrics})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
