"""The teacher beside the student: its opinion of the very crop that is learnt (Beyer et al., CVPR 2022).

Stored masks know a picture as a whole; a teacher that sees each augmented crop says what it would have said
there, with all its doubts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vision_nodes.networks.mosaic import Mosaic
from vision_nodes.networks.weights import find_weights, load_tensors, read_tensors
from vision_nodes.training.pseudo_labels import WEIGHTS, mapping_matrix

ENLARGED = 4 / 3  # the teacher sees more pixels than the student: 384x288 becomes 512x384


class CropTeacher(nn.Module):
    """MOSAIC with its classes merged into ours, frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Mosaic()
        load_tensors(self.network, read_tensors(find_weights(WEIGHTS)), WEIGHTS)
        self.register_buffer("mapping", torch.from_numpy(mapping_matrix())[:, :, None, None])
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def probabilities(self, images: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(B, 3, H, W) float32 RGB 0..255 -> (B, K, *size_hw); what is missing to 1 is `other`."""
        # sides must stay multiples of 16
        sides = [round(side * ENLARGED / 16) * 16 for side in images.shape[-2:]]
        large = functional.interpolate(images, sides, mode="bilinear", align_corners=False)
        merged = functional.conv2d(self.network(large).float().softmax(1), self.mapping)
        return functional.interpolate(merged, size_hw, mode="bilinear", align_corners=False)

    def divergence(self, logits: Tensor, images: Tensor, ignored: Tensor) -> Tensor:
        """Mean KL divergence of the student's classes from the teacher's.

        Args:
            logits: (B, K, h, w) of the student.
            ignored: (B, h, w) bool, pixels that do not count.
        """
        taught = self.probabilities(images, tuple(logits.shape[-2:]))
        known = taught.sum(1)
        target = taught / known[:, None].clamp(min=1e-6)
        apart = (target * (target.clamp(min=1e-6).log() - logits.log_softmax(1))).sum(1)
        weight = known * ~ignored
        return (apart * weight).sum() / weight.sum().clamp(min=1)
