"""Place recognition: frames in, ranked matches and verified loop closures out, a corrected map beside.

No ROS and no network here: the descriptor comes as a callable that is only called for keyframes.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from vision_nodes.datatypes import DepthMap, LoopClosure, PlaceResult
from vision_nodes.errors import ConfigError, FrameError
from vision_nodes.places.keyframe_maker import DescriptorSource, KeyframeMaker
from vision_nodes.places.keyframes import NO_SEGMENT, Keyframe, KeyframeDatabase, KeyframePolicy
from vision_nodes.places.landmarks import LandmarkBuilder
from vision_nodes.places.localisation import Localisation, located
from vision_nodes.places.map_arrays import arrays_from_map
from vision_nodes.places.map_file import load_place_map, save_map_arrays
from vision_nodes.places.pose_graph import PoseGraph
from vision_nodes.places.pose_graph_view import NOT_STORED, PoseGraphView
from vision_nodes.places.retrieval import Retrieval
from vision_nodes.places.rigid import inverse
from vision_nodes.places.segments import SegmentTracker
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.places.sparsification import Forgetting
from vision_nodes.preprocess.frame import Frame

MODES = ("mapping", "localisation")


class PlaceRecogniser:
    """One camera's places. Methods may be called from several threads; each runs alone."""

    def __init__(self, settings: PlaceSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._maker = KeyframeMaker(settings)
        self._policy = KeyframePolicy(settings)
        self._segments = SegmentTracker()
        self._landmarks = LandmarkBuilder()
        self._database = KeyframeDatabase()
        self._retrieval = Retrieval(settings, self._database)
        self._graph = PoseGraph(settings)
        self._graph_view = PoseGraphView(self._graph)
        self._mode = "mapping"
        self._landmark_segment = NO_SEGMENT
        self._forgetting = Forgetting(settings)
        self._newest: tuple[Frame, np.ndarray | None, DepthMap | None] | None = None

    def close(self) -> None:
        """Stop the solver process."""
        self._graph.close()

    def __enter__(self) -> PlaceRecogniser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def T_map_odom(self) -> np.ndarray | None:
        """(4, 4) map <- odom, moving smoothly; None while the place in a loaded map is unknown."""
        return self._graph.T_map_odom

    @property
    def graph_version(self) -> int:
        """Changes whenever poses or edges did."""
        return self._graph.version

    @property
    def keyframe_count(self) -> int:
        """Keyframes in the map."""
        return len(self._database)

    @property
    def memory_bytes(self) -> int:
        """Memory of keyframes and index, bytes."""
        return self._database.memory_bytes + len(self._database) * self._retrieval.bytes_per_keyframe

    @property
    def solver_pid(self) -> int | None:
        """Process id of the pose-graph solver; None before its first use."""
        return self._graph.solver_pid

    @property
    def mode(self) -> str:
        """mapping or localisation."""
        return self._mode

    def set_mode(self, mode: str) -> None:
        """`mapping` adds keyframes; `localisation` only looks them up.

        Raises:
            ConfigError: another word.
        """
        if mode not in MODES:
            raise ConfigError(f"a mode among {', '.join(MODES)}", repr(mode), "choose one of these")
        with self._lock:
            self._mode = mode

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Keyframe id -> (4, 4) T_map_cam."""
        with self._lock:
            return self._graph.keyframe_poses()

    def keyframe_stamps(self) -> dict[int, int]:
        """Keyframe id -> stamp of its image, ns."""
        with self._lock:
            return {keyframe.id: keyframe.stamp_ns for keyframe in self._database}

    def edges(self) -> list[tuple[int, int, bool]]:
        """(from id, to id, is a closure)."""
        with self._lock:
            return self._graph.edges()

    def keyframe_image(self, match: LoopClosure | int | None) -> np.ndarray | None:
        """(h, w, 3) uint8 RGB thumbnail of a closure's matched keyframe or of a keyframe id."""
        keyframe_id = match.matched_id if isinstance(match, LoopClosure) else match
        with self._lock:
            if keyframe_id is None or keyframe_id not in self._database:
                return None
            return self._database[keyframe_id].thumbnail()

    def process(
        self,
        frame: Frame,
        descriptor: DescriptorSource,
        T_odom_cam: np.ndarray | None,
        depth: DepthMap | None = None,
    ) -> PlaceResult | None:
        """One frame with its odometry answer; None when it is no keyframe.

        Args:
            frame: rectified frame; without calibration matches are ranked but never verified.
            descriptor: (D,) float32 global descriptor, or a function of the frame, called for keyframes only.
            T_odom_cam: (4, 4) camera pose; None while odometry is absent or lost.
            depth: depth of the same frame, fills landmarks that cannot be triangulated.

        Raises:
            FrameError: the pose or the descriptor cannot be used; nothing was changed.
        """
        with self._lock:
            T_odom_cam = self._maker.checked_pose(T_odom_cam)
            segment = self._segments.update(frame, T_odom_cam)
            self._newest = frame, T_odom_cam, depth
            has_pose = T_odom_cam is not None
            self._graph.update(frame.stamp_ns, segment if has_pose else None, T_odom_cam)
            if not self._policy.wants(frame.stamp_ns, segment, T_odom_cam):
                return None
            keyframe = self._maker.make(frame, descriptor, self._database.next_id)
            self._retrieval.check(keyframe)
            keyframe.segment, keyframe.T_odom_cam = segment, T_odom_cam
            self._add_landmarks(keyframe, frame, depth)
            self._policy.accept(keyframe)
            result = self._recognise(keyframe)
            self._graph.update(frame.stamp_ns, segment if has_pose else None, T_odom_cam)
            if result.closure is None:
                return result
            return replace(result, closure=self._graph.in_map_unit(result.closure))

    def localize(
        self, frame: Frame, descriptor: DescriptorSource, depth: DepthMap | None = None
    ) -> Localisation:
        """Look a frame up in the whole map without adding it and without a pose hint.

        The result's `keyframe_id` is -1. Raises FrameError when the descriptor cannot be used.
        """
        with self._lock:
            keyframe = self._maker.make(frame, descriptor, NOT_STORED)
            self._retrieval.check(keyframe)
            LandmarkBuilder().add(keyframe, *self._maker.sampled_depth(keyframe, frame, depth))
            result = self._retrieval.lookup(keyframe)
            if result.closure is not None:
                result = replace(result, closure=self._graph.in_map_unit(result.closure))
            return located(frame, result, self._graph.keyframe_poses())

    def localize_newest(self, descriptor: DescriptorSource) -> Localisation:
        """`localize` of the newest frame; when it succeeds, odometry whose place was unknown goes on from there.

        Raises:
            FrameError: no frame has come yet.
        """
        with self._lock:
            if self._newest is None:
                raise FrameError("a frame to localise", "none so far", "start the camera")
            frame, T_odom_cam, depth = self._newest
            answer = self.localize(frame, descriptor, depth)
            if answer.T_map_cam is not None and T_odom_cam is not None:
                self._graph.anchor(self._segments.current, answer.T_map_cam @ inverse(T_odom_cam))
            return answer

    def save_map(self, path: str | Path) -> None:
        """Write everything to one file, atomically. Raises MapError when that is not possible."""
        with self._lock:  # for the copy only: frames go on while the disk writes
            arrays = arrays_from_map(list(self._database), self._graph.state)
        save_map_arrays(path, self._settings.descriptor_model, arrays)

    def load_map(self, path: str | Path) -> None:
        """Replace the present map by a saved one. Raises MapError and changes nothing when it cannot."""
        loaded = load_place_map(path, self._settings)
        with self._lock:
            self._newest = None if self._newest is None else (self._newest[0], None, self._newest[2])
            self._graph.close()
            self._database = KeyframeDatabase()
            self._retrieval = Retrieval(self._settings, self._database)
            for keyframe in loaded.keyframes:
                self._database.add(keyframe)
                self._retrieval.add(keyframe)
            self._retrieval.begin_stream()
            self._graph = PoseGraph(self._settings, loaded.state)
            self._graph_view = PoseGraphView(self._graph)
            self._forgetting.restart()
            self._segments.restart_after(max(loaded.state.segments, default=NO_SEGMENT))
            self._policy.reset()
            self._landmarks.reset()

    def _add_landmarks(self, keyframe: Keyframe, frame: Frame, depth: DepthMap | None) -> None:
        if keyframe.segment != self._landmark_segment:
            self._landmarks.reset()
            self._landmark_segment = keyframe.segment
        self._landmarks.add(keyframe, *self._maker.sampled_depth(keyframe, frame, depth))

    def _recognise(self, keyframe: Keyframe) -> PlaceResult:
        store = self._mode == "mapping"
        if not store:
            keyframe.id = NOT_STORED
        elif keyframe.T_odom_cam is not None:
            self._graph.add_keyframe(
                keyframe.id, keyframe.segment, keyframe.T_odom_cam, keyframe.median_depth
            )
        result = self._retrieval.lookup(keyframe, self._graph_view)
        if store:
            self._database.add(keyframe)
            self._retrieval.add(keyframe)
            for victim in self._forgetting.after(keyframe.id, self._database, self._graph.state):
                self._database.remove(victim)
                self._retrieval.remove(victim)
                self._graph.remove_keyframe(victim)
        return result
