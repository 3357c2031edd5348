"""Trajectories as text files that evo and the benchmarks' own tools read."""

from __future__ import annotations

from pathlib import Path

from vision_nodes.bags.folder_files import write_kitti, write_tum
from vision_nodes.evaluation.score import Scores


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
