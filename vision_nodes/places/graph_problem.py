"""The pose graph as the solver's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from vision_nodes.places.graph_solver import GraphProblem
from vision_nodes.places.graph_state import GraphState
from vision_nodes.places.rigid import inverse


def graph_problem(state: GraphState) -> tuple[list[int], GraphProblem]:
    """Ids in row order, and the solver's arrays, of all nodes whose place in the map is known."""
    islands = state.islands
    ids = [i for i, node in state.nodes.items() if node.T_map_cam is not None]
    row = {keyframe_id: r for r, keyframe_id in enumerate(ids)}
    steps = [(a, b) for a, b in state.odometry_pairs() if a in row and b in row]
    closures = [c for c in state.closures if c.matched_id in row and c.query_id in row]
    anchors: dict[int, int] = {}
    for keyframe_id in ids:
        anchors.setdefault(islands[state.nodes[keyframe_id].segment], row[keyframe_id])
    nodes = state.nodes
    return ids, GraphProblem(
        T_map_cam=_stack([nodes[i].T_map_cam for i in ids], (4, 4)),
        odometry_pairs=_stack([(row[a], row[b]) for a, b in steps], (2,)).astype(np.int64),
        odometry_T=_stack([inverse(nodes[a].T_odom_cam) @ nodes[b].T_odom_cam for a, b in steps], (4, 4)),
        odometry_sigmas=_stack([state.step_sigmas(nodes[a], nodes[b]) for a, b in steps], (2,)),
        closure_pairs=_stack([(row[c.matched_id], row[c.query_id]) for c in closures], (2,)).astype(np.int64),
        closure_T=_stack([c.T_matched_query for c in closures], (4, 4)),
        closure_covariances=_stack([c.covariance for c in closures], (6, 6)),
        odometry_scale_sigmas=_stack([state.scale_sigma(nodes[a], nodes[b]) for a, b in steps], ()),
        closure_log_scales=_stack([c.log_scale for c in closures], ()),
        closure_scale_sigmas=_stack([c.log_scale_sigma for c in closures], ()),
        anchors=np.array(sorted(anchors.values()), dtype=np.int64),
    )


def _stack(items: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    return np.array(items, dtype=np.float64).reshape(len(items), *shape)
