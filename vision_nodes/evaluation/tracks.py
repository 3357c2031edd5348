"""Tracking figures: HOTA (Luiten et al., IJCV 2021), CLEAR MOT (Bernardin 2008), IDF1 (Ristani 2016).

A small implementation of its own: TrackEval 1.3 works with NumPy 2 but requires the opencv-python wheel, which
overwrites the headless one, and NumPy >= 2.3. The tests compare with it where it is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

ALPHAS = np.arange(0.05, 0.99, 0.05)
CLEAR_IOU = 0.5
_EPSILON = np.finfo(float).eps


@dataclass(frozen=True)
class TrackFrame:
    """Ids of true and found objects of one frame, and their (M, N) IoU (0 across classes)."""

    true_ids: np.ndarray
    found_ids: np.ndarray
    overlap: np.ndarray


def score_tracks(frames: Sequence[TrackFrame]) -> dict[str, float | int | None]:
    """``hota``, ``deta``, ``assa``, ``mota``, ``motp``, ``id_switches``, ``idf1``; None without true objects."""
    frames = _consecutive_ids(frames)
    true = sum(len(frame.true_ids) for frame in frames)
    found = sum(len(frame.found_ids) for frame in frames)
    if true == 0:
        names = ("hota", "deta", "assa", "mota", "motp", "id_switches", "idf1")
        return dict.fromkeys(names) | {"true_boxes": 0, "found_boxes": found}
    return {
        **_hota(frames),
        **_clear(frames, true),
        "idf1": _idf1(frames, true, found),
        "true_boxes": true,
        "found_boxes": found,
    }


def _consecutive_ids(frames: Sequence[TrackFrame]) -> list[TrackFrame]:
    """Ids renumbered from 0, so that they index matrices."""
    true = {int(i): n for n, i in enumerate(sorted({int(i) for f in frames for i in f.true_ids}))}
    found = {int(i): n for n, i in enumerate(sorted({int(i) for f in frames for i in f.found_ids}))}
    return [
        TrackFrame(
            np.array([true[int(i)] for i in f.true_ids], int),
            np.array([found[int(i)] for i in f.found_ids], int),
            np.asarray(f.overlap, float).reshape(len(f.true_ids), len(f.found_ids)),
        )
        for f in frames
    ]


def _counts(frames: Sequence[TrackFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Frames in which each true and each found id occurs."""
    ids = [
        np.concatenate([getattr(f, name) for f in frames]).astype(int) for name in ("true_ids", "found_ids")
    ]
    true, found = (np.bincount(i) if len(i) else np.zeros(0, int) for i in ids)
    return true, found


def _hota(frames: Sequence[TrackFrame]) -> dict[str, float]:
    true_count, found_count = _counts(frames)
    potential = np.zeros((len(true_count), len(found_count)))
    for f in frames:
        whole = f.overlap.sum(0)[None] + f.overlap.sum(1)[:, None] - f.overlap
        share = np.divide(f.overlap, whole, out=np.zeros_like(whole), where=whole > _EPSILON)
        potential[np.ix_(f.true_ids, f.found_ids)] += share
    alignment = potential / np.maximum(true_count[:, None] + found_count[None] - potential, _EPSILON)
    hits = np.zeros(len(ALPHAS))
    matches = np.zeros((len(ALPHAS), *potential.shape))
    for f in frames:
        rows, columns = linear_sum_assignment(-alignment[np.ix_(f.true_ids, f.found_ids)] * f.overlap)
        for a, alpha in enumerate(ALPHAS):
            kept = f.overlap[rows, columns] >= alpha - _EPSILON
            hits[a] += kept.sum()
            np.add.at(matches[a], (f.true_ids[rows[kept]], f.found_ids[columns[kept]]), 1)
    union = true_count[None, :, None] + found_count[None, None] - matches
    association = (matches * matches / np.maximum(union, 1)).sum((1, 2)) / np.maximum(hits, 1)
    total = true_count.sum() + found_count.sum() - hits
    detection = hits / np.maximum(total, 1)
    return {
        "hota": float(np.sqrt(detection * association).mean()),
        "deta": float(detection.mean()),
        "assa": float(association.mean()),
    }


def _clear(frames: Sequence[TrackFrame], true: int) -> dict[str, float | int | None]:
    """CLEAR MOT at IoU 0.5: a match of the last frame is kept while it holds."""
    last: dict[int, int] = {}  # true id -> found id at its last match
    before: dict[int, int] = {}  # matches of the previous frame
    hits, false, switches, overlaps = 0, 0, 0, 0.0
    for f in frames:
        if not (len(f.true_ids) and len(f.found_ids)):  # as TrackEval: such a frame ends no match
            false += len(f.found_ids)
            continue
        score = np.where(f.overlap >= CLEAR_IOU - _EPSILON, f.overlap, 0)
        kept = np.array([[before.get(int(i)) == int(j) for j in f.found_ids] for i in f.true_ids], bool)
        value = np.where(score > 0, score + 1000 * kept.reshape(score.shape), 0)
        rows, columns = linear_sum_assignment(-value)
        pairs = [(r, c) for r, c in zip(rows, columns) if value[r, c] > 0]
        before = {int(f.true_ids[r]): int(f.found_ids[c]) for r, c in pairs}
        switches += sum(i in last and last[i] != j for i, j in before.items())
        last |= before
        hits += len(pairs)
        false += len(f.found_ids) - len(pairs)
        overlaps += float(sum(f.overlap[r, c] for r, c in pairs))
    return {
        "mota": (hits - false - switches) / true,
        "motp": overlaps / hits if hits else None,
        "id_switches": switches,
    }


def _idf1(frames: Sequence[TrackFrame], true: int, found: int) -> float:
    """Best one-to-one assignment of whole tracks, by frames with IoU >= 0.5."""
    true_count, found_count = _counts(frames)
    common = np.zeros((len(true_count), len(found_count)))
    for f in frames:
        common[np.ix_(f.true_ids, f.found_ids)] += f.overlap >= CLEAR_IOU
    rows, columns = linear_sum_assignment(-common)
    return float(2 * common[rows, columns].sum() / (true + found))
