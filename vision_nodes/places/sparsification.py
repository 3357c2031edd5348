"""Which keyframes a map can do without: views seen before, and the least spaced ones of a full map."""

from __future__ import annotations

from collections import deque

import numpy as np

from vision_nodes.places.graph_state import GraphState
from vision_nodes.places.keyframes import Keyframe, KeyframeDatabase
from vision_nodes.places.proximity import view_cost, view_neighbours
from vision_nodes.places.rigid import inverse
from vision_nodes.places.settings import PlaceSettings

PROTECTED = 10  # newest keyframes still gather landmarks
_COMPARED = 8  # older keyframes at the place of a new one


class Forgetting:
    """Says after each new keyframe what leaves the map: what earlier passes show as well, and what a full map
    can best do without."""

    def __init__(self, settings: PlaceSettings) -> None:
        self._settings = settings
        self._settling: deque[int] = deque()  # the newest, which may not be forgotten yet

    def restart(self) -> None:
        """Another map: nothing of it is new."""
        self._settling.clear()

    def after(self, keyframe_id: int, database: KeyframeDatabase, state: GraphState) -> list[int]:
        """Ids to forget now that this keyframe is stored."""
        self._settling.append(keyframe_id)
        victims: list[int] = []
        if len(self._settling) > PROTECTED:
            settled = self._settling.popleft()
            if (
                settled in database
                and covering(database[settled], database, state, self._settings) is not None
            ):
                victims.append(settled)
        limit = self._settings.max_keyframes
        over = len(database) - len(victims) - limit
        if over > 0:
            victims += most_redundant(database, state, max(over, limit // 100))
        return list(dict.fromkeys(victims))


def covering(
    keyframe: Keyframe, database: KeyframeDatabase, state: GraphState, settings: PlaceSettings
) -> int | None:
    """Id of an older keyframe of another pass that shows the same from the same place; None when there is none.

    Both must hold: the view nearly the same by the map, and the pictures alike. A place that looks different
    now (light, season, moved furniture) keeps both views.
    """
    node = state.nodes.get(keyframe.id)
    if node is None or node.T_map_cam is None or settings.forget_view <= 0:
        return None
    for other_id in view_neighbours(state, node.T_map_cam, node.depth, keyframe.id, _COMPARED):
        other = state.nodes[other_id]
        if other_id not in database or not state.same_island(other.segment, node.segment):
            continue
        stored = database[other_id]
        if other.segment == node.segment and keyframe.stamp_ns - stored.stamp_ns < settings.min_gap_s * 1e9:
            continue  # the same pass: its spacing is the keyframe policy's business
        assert other.T_map_cam is not None
        near = view_cost(inverse(node.T_map_cam) @ other.T_map_cam, node.depth) < settings.forget_view
        if near and float(stored.descriptor @ keyframe.descriptor) >= settings.forget_similarity:
            return other_id
    return None


def most_redundant(database: KeyframeDatabase, state: GraphState, count: int) -> list[int]:
    """Ids of keyframes whose two neighbours along the path are closest together, best first, never two in a row.

    A keyframe that a closure ties to a nearby newer view is counted as half the distance: the newer view
    replaces it. Without poses the oldest go.
    """
    ids = [k.id for k in database]
    oldest_protected = ids[-PROTECTED] if len(ids) > PROTECTED else ids[-1]
    replaced = {
        c.matched_id
        for c in state.closures
        if np.linalg.norm(c.T_matched_query[:3, 3]) < 0.5 and c.inliers > 0
    }
    costs: list[tuple[float, int, int, int]] = []
    for members in state.segments.values():
        if len(members) < 3:
            continue
        poses = np.stack([state.nodes[i].T_odom_cam for i in members])
        apart = np.linalg.norm(poses[2:, :3, 3] - poses[:-2, :3, 3], axis=1)
        trace = np.einsum("nij,nij->n", poses[2:, :3, :3], poses[:-2, :3, :3])
        cost = apart + np.arccos(((trace - 1) / 2).clip(-1, 1))
        costs += [
            (c * (0.5 if middle in replaced else 1.0), middle, before, after)
            for c, before, middle, after in zip(cost.tolist(), members, members[1:], members[2:])
            if middle < oldest_protected and middle in database
        ]
    chosen: list[int] = []
    blocked: set[int] = set()
    for _, middle, before, after in sorted(costs):
        if len(chosen) == count:
            break
        if middle not in blocked:
            chosen.append(middle)
            blocked |= {before, after}
    return chosen or ids[: min(count, max(len(ids) - 1, 1))]
