"""The graphs that ship: uint8 picture in, the model contract's physical quantities out.

Only operators that TensorRT 10.3 to 11 and the CPU runtimes take: no NMS, no data-dependent shapes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vision_nodes.networks.nanodet import decode_boxes, locations


def from_uint8(image: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 0..255."""
    return image.float().permute(0, 3, 1, 2)


class DetectionGraph(nn.Module):
    """`image` -> `boxes`, `scores`, `class_ids`: the best `candidates` locations, best first.

    A location speaks for its best class only. Boxes leave in the project's pixels (top-left pixel centre
    at (0, 0)), half a pixel less than the COCO edges that the network was trained on.
    """

    output_names = ("boxes", "scores", "class_ids")

    def __init__(self, network: nn.Module, classes: int, input_wh: tuple[int, int], candidates: int) -> None:
        super().__init__()
        self.network, self.classes, self.candidates = network, classes, candidates
        self.register_buffer("places", locations(input_wh[1], input_wh[0])[None], persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> (B, N, 4) float32 px, (B, N) float32, (B, N) int32."""
        return self.decode(self.network(from_uint8(image)))

    def decode(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The network's (B, A, classes + 32) -> as `forward`."""
        best = raw[..., : self.classes].amax(-1)
        top = best.topk(self.candidates, dim=1)
        logits_and_bins = raw.gather(1, top.indices[..., None].expand(-1, -1, raw.shape[-1]))
        places = self.places.expand(raw.shape[0], -1, -1)
        places = places.gather(1, top.indices[..., None].expand(-1, -1, 3))
        boxes = decode_boxes(logits_and_bins[..., self.classes :], places) - 0.5
        class_ids = logits_and_bins[..., : self.classes].argmax(-1).to(torch.int32)
        return boxes, top.values.sigmoid(), class_ids


class SegmentationGraph(nn.Module):
    """`image` -> `labels`, `confidence` at 1 / `reduction` of the input size."""

    output_names = ("labels", "confidence")

    def __init__(self, network: nn.Module, input_wh: tuple[int, int], reduction: int) -> None:
        super().__init__()
        self.network = network
        self.size_hw = (input_wh[1] // reduction, input_wh[0] // reduction)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> (B, H', W') uint8, (B, H', W') float32 in [0, 1]."""
        logits = self.network(from_uint8(image))
        logits = nn.functional.interpolate(logits, self.size_hw, mode="bilinear", align_corners=False)
        # the largest softmax, without the division of every class: a softmax over axis 1 costs 6 ms more
        confidence = 1 / (logits - logits.amax(1, keepdim=True)).exp().sum(1)
        # TensorRT refuses int32 -> uint8: the labels pass through float
        return logits.argmax(1).float().to(torch.uint8), confidence


class TeacherGraph(nn.Module):
    """`image` -> `probabilities` (B, K + 1, H / 4, W / 4): a teacher's classes merged into K, plus `other`."""

    output_names = ("probabilities",)

    def __init__(self, network: nn.Module, mapping: Tensor) -> None:
        super().__init__()
        self.network = network
        other = 1 - mapping.sum(0, keepdim=True)
        self.register_buffer("mapping", torch.cat((mapping, other))[:, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, K + 1, H / 4, W / 4) float32."""
        return nn.functional.conv2d(self.network(from_uint8(image)).softmax(1), self.mapping)
