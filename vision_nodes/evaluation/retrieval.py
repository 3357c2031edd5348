"""Place descriptors alone, without geometry: recall of the nearest picture, precision and recall of pairs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vision_nodes.errors import BagError
from vision_nodes.evaluation.places import IGNORED, POSITIVE


@dataclass(frozen=True)
class Traverses:
    """Two visits of one way: query pictures, reference pictures, and which references are right."""

    queries: list[Path]
    references: list[Path]
    right: list[set[int]]


def read_traverses(folder: Path) -> Traverses:
    """A folder with ``query/``, ``ref/`` and ``ground_truth.csv`` (query, refs separated by ;).

    Raises:
        BagError: a part is missing.
    """
    truth = folder / "ground_truth.csv"
    queries, references = (sorted((folder / side).glob("*.*")) for side in ("query", "ref"))
    if not truth.is_file() or not queries or not references:
        raise BagError("query/, ref/ and ground_truth.csv", f"not all in {folder}", "check the folder")
    with truth.open() as file:
        rows = {int(row["query"]): row["refs"] for row in csv.DictReader(file)}
    right = [{int(i) for i in rows[q].split(";") if i} for q in range(len(queries))]
    return Traverses(queries, references, right)


def recall_at_1(queries: np.ndarray, references: np.ndarray, right: list[set[int]]) -> float:
    """Share of queries (Q, D) whose most similar reference (R, D) is right; rows are unit vectors."""
    nearest = (queries @ references.T).argmax(axis=1)
    return float(np.mean([int(index) in wanted for index, wanted in zip(nearest, right)]))


def read_loop_pairs(path: Path, frames: list[int], min_gap: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P, 2) of positions in `frames` at least `min_gap` frames apart, and whether each is a loop.

    ``loops.csv`` lists i, j and their view overlap: from 0.5 a loop, 0.1 to 0.5 left out, unlisted none.
    """
    with path.open() as file:
        listed = {
            frozenset((int(row["i"]), int(row["j"]))): float(row["overlap"]) for row in csv.DictReader(file)
        }
    pairs, loops = [], []
    for a, first in enumerate(frames):
        for b, second in enumerate(frames[:a]):
            overlap = listed.get(frozenset((first, second)), 0.0)
            if first - second >= min_gap and not IGNORED <= overlap < POSITIVE:
                pairs.append((a, b))
                loops.append(overlap >= POSITIVE)
    return np.array(pairs), np.array(loops)


def pair_scores(similarity: np.ndarray, loops: np.ndarray) -> dict[str, float]:
    """Average precision, and recall before the first wrong pair, of pairs ranked by `similarity` (P,)."""
    order = np.argsort(-similarity, kind="stable")
    hits = loops[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    wrong = np.flatnonzero(~hits)
    first_wrong = int(wrong[0]) if len(wrong) else len(hits)
    return {
        "average_precision": float(precision[hits].mean()),
        "recall_at_full_precision": float(hits[:first_wrong].sum() / hits.sum()),
    }
