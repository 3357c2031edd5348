"""Learning a larger detector's opinion, location by location."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vision_nodes.networks.nanodet import BINS, NanoDetPlus, slice_classes
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors

WEIGHTS = "nanodet_plus_coco/nanodet_plus_m_1.5x_416_fused_q8.npz"
CHANNELS, WIDTH = (176, 352, 704), 128
TEMPERATURE = 1.5  # of the box distributions


def larger_nanodet(keep: list[int]) -> NanoDetPlus:
    """NanoDet-Plus-m-1.5x with the public COCO weights, its head cut to the classes `keep`, frozen."""
    network = NanoDetPlus(len(keep), CHANNELS, WIDTH)
    load_tensors(network, slice_classes(read_tensors(find_weights(WEIGHTS)), keep), WEIGHTS)
    return network.eval().requires_grad_(False)


def distillation_loss(raw: Tensor, taught: Tensor, classes: int) -> Tensor:
    """Quality focal loss towards the teacher's scores, and KL of the box distributions where it sees a thing.

    Args:
        raw: (B, A, classes + 32) of the student.
        taught: the same of the teacher, at the same locations.

    Returns:
        Scalar, normalised by the sum of the teacher's best scores.
    """
    target = taught[..., :classes].sigmoid()
    logits = raw[..., :classes]
    error = (target - logits.sigmoid()).abs().square()
    scores = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * error
    best = target.amax(-1)
    sides = [x[..., classes:].unflatten(-1, (4, BINS)) / TEMPERATURE for x in (raw, taught)]
    apart = functional.kl_div(
        sides[0].log_softmax(-1), sides[1].log_softmax(-1), log_target=True, reduction="none"
    )
    boxes = apart.sum(-1).mean(-1) * TEMPERATURE**2 * best * (best > 0.05)
    return (scores.sum() + boxes.sum()) / best[best > 0.05].sum().clamp(min=1)


@torch.no_grad()
def opinion(teacher: NanoDetPlus, images: Tensor) -> Tensor:
    """(B, 3, H, W) float32 RGB 0..255 -> the teacher's raw answer, float32."""
    return teacher(images).float()
