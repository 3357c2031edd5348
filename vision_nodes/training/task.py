"""What a task must offer so that the one training loop can train it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

Batch = dict[str, Tensor]


class Samples(Protocol):
    """A map-style data set."""

    def __len__(self) -> int:
        """How many samples."""

    def __getitem__(self, index: int, /) -> Batch:
        """One sample, `image` uint8 (H, W, 3) among it."""


class TrainingTask(Protocol):
    """Data, network, loss and metric of one task.

    Networks take `tensor` (N, 3, H, W) float32 RGB in 0..255 and normalise inside, so that the exported
    graph needs nothing but a transpose in front. Samples carry `image`: uint8 (H, W, 3) of the input size.
    """

    metric_name: str  # key of `evaluate`'s result that chooses the best checkpoint
    higher_is_better: bool

    def network(self) -> nn.Module:
        """The network with its initial (transferred) weights."""

    def train_dataset(self) -> Samples:
        """Map-style, augmented. May offer `set_epoch(epoch)`, called before each epoch."""

    def val_dataset(self) -> Samples:
        """Held out from *training* data for choosing checkpoints; never the val split."""

    def collate(self, samples: list[Batch]) -> Batch:
        """Samples to one batch."""

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses; `total` is what is optimised."""

    def evaluate(self, network: nn.Module, dataset: Samples) -> dict[str, float]:
        """Metrics of `network` (in eval mode) on `dataset`."""

    def evaluate_graph(self, graph: nn.Module, dataset: Samples) -> dict[str, float]:
        """The same metrics for a deployed graph as `export_module` returns it, or a model file like it."""

    def export_module(self, network: nn.Module) -> nn.Module:
        """The deployable graph: `image` uint8 (B, H, W, 3) RGB -> the contract's physical quantities."""
