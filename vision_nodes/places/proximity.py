"""Keyframes that should look alike because the map says they are near each other."""

from __future__ import annotations

import numpy as np

from vision_nodes.places.graph_state import GraphState

_MAX_DISTANCE_DEPTHS = 0.8  # between the cameras, in scene depths: views hardly overlap beyond
_MAX_ANGLE_RAD = np.deg2rad(40.0)  # between the viewing directions
_FALLBACK_DEPTH = 3.0


def view_cost(T_a_b: np.ndarray, depth: float) -> float:
    """How different the views of two cameras are: 0 the same, beyond 1 hardly any overlap."""
    depth = depth if np.isfinite(depth) else _FALLBACK_DEPTH
    distance = float(np.linalg.norm(T_a_b[:3, 3])) / depth
    angle = float(np.arccos(np.clip(T_a_b[2, 2], -1, 1)))
    return distance / _MAX_DISTANCE_DEPTHS + angle / _MAX_ANGLE_RAD


def view_neighbours(
    state: GraphState, T_map_cam: np.ndarray, depth: float, below_id: int | None, count: int
) -> list[int]:
    """Ids of the `count` keyframes whose view overlaps most with a camera at `T_map_cam`, best first.

    Args:
        state: the graph with the keyframes' poses.
        T_map_cam: (4, 4) where the camera is thought to be.
        depth: median depth of the scene there, NaN unknown.
        below_id: only ids below this one; None = all.
        count: how many at most.
    """
    ids = [
        i
        for i, node in state.nodes.items()
        if node.T_map_cam is not None and (below_id is None or i < below_id)
    ]
    if not ids:
        return []
    poses = np.stack([state.nodes[i].T_map_cam for i in ids])  # type: ignore[misc]
    depth = depth if np.isfinite(depth) else _FALLBACK_DEPTH
    distance = np.linalg.norm(poses[:, :3, 3] - T_map_cam[:3, 3], axis=1) / depth
    angle = np.arccos((poses[:, :3, 2] @ T_map_cam[:3, 2]).clip(-1, 1))
    cost = distance / _MAX_DISTANCE_DEPTHS + angle / _MAX_ANGLE_RAD
    order = np.argsort(cost, kind="stable")[:count]
    return [ids[k] for k in order if distance[k] < _MAX_DISTANCE_DEPTHS and angle[k] < _MAX_ANGLE_RAD]
