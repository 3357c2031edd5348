"""Rendered walks through a small world and the damage a camera stream can take, for whole-odometry tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.datatypes import OdometryEstimate
from vision_nodes.evaluation.odometry_inputs import OdometryInput, from_arrays, render_drive
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.odometry.visual_odometry import VisualOdometry
from vision_nodes.preprocess.frame import Frame
from vision_nodes.simulation.drive import default_camera, resized_camera
from vision_nodes.simulation.path import Drive
from vision_nodes.simulation.world import World

CAMERA = resized_camera(default_camera(), (320, 240))
# Half the pixels of a 640x480 image: parallax thresholds are half as large, too.
SETTINGS = OdometrySettings(lock_step=True, max_tracks=220, min_parallax_px=3.0, keyframe_parallax_px=10.0)
Change = Callable[[int, Frame], "Frame | None"]


@lru_cache(maxsize=1)
def world() -> World:
    """Rooms round a core."""
    return World.indoor(3, px_m=60.0)


@lru_cache(maxsize=8)
def walk(count: int = 120, first: int = 0, stride: int = 1) -> OdometryInput:
    """Part of the world's own drive at 15 Hz, 0.1 m a frame."""
    drive = world().drive(15.0, 20.0)
    chosen = slice(first, first + count * stride, stride)
    return rendered(drive.T_world_cam[chosen], "walk")


def rendered(poses: np.ndarray, name: str, step_ns: int = 66_666_667) -> OdometryInput:
    """Views from `poses` (N, 4, 4)."""
    stamps = 1_000_000_000 + np.arange(len(poses), dtype=np.int64) * step_ns
    images, depths = render_drive(world(), Drive(stamps, poses), CAMERA)
    return from_arrays(name, images, depths, stamps, poses, CAMERA)


def turned(T_world_cam: np.ndarray, yaw_deg: float) -> np.ndarray:
    """The same place, looking `yaw_deg` further left (about the world's z axis)."""
    T = np.array(T_world_cam)
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    T[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ T[:3, :3]
    return T


def run(
    frames: Sequence[Frame], settings: OdometrySettings = SETTINGS, change: Change | None = None
) -> list[OdometryEstimate]:
    """Odometry over frames; `change` may alter one or (None) leave it out."""
    with VisualOdometry(settings) as odometry:
        changed = (change(i, f) if change else f for i, f in enumerate(frames))
        return [odometry.process(frame) for frame in changed if frame is not None]


def with_image(frame: Frame, image: np.ndarray) -> Frame:
    """The frame with another picture."""
    return replace(frame, image=np.ascontiguousarray(image), _resized={})


def with_camera(frame: Frame, factor: float) -> Frame:
    """The frame with a focal length that is wrong by `factor`."""
    assert frame.camera is not None
    K = frame.camera.K.copy()
    K[0, 0] *= factor
    K[1, 1] *= factor
    return replace(frame, camera=CameraModel(frame.camera.size_wh, K))


def blurred(frame: Frame, width: int = 9) -> Frame:
    """The frame as a camera that turns sideways sees it."""
    return with_image(frame, cv2.blur(frame.image, (width, 1)))


def brighter(frame: Frame, gain: float) -> Frame:
    """The frame at another exposure."""
    return with_image(frame, np.clip(frame.image * gain, 0, 255).astype(np.uint8))


def states(estimates: Sequence[OdometryEstimate]) -> list[str]:
    """Names of the states."""
    return [e.state.value for e in estimates]


def jumps(estimates: Sequence[OdometryEstimate], source: OdometryInput) -> list[tuple[int, float, float]]:
    """Steps between neighbouring poses (nothing lost in between) that the camera did not make.

    Returns:
        (index, metres, degrees) of steps whose error is over 0.3 m or 6 degrees, in the truth's unit.
    """
    posed = [e for e in estimates if e.T_odom_cam is not None]
    if len(posed) < 3:
        return []
    unit = metres_per_unit(posed, source)
    found = []
    for index, (a, b) in enumerate(pairwise(estimates)):
        if a.T_odom_cam is None or b.T_odom_cam is None:
            continue
        moved = np.linalg.inv(a.T_odom_cam) @ b.T_odom_cam
        moved[:3, 3] *= unit
        error = np.linalg.inv(np.linalg.inv(source.truth[a.stamp_ns]) @ source.truth[b.stamp_ns]) @ moved
        metres, degrees = float(np.linalg.norm(error[:3, 3])), angle_deg(error)
        if metres > 0.3 or degrees > 6.0:
            found.append((index + 1, round(metres, 2), round(degrees, 1)))
    return found


def metres_per_unit(posed: Sequence[OdometryEstimate], source: OdometryInput) -> float:
    """Ratio of the true to the estimated way, robust: the median over steps of ten frames."""
    found = np.array([e.T_odom_cam[:3, 3] for e in posed])
    true = np.array([source.truth[e.stamp_ns][:3, 3] for e in posed])
    step = min(10, len(posed) - 1)
    ratio = np.linalg.norm(true[step:] - true[:-step], axis=1) / np.maximum(
        np.linalg.norm(found[step:] - found[:-step], axis=1), 1e-9
    )
    return float(np.median(ratio))


def angle_deg(T: np.ndarray) -> float:
    """Angle of a rotation."""
    return float(np.degrees(np.arccos(np.clip((np.trace(T[:3, :3]) - 1) / 2, -1, 1))))


def turn_on_the_spot(before: int, steps: int, per_frame_deg: float, after: int) -> np.ndarray:
    """(N, 4, 4): a walk, then a turn without moving (there and back), then the walk goes on."""
    poses = world().drive(15.0, 20.0).T_world_cam
    angles = per_frame_deg * np.concatenate([np.arange(1, steps + 1), np.arange(steps - 1, -1, -1)])
    return np.concatenate(
        [poses[:before], [turned(poses[before - 1], a) for a in angles], poses[before : before + after]]
    )
