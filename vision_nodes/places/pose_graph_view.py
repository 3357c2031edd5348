"""The pose graph as retrieval sees it: keyframes in, opinions out."""

from __future__ import annotations

from vision_nodes.datatypes import LoopClosure
from vision_nodes.places.closure_gate import Verdict
from vision_nodes.places.graph_state import Node
from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.pose_graph import PoseGraph
from vision_nodes.places.proximity import view_neighbours

NOT_STORED = -1  # id of a query that is not added to the map


class PoseGraphView:
    """Implements `retrieval.GraphView` on a `PoseGraph`."""

    def __init__(self, graph: PoseGraph) -> None:
        self._graph = graph

    def expected(self, query: Keyframe, below_id: int | None, count: int) -> list[int]:
        """Keyframes in view of where odometry puts the query."""
        node = self._node(query)
        if node is None or node.T_map_cam is None:
            return []
        return view_neighbours(self._graph.state, node.T_map_cam, node.depth, below_id, count)

    def around(self, query: Keyframe, closure: LoopClosure, below_id: int | None, count: int) -> list[int]:
        """Keyframes in view of where `closure` puts the query."""
        matched = self._graph.state.nodes.get(closure.matched_id)
        if matched is None or matched.T_map_cam is None:
            return []
        T_map_query = matched.T_map_cam @ self._graph.in_map_unit(closure).T_matched_query
        return view_neighbours(self._graph.state, T_map_query, matched.depth, below_id, count)

    def weigh(self, query: Keyframe, closure: LoopClosure) -> Verdict | None:
        """What odometry and the other closures say; None when one side has no odometry."""
        node = self._node(query)
        if node is None or closure.matched_id not in self._graph.state.nodes:
            return None
        if query.id != NOT_STORED:
            return self._graph.add_closure(closure)
        return self._graph.check_localisation(node, closure)

    def _node(self, query: Keyframe) -> Node | None:
        if query.T_odom_cam is None:
            return None
        if query.id != NOT_STORED:
            return self._graph.state.nodes[query.id]
        return self._graph.state.query_node(NOT_STORED, query.segment, query.T_odom_cam, query.median_depth)
