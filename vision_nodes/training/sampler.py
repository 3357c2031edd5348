"""The order of samples: a function of seed and epoch alone, so that a killed run resumes where it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Permutation of `count` indices per epoch, dealt out to `world` processes.

    `start(epoch, skip)` chooses the epoch and leaves out the samples that a resumed run has already seen.
    Every process gets the same number of samples (the last few of the permutation are dropped).
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.seed, self.rank, self.world = count, seed, rank, world
        self.epoch, self.skip = 0, 0

    def start(self, epoch: int, skip: int = 0) -> None:
        """Serve `epoch` next, without its first `skip` samples (per process)."""
        self.epoch, self.skip = epoch, skip

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        share = self.count // self.world
        mine = order[self.rank : share * self.world : self.world]
        return iter(mine[self.skip :].tolist())

    def __len__(self) -> int:
        return self.count // self.world - self.skip
