"""The `street` segmenter: MOSAIC's trunk with its blocks thinned, and a finer last stage.

At 480x360 the published network takes 50 ms on one core. A third to a half of the hidden channels of the
costliest blocks go (those that carry least), and a residual block at a quarter of the input's size is added
for what is a few pixels wide: poles and signs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from vision_nodes.networks.mosaic import Block, Mosaic

# block -> hidden channels
THINNED = {0: 64, 7: 256, 8: 256, 9: 256, 10: 384, 11: 320, 12: 480, 14: 256, 15: 256}
STRIDE = 16


class StreetSegmenter(nn.Module):
    """`tensor` (B, 3, H, W) float32 RGB 0..255, sides multiples of 4 -> (B, K, H / 4, W / 4) logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = Mosaic(hidden=THINNED)
        self.refine = Block((32, 64, 32, 3, 1, 1, True))
        self.merge = nn.Conv2d(32, classes, 1)

    def forward(self, tensor: Tensor) -> Tensor:
        """See the class."""
        h, w = tensor.shape[-2:]
        missing = (-h % STRIDE, -w % STRIDE)
        if any(missing):
            tensor = functional.pad(tensor, (0, missing[1], 0, missing[0]), mode="replicate")
        features = self.body(tensor)[..., : h // 4, : w // 4]
        return self.merge(self.refine(features)[0])

    @torch.no_grad()
    def start_from(self, public: dict[str, Tensor], mapping: Tensor, pictures: Tensor) -> None:
        """Begin as the public network: its weights, thinned, and output rows that add their members' logits.

        Args:
            public: MOSAIC's published tensors.
            mapping: (K, 32) of 0 and 1. A class without members begins unlikely.
            pictures: (B, 3, H, W) 0..255, sides multiples of 16, what the thinned blocks must still tell apart.
        """
        whole = Mosaic().eval()
        whole.load_state_dict(public)
        self.body.load_state_dict({**whole.state_dict(), **thinned_blocks(whole, pictures)})
        nn.init.zeros_(self.refine.project.weight)
        nn.init.zeros_(self.refine.project.bias)
        self.merge.weight.copy_(mapping[:, :, None, None])
        self.merge.bias.copy_(torch.where(mapping.sum(1) > 0, 0.0, -4.0))


@torch.no_grad()
def thinned_blocks(whole: Mosaic, pictures: Tensor) -> dict[str, Tensor]:
    """Tensors of the blocks in `THINNED`: the hidden channels that carry most, and a projection refitted to them.

    A channel carries its standard deviation times the norm of its column in the projection. The projection of
    the kept ones is the least-squares fit to the whole block's output on `pictures`.
    """
    seen: dict[int, tuple[Tensor, Tensor]] = {}

    def remember(number: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            step = max(1, inputs[0].shape[-1] // 32)
            flat = [x[..., ::step, ::step].transpose(0, 1).flatten(1).T for x in (inputs[0], output)]
            seen[number] = (flat[0].double(), flat[1].double())

        return hook

    handles = [getattr(whole, f"block{n}").project.register_forward_hook(remember(n)) for n in THINNED]
    whole(pictures)
    for handle in handles:
        handle.remove()
    tensors = {}
    for number, count in THINNED.items():
        block = getattr(whole, f"block{number}")
        hidden, output = seen[number]
        strength = hidden.std(0) * block.project.weight[:, :, 0, 0].norm(dim=0)
        keep = strength.topk(count).indices.sort().values
        for layer in ("expand", "depthwise"):
            for kind in ("weight", "bias"):
                tensors[f"block{number}.{layer}.{kind}"] = getattr(getattr(block, layer), kind)[keep]
        design = torch.cat((hidden[:, keep], torch.ones(len(hidden), 1, dtype=torch.float64)), 1)
        gram = design.T @ design
        gram += 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        fit = torch.linalg.solve(gram, design.T @ output).float()
        tensors[f"block{number}.project.weight"] = fit[:-1].T[:, :, None, None].contiguous()
        tensors[f"block{number}.project.bias"] = fit[-1]
    return tensors
