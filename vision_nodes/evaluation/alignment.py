"""Aligning one trajectory with another (Umeyama, PAMI 1991)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Similarity:
    """``x -> scale * R x + t``; scale 1 is a rigid motion."""

    R: np.ndarray  # (3, 3)
    t: np.ndarray  # (3,)
    scale: float

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) -> (N, 3)."""
        return np.asarray(self.scale * points @ self.R.T + self.t)


def align(source: np.ndarray, target: np.ndarray, *, with_scale: bool) -> Similarity:
    """Least-squares similarity that maps `source` onto `target`.

    Args:
        source, target: (N, 3) corresponding points, N >= 3.
        with_scale: True for Sim(3), False for SE(3).

    Raises:
        ValueError: fewer than three points.
    """
    if len(source) < 3 or source.shape != target.shape:
        raise ValueError(f"expected at least 3 point pairs, received {source.shape} and {target.shape}")
    mean_source, mean_target = source.mean(0), target.mean(0)
    centred_source, centred_target = source - mean_source, target - mean_target
    U, D, Vt = np.linalg.svd(centred_target.T @ centred_source / len(source))
    S = np.eye(3)
    if np.linalg.det(U) * np.linalg.det(Vt) < 0:
        S[2, 2] = -1
    R = U @ S @ Vt
    variance = (centred_source**2).sum() / len(source)
    scale = float(np.trace(np.diag(D) @ S) / variance) if with_scale and variance > 0 else 1.0
    return Similarity(R, mean_target - scale * R @ mean_source, scale)
