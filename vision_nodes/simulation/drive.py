"""A drive through a world as a ROS 2 bag: camera, frames, and the exact truth of all five tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vision_nodes.bags.writer import BagWriter
from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.drive_messages import DriveMessages
from vision_nodes.simulation.effects import Effects, between
from vision_nodes.simulation.loops import loop_pairs
from vision_nodes.simulation.path import Drive, optical_pose, resized_K
from vision_nodes.simulation.world import World

LOOP_GAP_S = 5.0  # closer in time is the same pass, not a revisit
LOOP_SIZE_WH = (160, 120)


def default_camera() -> CameraModel:
    """640x480 pinhole, 65 degrees wide, no distortion."""
    return CameraModel((640, 480), np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]]))


@dataclass(frozen=True)
class DriveOptions:
    """Camera and its imperfections. `shutter_s` > 0 blurs by the motion during that time."""

    camera: CameraModel | None = None
    effects: Effects | None = None
    shutter_s: float = 0.0


def write_drive_bag(
    path: str | Path,
    world: World,
    *,
    rate_hz: float = 15.0,
    duration_s: float = 20.0,
    options: DriveOptions | None = None,
    on_frame: Callable[[int], object] | None = None,
) -> dict[str, int]:
    """Render a drive into one mcap file; equal worlds and settings give equal bytes.

    Topics: ``/image_raw`` (rgb8), ``/camera_info``, ``/tf_static`` (base_link on the ground below the
    camera, level), ``/ground_truth/pose`` (PoseStamped, frame world), ``/ground_truth/depth`` (32FC1,
    metres along z, NaN = sky) and ``/ground_truth/segmentation`` (mono8) of the undistorted view at half
    size with ``/ground_truth/camera_info``, ``/ground_truth/detections`` (pixels of image_raw),
    ``/ground_truth/loops`` (only frames with revisits at least 5 s apart).

    Args:
        on_frame: called with the number of frames done.

    Returns:
        Messages written per topic.
    """
    options = options or DriveOptions()
    camera = options.camera or default_camera()
    drive = world.drive(rate_hz, duration_s)
    partners = _loop_partners(world, drive, camera)
    make = DriveMessages()
    with BagWriter(path) as writer:
        if len(drive):
            start = int(drive.stamps_ns[0])
            T_base_cam = optical_pose(np.array([0, 0, world.style.height_m]), 0.0, world.style.pitch)
            writer.write_object("/tf_static", make.static_transform(start, T_base_cam), start)
        for index, stamp in enumerate(drive.stamps_ns.tolist()):
            effects = _frame_effects(options, drive, index)
            for topic, message in _frame(make, world, drive.T_world_cam[index], camera, stamp, effects):
                writer.write_object(topic, message, stamp)
            if partners[stamp]:
                writer.write_object("/ground_truth/loops", make.loops(stamp, partners[stamp]), stamp)
            if on_frame is not None:
                on_frame(index + 1)
        return dict(writer.counts)


def resized_camera(camera: CameraModel, size_wh: tuple[int, int]) -> CameraModel:
    """The undistorted pinhole of a resized image."""
    return CameraModel(size_wh, resized_K(camera, size_wh))


def _frame(
    make: DriveMessages,
    world: World,
    T_world_cam: np.ndarray,
    camera: CameraModel,
    stamp: int,
    effects: Effects | None,
) -> Iterator[tuple[str, Any]]:
    view = world.render(T_world_cam, camera, effects=effects)
    half = resized_camera(camera, (camera.size_wh[0] // 2, camera.size_wh[1] // 2))
    truth = world.render(T_world_cam, half)
    yield "/image_raw", make.image(stamp, view.image, "rgb8")
    yield "/camera_info", make.camera_info(stamp, camera)
    yield "/ground_truth/pose", make.pose(stamp, T_world_cam)
    yield "/ground_truth/depth", make.image(stamp, truth.depth_m, "32FC1")
    yield "/ground_truth/segmentation", make.image(stamp, truth.labels, "mono8")
    yield "/ground_truth/camera_info", make.camera_info(stamp, half)
    yield "/ground_truth/detections", make.detections(stamp, view.boxes)


def _frame_effects(options: DriveOptions, drive: Drive, index: int) -> Effects | None:
    """The options' effects with this frame's own noise seed and exposure end pose."""
    if options.effects is None and options.shutter_s <= 0:
        return None
    effects = options.effects or Effects()
    effects = replace(effects, seed=effects.seed + index)
    if options.shutter_s <= 0 or index + 1 >= len(drive):
        return effects
    period_s = (drive.stamps_ns[index + 1] - drive.stamps_ns[index]) / 1e9
    share = min(1.0, options.shutter_s / period_s)
    end = between(drive.T_world_cam[index], drive.T_world_cam[index + 1], share)
    return replace(effects, T_world_cam_end=end)


def _loop_partners(world: World, drive: Drive, camera: CameraModel) -> dict[int, list[tuple[int, float]]]:
    """Stamp -> (stamp of the other frame, overlap) of revisits, from small depth maps of all frames."""
    small = resized_camera(camera, LOOP_SIZE_WH)
    partners: dict[int, list[tuple[int, float]]] = defaultdict(list)
    if len(drive) < 2:
        return partners
    depths = [world.depth(T, small) for T in drive.T_world_cam]
    period_ns = int(drive.stamps_ns[1] - drive.stamps_ns[0])
    found = loop_pairs(drive.T_world_cam, small, depths, int(np.ceil(LOOP_GAP_S * 1e9 / period_ns)))
    stamps = drive.stamps_ns.tolist()
    for (i, j), overlap in zip(found.pairs.tolist(), found.overlap.tolist()):
        partners[stamps[i]].append((stamps[j], overlap))
        partners[stamps[j]].append((stamps[i], overlap))
    return partners
