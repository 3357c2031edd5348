"""Metres per map unit: measured, filtered, and known with its uncertainty.

The idea of scaling monocular odometry by a depth network is CNN-SLAM's (Tateno et al. 2017). The filter
runs on the logarithm of the ratio, where errors of a factor are symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap
from vision_nodes.odometry.geometry import project

MIN_SAMPLES = 15
# Scatter of one image's ratio that its own pixels do not show, and the part that no averaging removes.
SENSOR_IMAGE_SIGMA, SENSOR_BIAS = 0.015, 0.01
# Measured on rendered streets and real places: a network's ratio scatters by 0.2 and a strange place shifts it by
# 0.5 (both real sequences at hand are off by a factor of 1.6). It repeats its error for several images, so that so
# many count as one: without that the scale follows the network from view to view (Sim3 ATE on 7scenes redkitchen
# 0.137 m instead of 0.073).
NETWORK_IMAGE_SIGMA, NETWORK_BIAS = 0.2, 0.5
NETWORK_IMAGES_PER_VIEW = 6.0
DRIFT_PER_KEYFRAME = 0.01  # random walk of the map's own scale
GATE_SIGMA = 4.0
MAX_REJECTED = 8  # in a row: then the filter, not the input, is wrong


@dataclass(frozen=True)
class ScaleMeasurement:
    """Log of (metres / map unit) with the 1-sigma of its random part and of its lasting part."""

    log_ratio: float
    sigma: float
    bias: float
    images_per_view: float = 1.0  # measurements that share one error


class ScaleFilter:
    """Kalman filter of the log ratio between metres and the map's present unit."""

    def __init__(self) -> None:
        self.known = False
        self._variance = 0.0
        self._bias = 0.0
        self._rejected = 0

    @property
    def sigma(self) -> float:
        """Relative 1-sigma of the scale; NaN while unknown."""
        return float(np.sqrt(self._variance + self._bias**2)) if self.known else float("nan")

    def keyframe(self) -> None:
        """A keyframe was made: the map's scale may have drifted."""
        self._variance += DRIFT_PER_KEYFRAME**2

    def update(self, measurement: ScaleMeasurement) -> float:
        """Take in a measurement made against the present map.

        Returns:
            The factor to stretch the map by now; afterwards the map's unit is the filter's metre.
        """
        if not self.known:
            self.known, self._variance, self._bias = True, measurement.sigma**2, measurement.bias
            return float(np.exp(measurement.log_ratio))
        spread = np.sqrt(self._variance + measurement.sigma**2)
        if abs(measurement.log_ratio) > GATE_SIGMA * spread:
            self._rejected += 1
            if self._rejected < MAX_REJECTED:
                return 1.0
            self._variance += measurement.log_ratio**2
        self._rejected = 0
        noise = measurement.sigma**2 * measurement.images_per_view
        gain = self._variance / (self._variance + noise)
        self._variance *= 1 - gain
        self._bias = measurement.bias
        return float(np.exp(gain * measurement.log_ratio))


def measure_from_depth(
    points_cam: np.ndarray, depth: DepthMap, camera: CameraModel, sensor: bool
) -> ScaleMeasurement | None:
    """Robust ratio between a depth map and the landmarks in its view.

    Args:
        points_cam: (N, 3) landmarks in the camera frame, map units.
        depth: metric, in the pixels of `camera`.
        camera: intrinsics of the depth map.
        sensor: a depth camera, not a network.

    Returns:
        None with fewer than `MIN_SAMPLES` usable pixels, or when the depth is not metric.
    """
    if not depth.metric or len(points_cam) == 0:
        return None
    xy = np.round(project(camera.K, points_cam)).astype(int)
    height, width = depth.depth_m.shape
    inside = (points_cam[:, 2] > 0) & (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)
    measured = depth.depth_m[xy[inside, 1], xy[inside, 0]].astype(np.float64)
    usable = np.isfinite(measured) & (measured > 0)
    if usable.sum() < MIN_SAMPLES:
        return None
    ratios = np.log(measured[usable] / points_cam[inside, 2][usable])
    median = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - median)))
    statistical = 1.2533 * spread / np.sqrt(len(ratios))  # standard error of a median
    if sensor:
        return ScaleMeasurement(median, float(np.hypot(statistical, SENSOR_IMAGE_SIGMA)), SENSOR_BIAS)
    sigma = float(np.hypot(statistical, NETWORK_IMAGE_SIGMA))
    return ScaleMeasurement(median, sigma, NETWORK_BIAS, NETWORK_IMAGES_PER_VIEW)
