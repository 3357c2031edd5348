"""Odometry over an input without ROS: every estimate, its CPU time, and the figures they add up to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import DepthMap, OdometryEstimate, ScaleState
from vision_nodes.evaluation.covariance import pose_anees
from vision_nodes.evaluation.odometry import Trajectories, ate, score_odometry
from vision_nodes.evaluation.odometry_inputs import OdometryInput
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.odometry.visual_odometry import VisualOdometry
from vision_nodes.preprocess.frame import Frame

DepthSource = Callable[[Frame], "tuple[DepthMap, CameraModel] | None"]


@dataclass(frozen=True)
class OdometryRun:
    """N estimates in order, and the CPU time (ms) the calling thread spent on each."""

    estimates: list[OdometryEstimate]
    cpu_ms: np.ndarray  # (N,)

    @property
    def posed(self) -> list[OdometryEstimate]:
        """Those with a pose."""
        return [e for e in self.estimates if e.T_odom_cam is not None]


def run_odometry(
    source: OdometryInput,
    settings: OdometrySettings,
    depth: DepthSource | None = None,
    sensor: bool = False,
) -> OdometryRun:
    """Feed all frames in lock-step: the same input and settings give the same bytes.

    Args:
        depth: depth of a frame, handed over after the frame itself, as a graph's depth node does.
        sensor: that depth is a depth camera's.
    """
    estimates, cpu_ms = [], []
    with VisualOdometry(replace(settings, lock_step=True)) as odometry:
        for frame in source.frames:
            frame.gray()  # shared by all tasks of a graph
            began = time.thread_time()
            estimates.append(odometry.process(frame))
            cpu_ms.append(1000 * (time.thread_time() - began))
            measured = depth(frame) if depth is not None else None
            if measured is not None:
                odometry.add_depth(frame.stamp_ns, *measured, sensor=sensor)
    return OdometryRun(estimates, np.array(cpu_ms))


def trajectories_of_run(source: OdometryInput, run: OdometryRun) -> tuple[Trajectories, np.ndarray]:
    """Poses with truth, and their (N, 6, 6) covariances."""
    both = [e for e in run.posed if e.stamp_ns in source.truth]
    stamps = np.array([e.stamp_ns for e in both], np.int64)
    estimate = np.array([e.T_odom_cam for e in both]).reshape(-1, 4, 4)
    truth = np.array([source.truth[int(s)] for s in stamps]).reshape(-1, 4, 4)
    covariances = np.array([e.covariance for e in both]).reshape(-1, 6, 6)
    return Trajectories(stamps, estimate, truth), covariances


def figures_of_run(source: OdometryInput, run: OdometryRun) -> dict[str, float | int | None]:
    """Accuracy, consistency and time of one run; see `score_odometry` for the names."""
    trajectories, covariances = trajectories_of_run(source, run)
    figures = score_odometry(trajectories, len(run.estimates), len(run.posed))
    figures["keyframes"] = sum(e.is_keyframe for e in run.estimates)
    figures |= _times(run)
    figures["path_estimated_m"] = float(
        np.linalg.norm(
            np.diff([e.T_odom_cam[:3, 3] for e in run.posed if e.T_odom_cam is not None], axis=0), axis=1
        ).sum()
        if len(run.posed) > 1
        else 0.0
    )
    if len(trajectories.stamps_ns) >= 3:
        truth = trajectories.truth.copy()
        if all(e.scale_state is ScaleState.UNSCALED for e in run.posed):
            truth[:, :3, 3] /= unit_of(trajectories)
        figures |= pose_anees(trajectories.estimate, truth, covariances)
        _, rotation = _drift(trajectories)
        figures["rotation_drift_deg_per_m"] = rotation
    return figures


def unit_of(trajectories: Trajectories) -> float:
    """Metres per unit of an unscaled run, by the best similarity."""
    return ate(trajectories, with_scale=True)[1].scale


def _drift(trajectories: Trajectories) -> tuple[float, float]:
    """Path length (m) and the final rotation error over it, degrees per metre."""
    first, last = (np.linalg.inv(t[0]) @ t[-1] for t in (trajectories.estimate, trajectories.truth))
    cosine = (np.trace((np.linalg.inv(first) @ last)[:3, :3]) - 1) / 2
    steps = np.linalg.norm(np.diff(trajectories.truth[:, :3, 3], axis=0), axis=1)
    length = max(float(steps.sum()), 1e-9)
    return length, float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))) / length


def _times(run: OdometryRun) -> dict[str, float]:
    if len(run.cpu_ms) < 2:
        return {}
    keyframe = np.array([e.is_keyframe for e in run.estimates], bool)
    busy = run.cpu_ms[5:] if len(run.cpu_ms) > 10 else run.cpu_ms  # the first calls load code and caches
    half = len(busy) // 2
    times = {
        "cpu_p50_ms": float(np.median(busy)),
        "cpu_p95_ms": float(np.percentile(busy, 95)),
        "cpu_max_ms": float(busy.max()),
        "cpu_second_half_over_first": float(np.median(busy[half:]) / np.median(busy[:half])),
    }
    if keyframe.any():
        times["cpu_keyframe_p50_ms"] = float(np.median(run.cpu_ms[keyframe]))
    return times
