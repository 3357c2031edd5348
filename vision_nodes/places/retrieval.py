"""From one keyframe to its ranked candidates and, when geometry and history agree, a closure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from vision_nodes.datatypes import LoopClosure, PlaceResult
from vision_nodes.errors import FrameError
from vision_nodes.places.closure_gate import Verdict
from vision_nodes.places.index import DescriptorIndex
from vision_nodes.places.keyframes import NO_SEGMENT, Keyframe, KeyframeDatabase
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.places.verification import Verification, verify

Weigh = Callable[[Keyframe, LoopClosure], Verdict | None]

_STRONG = 2.0  # times the minimal evidence: enough for a closure nothing else speaks for
_NEIGHBOURS = 5  # ids apart: matches of consecutive keyframes that count as the same place
_ENOUGH = 4.0  # times the minimal inliers: no better candidate is looked for


@dataclass(frozen=True)
class _Entry:
    id: int
    stamp_ns: int
    segment: int


class Retrieval:
    """The index over a database, with the rules of what may be called a closure."""

    def __init__(self, settings: PlaceSettings, database: KeyframeDatabase) -> None:
        self._settings = settings
        self._database = database
        self._index: DescriptorIndex | None = None
        self._recent: deque[_Entry] = deque()
        self._last_match: int | None = None  # matched id that the previous keyframe was verified against

    @property
    def bytes_per_keyframe(self) -> int:
        """Index memory of one keyframe, bytes."""
        return 0 if self._index is None else self._index.bytes_per_keyframe

    def add(self, keyframe: Keyframe) -> None:
        """Make a keyframe findable."""
        if self._index is None:
            self._index = DescriptorIndex(len(keyframe.descriptor), self._settings.flat_limit)
        self._check_dimension(keyframe)
        self._index.add(keyframe.id, keyframe.descriptor)
        self._recent.append(_Entry(keyframe.id, keyframe.stamp_ns, keyframe.segment))

    def remove(self, keyframe_id: int) -> None:
        """Make a keyframe unfindable."""
        if self._index is not None:
            self._index.remove(keyframe_id)

    def lookup(self, query: Keyframe, weigh: Weigh | None = None) -> PlaceResult:
        """Rank, verify, weigh.

        Args:
            query: a keyframe not in the index yet.
            weigh: asks the pose graph about a verified closure; None = whole map, no graph (localize).
        """
        if self._index is None:
            return PlaceResult(query.stamp_ns, query.id)
        self._check_dimension(query)
        below_id = None if weigh is None else self._first_recent(query)
        ids, scores = self._index.search(query.descriptor, self._settings.candidates, below_id)
        keep = scores >= self._settings.min_similarity
        ids, scores = ids[keep], scores[keep]
        best, score = self._best_verified(query, ids.tolist(), scores.tolist())
        closure = None
        if best is not None:
            closure = self._decide(query, best, score, weigh)
        if weigh is not None:
            self._last_match = None if best is None else best.matched_id
        return PlaceResult(
            query.stamp_ns,
            query.id,
            tuple(int(i) for i in ids),
            tuple(float(s) for s in scores),
            closure,
            _evidence(best),
        )

    def _check_dimension(self, keyframe: Keyframe) -> None:
        assert self._index is not None
        if len(keyframe.descriptor) != self._index.dimension:
            raise FrameError(
                f"a place descriptor of {self._index.dimension} values like the map's",
                f"{len(keyframe.descriptor)}",
                "use the descriptor model the map was made with, or start a new map",
            )

    def _first_recent(self, query: Keyframe) -> int | None:
        """Smallest id too young to be a revisit: ids from there on are not searched."""
        gap_ns = int(self._settings.min_gap_s * 1e9)
        while self._recent and not self._is_recent(self._recent[0], query, gap_ns):
            self._recent.popleft()
        young = [e.id for e in self._recent if self._is_recent(e, query, gap_ns)]
        return min(young) if young else None

    @staticmethod
    def _is_recent(entry: _Entry, query: Keyframe, gap_ns: int) -> bool:
        same = entry.segment == query.segment or NO_SEGMENT in (entry.segment, query.segment)
        return same and 0 <= query.stamp_ns - entry.stamp_ns < gap_ns

    def _best_verified(
        self, query: Keyframe, ids: list[int], scores: list[float]
    ) -> tuple[Verification | None, float]:
        best: Verification | None = None
        best_score = 0.0
        for keyframe_id, score in list(zip(ids, scores))[: self._settings.verified_candidates]:
            result = verify(query, self._database[keyframe_id], self._settings)
            if result.accepted and (best is None or result.inliers > best.inliers):
                best, best_score = result, score
                if result.inliers >= _ENOUGH * self._settings.min_inliers:
                    break
        return best, best_score

    def _decide(
        self, query: Keyframe, best: Verification, score: float, weigh: Weigh | None
    ) -> LoopClosure | None:
        assert best.T_matched_query is not None and best.covariance is not None
        closure = LoopClosure(
            query.id, best.matched_id, best.T_matched_query, best.covariance, best.inliers, score
        )
        verdict = None if weigh is None else weigh(query, closure)
        if verdict is not None:
            return closure if verdict is Verdict.ACCEPTED else None
        # No odometry to ask: the previous keyframe must have matched the same place, or the evidence is ample.
        s = self._settings
        strong = best.inliers >= _STRONG * s.min_inliers and best.support >= _STRONG * s.min_support
        continued = self._last_match is not None and abs(self._last_match - best.matched_id) <= _NEIGHBOURS
        return closure if strong or (continued and weigh is not None) else None


def _evidence(best: Verification | None) -> dict[str, float]:
    if best is None:
        return {}
    return {
        "inliers": float(best.inliers),
        "inlier_ratio": best.inlier_ratio,
        "coverage": best.coverage,
        "support": best.support,
    }
