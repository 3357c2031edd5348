"""A map from pictures whose poses are known: geo-referenced photographs or an RGB-D recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vision_nodes.datatypes import DepthMap
from vision_nodes.errors import FrameError, MapError
from vision_nodes.places.graph_state import GraphState
from vision_nodes.places.keyframe_maker import DescriptorSource, KeyframeMaker
from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.landmarks import LandmarkBuilder, fill_from_depth
from vision_nodes.places.map_file import PlaceMap, save_place_map
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.preprocess.frame import Frame

SEGMENT = 0  # all keyframes are in one frame of reference


class MapBuilder:
    """Add pictures, then save. Poses are taken as they are: no graph is solved."""

    def __init__(self, settings: PlaceSettings) -> None:
        self._settings = settings
        self._maker = KeyframeMaker(settings)
        self._landmarks = LandmarkBuilder()
        self._state = GraphState(settings)
        self.keyframes: list[Keyframe] = []

    def add(
        self, frame: Frame, descriptor: DescriptorSource, T_map_cam: np.ndarray, depth: DepthMap | None = None
    ) -> Keyframe:
        """One picture.

        Args:
            frame: rectified and calibrated.
            descriptor: as of `PlaceRecogniser.process`.
            T_map_cam: (4, 4) metres.
            depth: metric depth registered to the picture. Without it landmarks are triangulated between
                pictures that follow each other.

        Raises:
            FrameError: no calibration, or a pose or descriptor that cannot be used; nothing was added.
        """
        if frame.camera is None:
            raise FrameError("a calibrated picture", "no intrinsics", "give the camera's camera_info")
        T = self._maker.checked_pose(T_map_cam)
        assert T is not None
        keyframe = self._maker.make(frame, descriptor, len(self.keyframes))
        keyframe.segment, keyframe.T_odom_cam = SEGMENT, T
        sampled, metric = self._maker.sampled_depth(keyframe, frame, depth)
        if metric:
            fill_from_depth(keyframe, sampled)
        else:
            self._landmarks.add(keyframe, np.full_like(sampled, np.nan), metric=False)
        self._state.add(keyframe.id, SEGMENT, T, keyframe.median_depth, None)
        self.keyframes.append(keyframe)
        return keyframe

    def save(self, path: str | Path) -> None:
        """Write the map file.

        Raises:
            MapError: no landmark in any picture, so that nothing could ever be localised, or it cannot be written.
        """
        for keyframe in self.keyframes:  # triangulated only once its neighbours had come
            self._state.nodes[keyframe.id].depth = keyframe.median_depth
        if not any(keyframe.has_landmark.any() for keyframe in self.keyframes):
            raise MapError(
                "pictures that overlap, with poses or depth that fit them",
                f"{len(self.keyframes)} pictures and not one landmark",
                "check poses (camera to map, optical frame) and calibration, or give depth images",
            )
        save_place_map(path, PlaceMap(self._settings.descriptor_model, self.keyframes, self._state))
