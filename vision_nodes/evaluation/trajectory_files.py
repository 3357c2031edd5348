"""Trajectories as text files that evo and the benchmarks' own tools read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vision_nodes.camera.transforms import quat_xyzw_from_matrix
from vision_nodes.evaluation.score import Scores

NS = 1_000_000_000


def write_tum(path: str | Path, stamps_ns: Sequence[int] | np.ndarray, poses: np.ndarray) -> None:
    """TUM form: ``seconds tx ty tz qx qy qz qw`` per line.

    Args:
        stamps_ns: (N,) whole nanoseconds, written without rounding.
        poses: (N, 4, 4) T_world_body, metres.
    """
    rows = []
    for stamp, T in zip(stamps_ns, poses):
        seconds, rest = divmod(int(stamp), NS)
        values = [*T[:3, 3], *quat_xyzw_from_matrix(T)]
        rows.append(f"{seconds}.{rest:09d} " + " ".join(f"{value:.9f}" for value in values))
    Path(path).write_text("".join(row + "\n" for row in rows))


def write_kitti(path: str | Path, poses: np.ndarray) -> None:
    """KITTI form: the first three rows of each (4, 4) pose on one line, without stamps."""
    rows = (" ".join(f"{value:.9e}" for value in T[:3].reshape(-1)) for T in poses)
    Path(path).write_text("".join(row + "\n" for row in rows))


def write_trajectories(scores: Scores, folder: str | Path) -> list[Path]:
    """Estimate and truth of a scored run, associated by stamp, in both forms; the files written."""
    trajectories = scores.trajectories
    if trajectories is None or len(trajectories.stamps_ns) == 0:
        return []
    folder, written = Path(folder), []
    for name, poses in (("estimate", trajectories.estimate), ("truth", trajectories.truth)):
        write_tum(folder / f"trajectory_{name}.tum", trajectories.stamps_ns, poses)
        write_kitti(folder / f"trajectory_{name}.kitti", poses)
        written += [folder / f"trajectory_{name}.{form}" for form in ("tum", "kitti")]
    return written
