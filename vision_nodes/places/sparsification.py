"""Which keyframe a full map can best do without."""

from __future__ import annotations

import numpy as np

from vision_nodes.places.graph_state import GraphState
from vision_nodes.places.keyframes import KeyframeDatabase
from vision_nodes.places.rigid import rotation_log

_PROTECTED = 10  # newest keyframes still gather landmarks


def most_redundant(database: KeyframeDatabase, state: GraphState) -> int:
    """Id of the keyframe whose two neighbours along the path are closest together.

    A keyframe that a closure ties to a nearby newer view is counted as half the distance: the newer view
    replaces it. Without poses the oldest goes.
    """
    newest = [k.id for k in database][-_PROTECTED:]
    protected_from = newest[0] if len(database) > _PROTECTED else newest[-1]
    replaced = {
        c.matched_id
        for c in state.closures
        if np.linalg.norm(c.T_matched_query[:3, 3]) < 0.5 and c.inliers > 0
    }
    best_id, best_cost = None, np.inf
    for members in state.segments.values():
        for before, middle, after in zip(members, members[1:], members[2:]):
            if middle >= protected_from or middle not in database:
                continue
            a, b = state.nodes[before].T_odom_cam, state.nodes[after].T_odom_cam
            turn = float(np.linalg.norm(rotation_log(a[:3, :3].T @ b[:3, :3])))
            cost = float(np.linalg.norm(b[:3, 3] - a[:3, 3])) + turn
            cost *= 0.5 if middle in replaced else 1.0
            if cost < best_cost:
                best_id, best_cost = middle, cost
    if best_id is not None:
        return best_id
    return next(iter(database)).id
