"""The frame loop goes on while its optimiser's process is killed, again and again."""

from __future__ import annotations

import os
import signal

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.odometry.visual_odometry import VisualOdometry
from vision_nodes.preprocess.frame import Frame
from vision_nodes.simulation.world import World

CAMERA = CameraModel((320, 240), np.array([[250.0, 0, 159.5], [0, 250.0, 119.5], [0, 0, 1]]))


def test_killing_the_optimiser_loses_no_frame() -> None:
    world = World.indoor(3)
    drive = world.drive(10.0, 6.0)
    pids, states = set(), []
    with VisualOdometry(OdometrySettings(lock_step=True)) as odometry:
        for stamp, T in zip(drive.stamps_ns.tolist(), drive.T_world_cam):
            image = world.render(T, CAMERA).image
            frame = Frame(stamp, "camera", image, (320, 240), CAMERA, CAMERA)
            estimate = odometry.process(frame)
            states.append(estimate.state.value)
            pid = odometry._mapper._worker.pid
            if pid is not None and estimate.is_keyframe:
                pids.add(pid)
                os.kill(pid, signal.SIGKILL)
    assert len(pids) >= 3  # each death was followed by a new process
    first = states.index("tracking")
    assert first < 30 and set(states[first:]) == {"tracking"}
