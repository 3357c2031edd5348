"""What the pose graph knows: nodes, segments, accepted closures. Arrays for the solver are made from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from vision_nodes.datatypes import LoopClosure
from vision_nodes.places.rigid import angle_between, inverse, orthonormalised
from vision_nodes.places.settings import GraphSettings

_ASSUMED_DEPTH = 3.0  # before any landmark exists


@dataclass
class Node:
    """A keyframe with odometry."""

    id: int
    segment: int
    T_odom_cam: np.ndarray  # (4, 4)
    travelled_m: float  # along the segment since its first node
    T_map_cam: np.ndarray | None  # (4, 4); None while the segment's place in the map is unknown
    depth: float  # median depth of the scene here, odometry's unit: the yardstick of everything else
    log_scale: float = 0.0  # log(map unit / odometry's unit here): monocular odometry drifts in scale


class GraphState:
    """Nodes by id in order, node ids per segment, closures, and which segments hang together."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self.nodes: dict[int, Node] = {}
        self.segments: dict[int, list[int]] = {}
        self.closures: list[LoopClosure] = []
        self._island: dict[int, int] = {}  # segment -> representative segment of its joined group
        self._T_map_odom: dict[int, np.ndarray] = {}

    def add(
        self,
        keyframe_id: int,
        segment: int,
        T_odom_cam: np.ndarray,
        depth: float,
        T_map_odom: np.ndarray | None,
    ) -> None:
        """Append a node. A new segment starts at `T_map_odom`, a guess; the very first one at identity."""
        if segment not in self.segments:
            if segment not in self._T_map_odom:
                first = np.eye(4) if not self.segments else T_map_odom
                if first is not None:
                    self._T_map_odom[segment] = first
            self.segments[segment] = []
            self._island.setdefault(segment, segment)
        node = self.query_node(keyframe_id, segment, T_odom_cam, depth)
        self.segments[segment].append(keyframe_id)
        self.nodes[keyframe_id] = node
        self._follow(segment, node)

    def _follow(self, segment: int, node: Node) -> None:
        """From here on the segment's poses go with this node."""
        if node.T_map_cam is not None:
            self._T_map_odom[segment] = orthonormalised(node.T_map_cam @ inverse(node.T_odom_cam))

    def query_node(self, keyframe_id: int, segment: int, T_odom_cam: np.ndarray, depth: float) -> Node:
        """A node at the end of its segment, not stored. A NaN depth is taken from the node before."""
        members = self.segments.get(segment)
        travelled = 0.0
        if members:
            last = self.nodes[members[-1]]
            depth = depth if np.isfinite(depth) else last.depth
            travelled = last.travelled_m + float(np.linalg.norm(T_odom_cam[:3, 3] - last.T_odom_cam[:3, 3]))
            if last.T_map_cam is not None:
                T_map_cam = following(last, T_odom_cam)
                return Node(
                    keyframe_id, segment, T_odom_cam.copy(), travelled, T_map_cam, depth, last.log_scale
                )
        T_map_odom = self._T_map_odom.get(segment)
        corrected = None if T_map_odom is None else T_map_odom @ T_odom_cam
        return Node(keyframe_id, segment, T_odom_cam.copy(), travelled, corrected, depth)

    def restore(self, nodes: list[Node], closures: list[LoopClosure], islands: dict[int, int]) -> None:
        """Take over a loaded map."""
        for node in nodes:
            self.nodes[node.id] = node
            self.segments.setdefault(node.segment, []).append(node.id)
            if node.T_map_cam is not None:
                self._T_map_odom[node.segment] = orthonormalised(node.T_map_cam @ inverse(node.T_odom_cam))
        self.closures = list(closures)
        self._island = dict(islands)

    @property
    def islands(self) -> dict[int, int]:
        """Segment -> the segment that represents its joined group."""
        return dict(self._island)

    def is_first(self, segment: int) -> bool:
        """True when no other segment exists."""
        return all(s == segment for s in self.segments)

    def same_island(self, segment_a: int, segment_b: int) -> bool:
        """True when closures or odometry tie both segments together."""
        return self._island.get(segment_a, segment_a) == self._island.get(segment_b, segment_b)

    def T_map_odom(self, segment: int) -> np.ndarray | None:
        """(4, 4) the segment's present correction; None when its place is unknown."""
        return self._T_map_odom.get(segment)

    def place_segment(self, segment: int, T_map_odom: np.ndarray) -> None:
        """Put a segment (and its nodes) somewhere in the map."""
        self._T_map_odom[segment] = T_map_odom
        for keyframe_id in self.segments.get(segment, []):
            node = self.nodes[keyframe_id]
            node.T_map_cam = T_map_odom @ node.T_odom_cam

    def remove(self, keyframe_id: int) -> None:
        """Forget a node; closures that touched it are carried over to its neighbour by odometry."""
        node = self.nodes.pop(keyframe_id, None)
        if node is None:
            return
        members = self.segments[node.segment]
        position = members.index(keyframe_id)
        members.remove(keyframe_id)
        if not members:
            self.closures = [c for c in self.closures if keyframe_id not in (c.matched_id, c.query_id)]
            return
        heir = self.nodes[members[max(position - 1, 0)]]
        T_heir_node = inverse(heir.T_odom_cam) @ node.T_odom_cam
        self._replace_closures([self._moved(c, node, heir, T_heir_node) for c in self.closures])

    def _replace_closures(self, closures: list[LoopClosure]) -> None:
        """The sharpest closure of each pair: passes that are forgotten again must not pile theirs up."""
        best: dict[tuple[int, int], LoopClosure] = {}
        for closure in closures:
            pair = (closure.matched_id, closure.query_id)
            known = best.get(pair)
            sharper = known is None or np.trace(closure.covariance) < np.trace(known.covariance)
            if pair[0] != pair[1] and sharper:
                best[pair] = closure
        self.closures = list(best.values())

    def _moved(self, closure: LoopClosure, node: Node, heir: Node, T_heir_node: np.ndarray) -> LoopClosure:
        sigma_m, sigma_rad = self.step_sigmas(heir, node)
        extra = np.diag(np.repeat([sigma_m**2, sigma_rad**2], 3))
        if closure.matched_id == node.id:
            R = np.kron(np.eye(2), T_heir_node[:3, :3])
            return replace(
                closure,
                matched_id=heir.id,
                T_matched_query=T_heir_node @ closure.T_matched_query,
                covariance=R @ closure.covariance @ R.T + extra,
            )
        if closure.query_id == node.id:
            T = closure.T_matched_query @ inverse(T_heir_node)
            return replace(
                closure, query_id=heir.id, T_matched_query=T, covariance=closure.covariance + extra
            )
        return closure

    def step_sigmas(self, a: Node, b: Node) -> tuple[float, float]:
        """1-sigma of the odometry between two nodes of one segment: metres, radians."""
        s = self._settings
        distance = abs(b.travelled_m - a.travelled_m)
        turn = angle_between(a.T_odom_cam, b.T_odom_cam)
        depth = scene_depth(a, b)
        sigma_m = float(np.hypot(s.odometry_sigma_depths * depth, s.odometry_drift * distance))
        drift_deg = s.odometry_sigma_deg + s.odometry_drift_deg * distance / depth
        # A turn is where visual odometry slips most: 1 % of its angle.
        return sigma_m, float(np.hypot(np.deg2rad(drift_deg), 0.01 * turn))

    def scale_sigma(self, a: Node, b: Node) -> float:
        """1-sigma by which the odometry's unit drifts between two nodes of one segment, log."""
        depths = abs(b.travelled_m - a.travelled_m) / scene_depth(a, b)
        turn = angle_between(a.T_odom_cam, b.T_odom_cam)  # new scenery is met by turning as by driving
        return self._settings.scale_drift * float(np.sqrt(depths + turn + 1e-3))

    def odometry_pairs(self) -> list[tuple[int, int]]:
        """Neighbouring node ids of every segment."""
        return [pair for members in self.segments.values() for pair in pairwise(members)]

    def accept(self, closure: LoopClosure) -> None:
        """Use a closure; joins two islands when it connects them, moving the one that is not the map's."""
        matched, query = self.nodes[closure.matched_id], self.nodes[closure.query_id]
        self.closures.append(closure)
        if self.same_island(matched.segment, query.segment):
            return
        main = self._island[next(iter(self.segments))]
        fixed, moved, T_fixed_moved = matched, query, closure.T_matched_query
        if self._island[query.segment] == main or matched.T_map_cam is None:
            fixed, moved, T_fixed_moved = query, matched, inverse(closure.T_matched_query)
        old, new = self._island[moved.segment], self._island[fixed.segment]
        if fixed.T_map_cam is not None:
            self._move_island(old, moved, fixed.T_map_cam @ T_fixed_moved)
        for segment, island in self._island.items():
            if island == old:
                self._island[segment] = new

    def _move_island(self, island: int, node: Node, T_map_node: np.ndarray) -> None:
        """Rigidly move all segments of an island so that `node` gets its new pose."""
        members = [s for s, i in self._island.items() if i == island]
        if node.T_map_cam is None:
            self.place_segment(node.segment, orthonormalised(T_map_node @ inverse(node.T_odom_cam)))
            return
        T_new_old = orthonormalised(T_map_node @ inverse(node.T_map_cam))
        for segment in members:
            if segment in self._T_map_odom:
                self._T_map_odom[segment] = T_new_old @ self._T_map_odom[segment]
            for keyframe_id in self.segments.get(segment, []):
                member = self.nodes[keyframe_id]
                if member.T_map_cam is not None:
                    member.T_map_cam = T_new_old @ member.T_map_cam

    def drop(self, closure: LoopClosure) -> None:
        """Stop using a closure."""
        self.closures = [c for c in self.closures if c is not closure]

    def take_over(self, ids: list[int], T_map_cam: np.ndarray, log_scales: np.ndarray) -> None:
        """Use solved poses; nodes added since follow their segment's last solved node."""
        solved = {i: (T, s) for i, T, s in zip(ids, T_map_cam, log_scales) if i in self.nodes}
        for segment, members in self.segments.items():
            inside = [i for i in members if i in solved]
            for keyframe_id in inside:
                node = self.nodes[keyframe_id]
                node.T_map_cam, node.log_scale = (
                    orthonormalised(solved[keyframe_id][0]),
                    solved[keyframe_id][1],
                )
            if not inside:
                continue
            last = self.nodes[inside[-1]]
            for keyframe_id in members[members.index(inside[-1]) + 1 :]:
                node = self.nodes[keyframe_id]
                node.T_map_cam, node.log_scale = following(last, node.T_odom_cam), last.log_scale
                last = node
            self._follow(segment, last)


def following(last: Node, T_odom_cam: np.ndarray) -> np.ndarray:
    """(4, 4) T_map_cam of a pose after `last`, its way from there in the map's unit."""
    assert last.T_map_cam is not None
    T_last_cam = inverse(last.T_odom_cam) @ T_odom_cam
    T_last_cam[:3, 3] *= np.exp(last.log_scale)
    return orthonormalised(last.T_map_cam @ T_last_cam)


def scene_depth(a: Node, b: Node) -> float:
    """Typical depth around two nodes, odometry's unit."""
    known = [d for d in (a.depth, b.depth) if np.isfinite(d)]
    return float(np.mean(known)) if known else _ASSUMED_DEPTH
