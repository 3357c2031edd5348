"""Keyframe poses in the map frame: odometry chains joined and corrected by verified closures.

A stretch of unbroken odometry is a *segment*. Segments not yet joined by closures are islands: their place
in the map is a guess (the odom frame carries on) or unknown (after loading a map), and they never share a
solve with the main map. The optimisation runs in the worker process; between solves, new keyframes follow
their segment's last correction.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from vision_nodes.datatypes import LoopClosure
from vision_nodes.places.closure_gate import ClosureGate, Verdict
from vision_nodes.places.graph_problem import graph_problem
from vision_nodes.places.graph_solver import GraphProblem, GraphSolution, solve_graph
from vision_nodes.places.graph_state import GraphState, Node
from vision_nodes.places.rigid import interpolate, inverse, orthonormalised
from vision_nodes.places.settings import GraphSettings
from vision_nodes.solver_process import SolverProcess

LOGGER = logging.getLogger(__name__)
_CLOSURE_ERROR_LIMIT = 40.0  # squared Mahalanobis, 6 dof: far outside anything Gaussian
_MAX_SOLVES_IN_A_ROW = 4  # each drops at least one closure or is the last


def graph_worker(timeout_s: float) -> SolverProcess[GraphProblem, GraphSolution]:
    """The pose-graph solver in a process of its own: GTSAM's binding holds the GIL for a whole solve."""
    return SolverProcess(solve_graph, "the pose graph", timeout_s)


