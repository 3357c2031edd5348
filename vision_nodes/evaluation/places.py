"""Place recognition: recall of ranked matches, and how many loops were closed, rightly or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

POSITIVE, IGNORED = 0.5, 0.1  # view overlap: a revisit from 0.5 on; from 0.1 on neither right nor wrong


@dataclass(frozen=True)
class Closure:
    """One published loop closure by stamps, with the relative pose it claims."""

    query_ns: int
    matched_ns: int
    T_matched_query: np.ndarray  # (4, 4)


@dataclass(frozen=True)
class PlaceRun:
    """What a run said about places, by stamps in ns.

    Attributes:
        keyframes: stamps of all keyframes.
        ranked: query stamp -> stamps of its candidates, best first.
        scores: query stamp -> similarity of its candidates.
        closures: verified loop closures.
    """

    keyframes: list[int]
    ranked: Mapping[int, list[int]]
    scores: Mapping[int, list[float]]
    closures: list[Closure] = field(default_factory=list)


class Overlaps:
    """True view overlap of frame pairs; a pair that is not listed has none."""

    def __init__(self, pairs: Iterable[tuple[int, int, float]]) -> None:
        self._overlap = {frozenset((a, b)): overlap for a, b, overlap in pairs}
        self.stamps = np.array(sorted({s for pair in self._overlap for s in pair}), np.int64)

    def of(self, a: int, b: int) -> float:
        """Overlap of the frames nearest to two stamps, as far as the truth samples frames."""
        return self._overlap.get(frozenset((self._nearest(a), self._nearest(b))), 0.0)

    def _nearest(self, stamp: int) -> int:
        if len(self.stamps) == 0:
            return stamp
        return int(self.stamps[np.abs(self.stamps - stamp).argmin()])


def score_places(run: PlaceRun, overlaps: Overlaps) -> dict[str, float | int | None]:
    """Recall@k over the queries that have a true revisit among earlier keyframes, and closures.

    ``loop_recall`` is the share of those queries whose place was closed, ``false_closures`` counts
    closures between frames that share less than a tenth of their view.
    """
    earlier: list[int] = []
    hits = {1: 0, 5: 0, 10: 0}
    queries = closed = 0
    by_query: dict[int, list[Closure]] = {}
    for closure in run.closures:
        by_query.setdefault(closure.query_ns, []).append(closure)
    for stamp in run.keyframes:
        if any(overlaps.of(stamp, other) >= POSITIVE for other in earlier):
            queries += 1
            right = [overlaps.of(stamp, other) >= POSITIVE for other in run.ranked.get(stamp, [])]
            for k in hits:
                hits[k] += any(right[:k])
            closed += any(overlaps.of(stamp, c.matched_ns) >= IGNORED for c in by_query.get(stamp, []))
        earlier.append(stamp)
    false = sum(overlaps.of(c.query_ns, c.matched_ns) < IGNORED for c in run.closures)
    return {
        "keyframes": len(run.keyframes),
        "queries_with_revisit": queries,
        **{f"recall_at_{k}": hits[k] / queries if queries else None for k in hits},
        "closures": len(run.closures),
        "false_closures": int(false),
        "loop_recall": closed / queries if queries else None,
    }


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall when pairs are accepted by falling similarity."""

    scores: np.ndarray  # (N,) falling
    right: np.ndarray  # (N,) bool
    total: int  # pairs or queries that could be found

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Recall and precision (N,) after each accepted pair."""
        hits = np.cumsum(self.right)
        return hits / max(self.total, 1), hits / np.arange(1, len(hits) + 1)

    def figures(self) -> dict[str, float | None]:
        """``average_precision`` and ``recall_at_100_precision``; None when nothing could be found."""
        if self.total == 0:
            return {"average_precision": None, "recall_at_100_precision": None}
        _, precision = self.curve()
        first_wrong = int(np.argmin(self.right)) if not self.right.all() else len(self.right)
        return {
            "average_precision": float(precision[self.right].sum() / self.total),
            "recall_at_100_precision": first_wrong / self.total,
        }


def precision_recall(scores: np.ndarray, positive: np.ndarray, total: int | None = None) -> PrecisionRecall:
    """Order scored pairs.

    Args:
        scores: (N,) similarity of each pair.
        positive: (N,) bool, a true revisit.
        total: how many could be found; None = the positive ones among these pairs.
    """
    order = np.argsort(-scores, kind="stable")
    right = np.asarray(positive, bool)[order]
    return PrecisionRecall(scores[order], right, int(right.sum()) if total is None else total)


def query_hits(run: PlaceRun, overlaps: Overlaps) -> dict[int, bool]:
    """Keyframes that revisit an earlier one -> whether their best match is right."""
    hits: dict[int, bool] = {}
    earlier: list[int] = []
    for stamp in run.keyframes:
        if any(overlaps.of(stamp, other) >= POSITIVE for other in earlier):
            best = run.ranked.get(stamp, [])[:1]
            hits[stamp] = bool(best) and overlaps.of(stamp, best[0]) >= POSITIVE
        earlier.append(stamp)
    return hits


def best_match_curve(run: PlaceRun, overlaps: Overlaps) -> PrecisionRecall:
    """Best match of every keyframe by similarity; undecided overlaps are left out."""
    scores, right = [], []
    for stamp in run.keyframes:
        ranked, similarity = run.ranked.get(stamp, []), run.scores.get(stamp, [])
        if not ranked or not similarity:
            continue
        overlap = overlaps.of(stamp, ranked[0])
        if not IGNORED <= overlap < POSITIVE:
            scores.append(similarity[0])
            right.append(overlap >= POSITIVE)
    return precision_recall(np.array(scores), np.array(right, bool), len(query_hits(run, overlaps)))


def closure_errors(
    closures: list[Closure], truth: Mapping[int, np.ndarray], scale: float
) -> dict[str, float | None]:
    """Relative pose errors of closures against true camera poses, after the run's scale is taken out."""
    translation, rotation = [], []
    for closure in closures:
        if closure.query_ns in truth and closure.matched_ns in truth:
            true = np.linalg.inv(truth[closure.matched_ns]) @ truth[closure.query_ns]
            error = true[:3, :3].T @ closure.T_matched_query[:3, :3]
            rotation.append(float(np.degrees(np.arccos(np.clip((np.trace(error) - 1) / 2, -1, 1)))))
            translation.append(float(np.linalg.norm(scale * closure.T_matched_query[:3, 3] - true[:3, 3])))
    if not translation:
        return {"closure_translation_median_m": None, "closure_rotation_median_deg": None}
    return {
        "closure_translation_median_m": float(np.median(translation)),
        "closure_translation_max_m": max(translation),
        "closure_rotation_median_deg": float(np.median(rotation)),
        "closure_rotation_max_deg": max(rotation),
    }
