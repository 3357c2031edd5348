"""From one keyframe to its ranked candidates and, when geometry and history agree, a closure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vision_nodes.datatypes import LoopClosure, PlaceResult
from vision_nodes.errors import FrameError
from vision_nodes.places.closure_gate import Verdict
from vision_nodes.places.index import DescriptorIndex
from vision_nodes.places.keyframes import NO_SEGMENT, Keyframe, KeyframeDatabase
from vision_nodes.places.proximity import view_cost
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.places.verification import Hypothesis, Verification, confirm, hypothesise


class GraphView(Protocol):
    """What retrieval asks the pose graph."""

    def expected(self, query: Keyframe, below_id: int | None, count: int) -> list[int]:
        """Keyframes in view of where the query is thought to be, best first."""

    def around(self, query: Keyframe, closure: LoopClosure, below_id: int | None, count: int) -> list[int]:
        """Keyframes in view of where a verified closure says the query is, best first."""

    def weigh(self, query: Keyframe, closure: LoopClosure) -> Verdict | None:
        """Accept, keep pending or refuse a closure; None without an opinion."""


_EXPECTED, _AROUND = 2, 3  # keyframes verified because the map expects them in view
_REFINED = 2  # of the candidates with a pose, the best are refined and put to the tests
_STRONG = 2.0  # times the minimal evidence: enough for a closure nothing else speaks for
_NEIGHBOURS = 5  # ids apart: matches of consecutive keyframes that count as the same place
_ENOUGH = 3.5  # times the minimal inliers, from the same viewpoint: no better candidate is looked for


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
        self._stream_start = 0  # first id since the stream began anew or a map was loaded
        self._last_stamp_ns: int | None = None
        self._last_match: int | None = None  # matched id that the previous keyframe was verified against

    @property
    def bytes_per_keyframe(self) -> int:
        """Index memory of one keyframe, bytes."""
        return 0 if self._index is None else self._index.bytes_per_keyframe

    def add(self, keyframe: Keyframe) -> None:
        """Make a keyframe findable."""
        if self._index is None:
            self._index = DescriptorIndex(len(keyframe.descriptor), self._settings.flat_limit)
        self._index.add(keyframe.id, keyframe.descriptor)
        if self._last_stamp_ns is not None and keyframe.stamp_ns < self._last_stamp_ns:
            self._stream_start = keyframe.id
        self._last_stamp_ns = keyframe.stamp_ns
        self._recent.append(_Entry(keyframe.id, keyframe.stamp_ns, keyframe.segment))

    def begin_stream(self) -> None:
        """What is known so far was seen in another run: its stamps say nothing about age."""
        self._stream_start, self._last_stamp_ns = self._database.next_id, None

    def remove(self, keyframe_id: int) -> None:
        """Make a keyframe unfindable."""
        if self._index is not None:
            self._index.remove(keyframe_id)

    def lookup(self, query: Keyframe, graph: GraphView | None = None) -> PlaceResult:
        """Rank, verify, weigh.

        Args:
            query: a keyframe not in the index yet.
            graph: the pose graph's view; None = search the whole map without any hint (localize).
        """
        if self._index is None:
            return PlaceResult(query.stamp_ns, query.id)
        below_id = None if graph is None else self._first_recent(query)
        ids, scores = self._index.search(query.descriptor, self._settings.candidates, below_id)
        keep = scores >= self._settings.min_similarity
        ranked = [int(i) for i in ids[keep]]
        best = self._best_verified(query, ranked, below_id, graph)
        closure = None if best is None else self._decide(query, best, graph)
        if graph is not None:
            self._last_match = None if best is None else best.matched_id
        scores_out = tuple(float(s) for s in scores[keep])
        return PlaceResult(query.stamp_ns, query.id, tuple(ranked), scores_out, closure, _evidence(best))

    def check(self, keyframe: Keyframe) -> None:
        """Raise FrameError when the keyframe's descriptor cannot be compared with the map's."""
        if self._index is not None and len(keyframe.descriptor) != self._index.dimension:
            raise FrameError(
                f"a place descriptor of {self._index.dimension} values like the map's",
                f"{len(keyframe.descriptor)}",
                "use the descriptor model the map was made with, or start a new map",
            )

    def _first_recent(self, query: Keyframe) -> int | None:
        """Smallest id too young to be a revisit, the query's own included: ids from there on are not searched."""
        gap_ns = int(self._settings.min_gap_s * 1e9)
        while self._recent and not self._is_recent(self._recent[0], query, gap_ns):
            self._recent.popleft()
        young = [e.id for e in self._recent if self._is_recent(e, query, gap_ns)]
        if query.id >= 0:
            young.append(query.id)
        return min(young) if young else None

    @staticmethod
    def _is_recent(entry: _Entry, query: Keyframe, gap_ns: int) -> bool:
        same = entry.segment == query.segment or NO_SEGMENT in (entry.segment, query.segment)
        return same and 0 <= query.stamp_ns - entry.stamp_ns < gap_ns

    def _best_verified(
        self, query: Keyframe, ranked: list[int], below_id: int | None, graph: GraphView | None
    ) -> Verification | None:
        """The accepted candidate of most merit, then its neighbours if one of them has more."""
        expected = [] if graph is None else graph.expected(query, below_id, _EXPECTED)
        # The best look-alike, then where the map expects us, then the other look-alikes.
        order = list(dict.fromkeys([*ranked[:1], *expected, *ranked[1:]]))
        tried = order[: self._settings.verified_candidates]
        best = self._verify_all(query, tried, None)
        if best is None or graph is None or self._is_enough(self._merit(best, best.matched_id)):
            return best
        around = graph.around(query, self._closure(query, best), below_id, _AROUND)
        return self._verify_all(query, [i for i in around if i not in tried], best)

    def _verify_all(self, query: Keyframe, ids: list[int], best: Verification | None) -> Verification | None:
        """The candidate of most merit that passes every test; only the most promising are refined."""
        promising: list[tuple[float, Hypothesis]] = []
        for keyframe_id in ids:
            hypothesis = hypothesise(query, self._database[keyframe_id], self._settings)
            if isinstance(hypothesis, Verification):
                continue
            promising.append((self._merit(hypothesis, hypothesis.matched.id), hypothesis))
            if self._is_enough(promising[-1][0]):
                break
        for merit, hypothesis in sorted(promising, key=lambda pair: -pair[0])[:_REFINED]:
            if best is not None and merit <= self._merit(best, best.matched_id):
                break
            result = confirm(hypothesis, self._settings)
            if result.accepted and (
                best is None or self._merit(result, result.matched_id) > self._merit(best, best.matched_id)
            ):
                best = result
                break
        return best

    def _is_enough(self, merit: float) -> bool:
        """So close and so well confirmed that no better candidate is worth looking for."""
        return merit >= _ENOUGH * self._settings.min_inliers

    def _merit(self, found: Verification | Hypothesis, matched_id: int) -> float:
        """Inliers, worth less the further apart the two views are: near ones overlap more and lie exacter."""
        assert found.T_matched_query is not None
        depth = self._database[matched_id].median_depth
        return found.inliers * float(np.exp(-view_cost(found.T_matched_query, depth)))

    def _closure(self, query: Keyframe, best: Verification) -> LoopClosure:
        assert best.T_matched_query is not None and best.covariance is not None
        score = float(query.descriptor @ self._database[best.matched_id].descriptor)
        return LoopClosure(
            query.id,
            best.matched_id,
            best.T_matched_query,
            best.covariance,
            best.inliers,
            score,
            best.log_scale,
            best.log_scale_sigma,
        )

    def _seen_just_now(self, query: Keyframe, matched_id: int) -> bool:
        matched = self._database[matched_id]
        age_s = (query.stamp_ns - matched.stamp_ns) * 1e-9
        return matched_id >= self._stream_start and 0 <= age_s < self._settings.min_gap_s

    def _decide(self, query: Keyframe, best: Verification, graph: GraphView | None) -> LoopClosure | None:
        closure = self._closure(query, best)
        verdict = None if graph is None else graph.weigh(query, closure)
        if verdict is not None:
            # Odometry that broke and went on is joined in the graph at once, but that is no revisit.
            usable = verdict is Verdict.ACCEPTED and not self._seen_just_now(query, best.matched_id)
            return closure if usable else None
        # No odometry to ask: the previous keyframe must have matched the same place, or the evidence is ample.
        strong = best.inliers >= _STRONG * self._settings.min_inliers
        continued = self._last_match is not None and abs(self._last_match - best.matched_id) <= _NEIGHBOURS
        return closure if strong or (continued and graph is not None) else None


def _evidence(best: Verification | None) -> dict[str, float]:
    if best is None:
        return {}
    return {
        "inliers": float(best.inliers),
        "inlier_ratio": best.inlier_ratio,
        "coverage": best.coverage,
        "support": best.support,
    }
