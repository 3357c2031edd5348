"""Joins late depth with the frame it belongs to, and keeps the map in metres once that is possible."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap, ScaleState
from vision_nodes.odometry.local_map import LocalMap
from vision_nodes.odometry.scale import (
    SENSOR_BIAS,
    SENSOR_IMAGE_SIGMA,
    ScaleFilter,
    ScaleMeasurement,
    measure_from_depth,
)
from vision_nodes.odometry.scale_sources import WheelOdometry, measure_from_height
from vision_nodes.odometry.settings import OdometrySettings


@dataclass(frozen=True)
class StampedDepth:
    """A depth map and the frame it belongs to."""

    stamp_ns: int
    depth: DepthMap
    camera: CameraModel  # of the depth map
    sensor: bool  # a depth camera, not a network


class ScaleControl:
    """Scale state of the current map. `add_depth` and `add_wheels` may come from other threads."""

    def __init__(self, settings: OdometrySettings) -> None:
        self.settings = settings
        self._arrived: deque[StampedDepth] = deque(maxlen=8)
        self._wheels = WheelOdometry()
        self.restart()

    def restart(self) -> None:
        """A new map begins: its unit is unknown."""
        self.filter = ScaleFilter()
        # landmarks seen by recent frames: stamp, points in the camera frame, stretch of the map at the time
        self._frames: deque[tuple[int, np.ndarray, float]] = deque(maxlen=90)
        self._map_began_ns: int | None = None

    @property
    def state(self) -> ScaleState:
        """Where metres come from, `unscaled` as long as they do not."""
        return ScaleState(self.settings.scale) if self.filter.known else ScaleState.UNSCALED

    def waiting(self, stamp_ns: int) -> bool:
        """True while a scale is asked for, not yet known, and still worth waiting for."""
        if self.settings.scale == "unscaled" or self.filter.known:
            return False
        if self._map_began_ns is None:
            self._map_began_ns = stamp_ns
        return stamp_ns - self._map_began_ns < self.settings.scale_timeout_s * 1e9

    def add_depth(self, item: StampedDepth) -> None:
        """Queue a depth map; the oldest of eight is dropped."""
        if self.settings.scale == "from_depth":
            self._arrived.append(item)

    def add_wheels(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """Take in a wheel-odometry pose."""
        self._wheels.add(stamp_ns, T_odom_base)

    def take_depths(self, until_ns: int) -> list[StampedDepth]:
        """Queued depth maps of frames up to `until_ns`; later ones stay queued."""
        items = [self._arrived.popleft() for _ in range(len(self._arrived))]
        self._arrived.extend(item for item in items if item.stamp_ns > until_ns)
        return [item for item in items if item.stamp_ns <= until_ns]

    def remember(self, stamp_ns: int, points_cam: np.ndarray, local_map: LocalMap) -> None:
        """Keep what a frame saw until its depth arrives."""
        if self.settings.scale == "from_depth":
            self._frames.append((stamp_ns, points_cam, local_map.unit))

    def assume_metric(self) -> None:
        """The map was made from a depth camera: its unit is the metre."""
        self.filter.update(ScaleMeasurement(0.0, SENSOR_IMAGE_SIGMA, SENSOR_BIAS))

    def factor_from_depth(self, item: StampedDepth, local_map: LocalMap) -> float:
        """Factor to stretch the map by, from one depth map; 1 when its frame is unknown or says nothing."""
        for stamp_ns, points_cam, stretch in reversed(self._frames):
            if stamp_ns == item.stamp_ns:
                points_cam = points_cam * (local_map.unit / stretch)
                return self._factor(measure_from_depth(points_cam, item.depth, item.camera, item.sensor))
        return 1.0

    def factor_at_keyframe(self, local_map: LocalMap, rows: np.ndarray) -> float:
        """Factor to stretch the map by after a keyframe whose landmarks are `rows`."""
        self.filter.keyframe()
        if self.settings.scale == "from_odometry":
            return self._factor(self._wheels.measure(list(local_map.keyframes.values())))
        if self.settings.scale == "from_height":
            camera = local_map.last.T_odom_cam[:3, 3]
            height = self.settings.camera_height_m
            return self._factor(measure_from_height(local_map.points[rows], camera, height))
        return 1.0

    def _factor(self, measurement: ScaleMeasurement | None) -> float:
        return 1.0 if measurement is None else self.filter.update(measurement)