class PoseGraph:
    """Add keyframes and closures as they come; read poses, edges and map -> odom at any time."""

    def __init__(
        self,
        settings: GraphSettings,
        state: GraphState | None = None,
        worker: SolverProcess[GraphProblem, GraphSolution] | None = None,
    ) -> None:
        self._settings = settings
        self.state = GraphState(settings) if state is None else state
        self._gate = ClosureGate(settings, self.state)
        self._worker = graph_worker(settings.solve_timeout_s) if worker is None else worker
        self._dirty = False
        self._submitted_ids: list[int] = []
        self._submitted_closures: list[LoopClosure] = []
        self._T_map_odom: np.ndarray | None = None
        self._smoothed_at_ns: int | None = None
        self._segment: int | None = None
        self.version = 0

    def close(self) -> None:
        """Stop the solver process."""
        self._worker.close()

    @property
    def T_map_odom(self) -> np.ndarray | None:
        """(4, 4) correction of the odometry, moving smoothly; None while the place in the map is unknown."""
        return self._T_map_odom

    @property
    def solver_pid(self) -> int | None:
        """Process id of the solver, None before the first solve."""
        return self._worker.pid

    def add_keyframe(
        self, keyframe_id: int, segment: int, T_odom_cam: np.ndarray, depth: float = float("nan")
    ) -> None:
        """Append a keyframe to its segment; the first of a segment starts one, without an edge to the last."""
        self.state.add(keyframe_id, segment, T_odom_cam, depth, self._T_map_odom)
        self.version += 1

    def remove_keyframe(self, keyframe_id: int) -> None:
        """Forget a keyframe; its neighbours stay joined and its closures move to one of them."""
        self.state.remove(keyframe_id)
        self.version += 1

    def add_closure(self, closure: LoopClosure) -> Verdict:
        """Weigh a verified closure against odometry and the other closures, then use it or not."""
        verdict, accepted = self._gate.judge(closure)
        for each in accepted:
            self.state.accept(each)
        if accepted:
            self._dirty = True
            self.version += 1
        return verdict

    def check_localisation(self, query: Node, closure: LoopClosure) -> Verdict:
        """Weigh a closure of a query that is not stored, and move map -> odom by it when accepted."""
        verdict, accepted = self._gate.judge(closure, query)
        matched = self.state.nodes[closure.matched_id]
        if accepted and matched.T_map_cam is not None:
            T_map_query = matched.T_map_cam @ self.in_map_unit(closure).T_matched_query
            T_map_odom = T_map_query @ inverse(query.T_odom_cam)
            self.state.place_segment(query.segment, orthonormalised(T_map_odom))
        return verdict

    def in_map_unit(self, closure: LoopClosure) -> LoopClosure:
        """The closure with its lengths in the map's unit instead of that of the odometry at its matched end."""
        node = self.state.nodes.get(closure.matched_id)
        if node is None or node.log_scale == 0.0:
            return closure
        scale = float(np.exp(node.log_scale))
        T, covariance = closure.T_matched_query.copy(), closure.covariance.copy()
        T[:3, 3] *= scale
        covariance[:3, :] *= scale
        covariance[:, :3] *= scale
        return replace(closure, T_matched_query=T, covariance=covariance)

    def anchor(self, segment: int, T_map_odom: np.ndarray) -> bool:
        """Put a segment whose place is unknown at `T_map_odom` (4, 4), at once; False when it has a place."""
        if self.state.T_map_odom(segment) is not None:
            return False
        self.state.place_segment(segment, orthonormalised(T_map_odom))
        self.version += 1
        return True

    def update(self, stamp_ns: int, segment: int | None, T_odom_cam: np.ndarray | None) -> None:
        """Exchange with the solver, then move map -> odom towards its target. Called for every frame."""
        self._exchange()
        if segment is not None and T_odom_cam is not None:
            self._smooth(stamp_ns, segment, T_odom_cam)

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Keyframe id -> (4, 4) T_map_cam of all keyframes whose place in the map is known."""
        return {i: n.T_map_cam for i, n in self.state.nodes.items() if n.T_map_cam is not None}

    def edges(self) -> list[tuple[int, int, bool]]:
        """(from id, to id, is a closure) between keyframes with a place in the map."""
        known = self.keyframe_poses()
        pairs = [(a, b, False) for a, b in self.state.odometry_pairs()]
        pairs += [(c.matched_id, c.query_id, True) for c in self.state.closures]
        return [edge for edge in pairs if edge[0] in known and edge[1] in known]

    def _exchange(self) -> None:
        for _ in range(_MAX_SOLVES_IN_A_ROW):
            if self._worker.busy:
                solution = self._worker.result(wait=self._settings.lock_step)
                if solution is not None:
                    self._apply(solution)
                elif self._worker.busy:
                    return
            if not self._dirty or not self._submit():
                return
            if not self._settings.lock_step:
                return

    def _submit(self) -> bool:
        ids, problem = graph_problem(self.state)
        if not len(problem.closure_pairs):
            self._dirty = False
            return False
        self._submitted_ids, self._submitted_closures = ids, list(self.state.closures)
        self._dirty = not self._worker.submit(problem)
        return not self._dirty

    def _apply(self, solution: GraphSolution) -> None:
        """Take over the poses, unless a closure still contradicts them: then drop it and solve again."""
        worst = solution.closure_errors > _CLOSURE_ERROR_LIMIT
        if worst.any():
            dropped = [c for c, bad in zip(self._submitted_closures, worst) if bad]
            for closure in dropped:
                self.state.drop(closure)
                LOGGER.info(
                    "closure %d-%d dropped: the graph contradicts it", closure.matched_id, closure.query_id
                )
            self._dirty = True
            return
        self.state.take_over(self._submitted_ids, solution.T_map_cam, solution.log_scales)
        self.version += 1

    def _smooth(self, stamp_ns: int, segment: int, T_odom_cam: np.ndarray) -> None:
        target = self.state.T_map_odom(segment)
        if target is None and segment != self._segment and self.state.is_first(segment):
            target = np.eye(4)  # the map starts here: its frame is the odom frame by definition
        self._segment = segment
        previous, self._smoothed_at_ns = self._smoothed_at_ns, stamp_ns
        if target is None:
            return
        if self._T_map_odom is None or previous is None or stamp_ns < previous:
            self._T_map_odom = target
            return
        fraction = 1.0 - float(np.exp(-(stamp_ns - previous) * 1e-9 / self._settings.smoothing_s))
        # Interpolating at the camera keeps the robot's own motion short; at the odom origin a small rotation
        # would swing a distant robot through the map.
        T_map_cam = interpolate(self._T_map_odom @ T_odom_cam, target @ T_odom_cam, fraction)
        self._T_map_odom = orthonormalised(T_map_cam @ inverse(T_odom_cam))
