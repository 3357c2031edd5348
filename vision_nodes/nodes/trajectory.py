"""A path that keeps its whole length in bounded memory."""

from __future__ import annotations

import numpy as np

MAX_POSES = 2000


class BoundedTrajectory:
    """Poses at least `step_m` apart; when full, every second one is forgotten and the step doubles."""

    def __init__(self, step_m: float = 0.05) -> None:
        self._step_m = step_m
        self._poses: list[tuple[int, np.ndarray]] = []

    def add(self, stamp_ns: int, T: np.ndarray) -> bool:
        """Append a (4, 4) pose when it moved far enough; True when it was appended."""
        if self._poses and np.linalg.norm(T[:3, 3] - self._poses[-1][1][:3, 3]) < self._step_m:
            return False
        self._poses.append((stamp_ns, T))
        if len(self._poses) > MAX_POSES:
            self._poses = self._poses[::2]
            self._step_m *= 2
        return True

    def poses(self) -> list[tuple[int, np.ndarray]]:
        """(stamp_ns, (4, 4)) in order."""
        return self._poses
