"""Decides which verified closures may act on the map.

Geometry alone cannot tell a place from its twin. A closure must also be possible given how far the robot
has travelled, and where odometry predicts too little to tell, a second closure from another keyframe must
agree with it (pairwise consistency: Mangelson et al., ICRA 2018).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np

from vision_nodes.datatypes import LoopClosure
from vision_nodes.places.graph_state import GraphState, Node, scene_depth
from vision_nodes.places.rigid import angle_between, inverse
from vision_nodes.places.settings import GraphSettings

_PENDING = 30  # closures that wait for one that agrees
_SYSTEMATIC_DEPTHS = (
    0.012  # of the scene depth: closures carry errors their covariance does not know (landmarks, calibration)
)
_SYSTEMATIC_RAD = np.deg2rad(1.5)


class Verdict(str, Enum):
    """What became of a verified closure."""

    ACCEPTED = "accepted"
    PENDING = "pending"  # possible, but nothing confirms it yet
    REFUSED = "refused"  # contradicts odometry or the closures already in use


@dataclass(frozen=True)
class _Waiting:
    closure: LoopClosure
    query: Node


class ClosureGate:
    """Weighs closures against the odometry chain and against each other."""

    def __init__(self, settings: GraphSettings, state: GraphState) -> None:
        self._settings = settings
        self._state = state
        self._waiting: deque[_Waiting] = deque(maxlen=_PENDING)
        self._used_unstored: deque[_Waiting] = deque(
            maxlen=_PENDING
        )  # localisation: accepted, not in the graph

    def judge(self, closure: LoopClosure, query: Node | None = None) -> tuple[Verdict, list[LoopClosure]]:
        """The verdict, and the closures to use now: this one and any it confirmed.

        Args:
            closure: a geometrically verified closure between two nodes.
            query: the query's node when it is not stored in the graph (localisation).
        """
        stored = query is None
        query = self._state.nodes[closure.query_id] if query is None else query
        prediction = self._predict(closure, query)
        if prediction is not None:
            sigma_m = prediction[1]
            depth = scene_depth(self._state.nodes[closure.matched_id], query)
            if not self._agree(closure, depth, prediction):
                return Verdict.REFUSED, []
            if sigma_m <= self._settings.closure_trust_depths * depth:
                return Verdict.ACCEPTED, self._accept(closure, query, stored, [])
        confirmed = [w for w in self._waiting if self._confirms(w, closure, query)]
        if confirmed:
            self._waiting = deque((w for w in self._waiting if w not in confirmed), maxlen=_PENDING)
            return Verdict.ACCEPTED, self._accept(closure, query, stored, confirmed)
        self._waiting.append(_Waiting(closure, query))
        return Verdict.PENDING, []

    def _accept(
        self, closure: LoopClosure, query: Node, stored: bool, confirmed: list[_Waiting]
    ) -> list[LoopClosure]:
        if not stored:
            self._used_unstored.append(_Waiting(closure, query))
            return [closure]
        nodes = self._state.nodes
        usable = [
            w.closure for w in confirmed if w.closure.query_id in nodes and w.closure.matched_id in nodes
        ]
        return [*usable, closure]

    def _predict(self, closure: LoopClosure, query: Node) -> tuple[np.ndarray, float, float] | None:
        """T_matched_query by the least uncertain way, with its 1-sigma in metres and radians."""
        matched = self._state.nodes[closure.matched_id]
        best: tuple[np.ndarray, float, float] | None = None
        if matched.segment == query.segment:
            sigma_m, sigma_rad = self._chain_sigmas(matched, query)
            best = inverse(matched.T_odom_cam) @ query.T_odom_cam, sigma_m, sigma_rad
        used = [_Waiting(c, self._state.nodes[c.query_id]) for c in self._state.closures]
        for other in [*used, *self._used_unstored]:
            way = self._by_way_of(other.closure, other.query, matched, query)
            if way is not None and (best is None or way[1] < best[1]):
                best = way
        return best

    def _by_way_of(
        self, other: LoopClosure, other_query: Node, matched: Node, query: Node
    ) -> tuple[np.ndarray, float, float] | None:
        """T_matched_query through another closure and the odometry at both of its ends."""
        other_matched = self._state.nodes.get(other.matched_id)
        if other_matched is None or other_matched.segment != matched.segment:
            return None
        if other_query.segment != query.segment:
            return None
        T_matched_other = inverse(matched.T_odom_cam) @ other_matched.T_odom_cam
        T_other_query = inverse(other_query.T_odom_cam) @ query.T_odom_cam
        sigma_1 = self._chain_sigmas(matched, other_matched)
        sigma_2 = self._chain_sigmas(other_query, query)
        own_m = float(np.sqrt(np.trace(other.covariance[:3, :3])))
        own_rad = float(np.sqrt(np.trace(other.covariance[3:, 3:])))
        lever = float(np.linalg.norm(T_other_query[:3, 3]))
        sigma_rad = float(np.sqrt(sigma_1[1] ** 2 + sigma_2[1] ** 2 + own_rad**2 + _SYSTEMATIC_RAD**2))
        variance_m = (
            sigma_1[0] ** 2
            + sigma_2[0] ** 2
            + own_m**2
            + (_SYSTEMATIC_DEPTHS * scene_depth(matched, query)) ** 2
        )
        sigma_m = float(np.sqrt(variance_m + (np.hypot(own_rad, _SYSTEMATIC_RAD) * lever) ** 2))
        return T_matched_other @ other.T_matched_query @ T_other_query, sigma_m, sigma_rad

    def _chain_sigmas(self, a: Node, b: Node) -> tuple[float, float]:
        """1-sigma of the odometry between two nodes of a segment, the rotation's lever included."""
        sigma_m, sigma_rad = self._state.step_sigmas(a, b)
        chord = float(np.linalg.norm(b.T_odom_cam[:3, 3] - a.T_odom_cam[:3, 3]))
        return float(np.hypot(sigma_m, sigma_rad * chord)), sigma_rad

    def _agree(self, closure: LoopClosure, depth: float, prediction: tuple[np.ndarray, float, float]) -> bool:
        T_predicted, sigma_m, sigma_rad = prediction
        T, gate = closure.T_matched_query, self._settings.closure_gate
        own_m = np.sqrt(np.trace(closure.covariance[:3, :3])) + _SYSTEMATIC_DEPTHS * depth
        own_rad = np.sqrt(np.trace(closure.covariance[3:, 3:])) + _SYSTEMATIC_RAD
        distance = float(np.linalg.norm(T[:3, 3] - T_predicted[:3, 3]))
        angle = angle_between(T, T_predicted)
        return bool(
            distance <= gate * np.hypot(sigma_m, own_m) and angle <= gate * np.hypot(sigma_rad, own_rad)
        )

    def _confirms(self, waiting: _Waiting, closure: LoopClosure, query: Node) -> bool:
        """True when a waiting closure of another keyframe says the same, and says it sharply."""
        if waiting.query.id == query.id and np.allclose(waiting.query.T_odom_cam, query.T_odom_cam):
            return False
        matched = self._state.nodes.get(closure.matched_id)
        if matched is None:
            return False
        way = self._by_way_of(waiting.closure, waiting.query, matched, query)
        depth = scene_depth(matched, query)
        if way is None or way[1] > self._settings.closure_trust_depths * depth:
            return False
        return self._agree(closure, depth, way)
