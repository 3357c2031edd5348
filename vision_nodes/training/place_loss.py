"""Metric-learning losses for place descriptors."""

from __future__ import annotations

import torch

from vision_nodes.evaluation.places import IGNORED, POSITIVE


def multi_similarity_loss(
    descriptors: torch.Tensor,
    places: torch.Tensor,
    bank: tuple[torch.Tensor, torch.Tensor] | None = None,
    alpha: float = 2.0,
    beta: float = 40.0,
    base: float = 0.5,
    margin: float = 0.1,
) -> torch.Tensor:
    """Multi-similarity loss with its pair mining (Wang et al., CVPR 2019).

    Args:
        descriptors: (B, D) unit norm.
        places: (B,) int64, equal = the same place.
        bank: descriptors (M, D) and places (M,) of earlier batches as further pairs
            (cross-batch memory, Wang et al., CVPR 2020).
        alpha, beta: sharpness for positives and negatives.
        base: similarity that separates both.
        margin: a pair counts only when it is this close to being wrong.

    Returns:
        Scalar; 0 when no pair is worth learning from.
    """
    others, other_places = (descriptors, places) if bank is None else (
        torch.cat([descriptors, bank[0]]), torch.cat([places, bank[1]])
    )  # fmt: skip
    similarity = descriptors @ others.T
    same = places[:, None] == other_places[None, :]
    own = torch.zeros_like(same)
    own.fill_diagonal_(True)
    return _pull_and_push(similarity, same & ~own, ~same, (alpha, beta, base, margin))


def overlap_loss(
    descriptors: torch.Tensor,
    shared: torch.Tensor,
    alpha: float = 2.0,
    beta: float = 40.0,
    base: float = 0.5,
    margin: float = 0.1,
) -> torch.Tensor:
    """`multi_similarity_loss` when sameness is a matter of degree.

    Args:
        descriptors: (B, D) unit norm.
        shared: (B, B) overlap of the views; one place from `POSITIVE` on, two below `IGNORED`, else not used.

    Returns:
        Scalar; 0 when no pair is worth learning from.
    """
    own = torch.eye(len(shared), dtype=torch.bool, device=shared.device)
    similarity = descriptors @ descriptors.T
    return _pull_and_push(
        similarity, (shared >= POSITIVE) & ~own, (shared < IGNORED) & ~own, (alpha, beta, base, margin)
    )


def _pull_and_push(
    similarity: torch.Tensor,
    positive: torch.Tensor,
    negative: torch.Tensor,
    sharpness: tuple[float, float, float, float],
) -> torch.Tensor:
    """Mine pairs and weigh them; (B, M) similarities and masks, (alpha, beta, base, margin)."""
    alpha, beta, base, margin = sharpness
    hardest_positive = similarity.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    hardest_negative = similarity.masked_fill(~negative, -torch.inf).amax(dim=1, keepdim=True)
    positive = positive & (similarity < hardest_negative + margin)
    negative = negative & (similarity > hardest_positive - margin)
    pull = torch.log1p((torch.exp(-alpha * (similarity - base)) * positive).sum(dim=1)) / alpha
    push = torch.log1p((torch.exp(beta * (similarity - base)) * negative).sum(dim=1)) / beta
    return (pull + push).mean()


def masked_log_depth_loss(log_depth: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of log depth where `depth` is known (> 0); 0 where nowhere.

    Args:
        log_depth: (B, H, W) predicted, log metres.
        depth: (B, H, W) metres, 0 = unknown.
    """
    known = depth > 0
    difference = (log_depth - torch.log(depth.clamp(min=1e-3))).abs() * known
    return difference.sum() / known.sum().clamp(min=1)
