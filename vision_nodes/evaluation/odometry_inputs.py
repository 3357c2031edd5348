"""What odometry is benchmarked on: sequence folders and rendered drives, as frames with truth and depth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from vision_nodes.bags.folder import SequenceFrame, read_sequence
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.rectify import Rectifier, working_size_wh
from vision_nodes.datatypes import DepthMap
from vision_nodes.errors import BagError
from vision_nodes.preprocess.frame import Frame
from vision_nodes.simulation.drive import default_camera, resized_camera
from vision_nodes.simulation.path import Drive
from vision_nodes.simulation.world import World

STAMP_TOLERANCE_NS = 500_000
MAX_WIDTH = 640
RENDERED = re.compile(r"(street|indoor):(\d+)")


@dataclass(frozen=True)
class OdometryInput:
    """A sequence in memory: N frames (working size, rectified), truth and depth where there is some."""

    name: str
    frames: list[Frame]
    truth: dict[int, np.ndarray]  # stamp -> (4, 4) T_world_cam
    depths: dict[int, tuple[DepthMap, CameraModel]]  # stamp -> depth camera's image

    def noisy(self, seed: int, sigma: float = 1.0) -> OdometryInput:
        """The same with grey-level noise on every image; seed 0 changes nothing."""
        if seed == 0:
            return self
        rng = np.random.default_rng(seed)
        frames = []
        for frame in self.frames:
            noise = rng.standard_normal(frame.image.shape[:2], dtype=np.float32)[..., None] * sigma
            image = np.clip(np.rint(frame.image + noise), 0, 255).astype(np.uint8)
            frames.append(replace(frame, image=image, _resized={}))
        return replace(self, frames=frames)


def load_input(name: str, limit: int | None = None, cache: Path | None = None) -> OdometryInput:
    """A sequence folder, or ``street:SEED`` / ``indoor:SEED`` for a rendered drive of 20 s at 15 Hz.

    Args:
        limit: use the first frames only.
        cache: folder where rendered drives are kept between runs.

    Raises:
        BagError: neither a known folder nor a drive.
    """
    match = RENDERED.fullmatch(name)
    if match is None:
        return read_folder(Path(name), limit)
    world, seed = match.group(1), int(match.group(2))
    count = limit or 300
    file = None if cache is None else cache / f"{world}_{seed}_{count}.npz"
    if file is not None and file.exists():
        with np.load(file) as stored:
            views = (stored["images"], stored["depths"], stored["stamps"], stored["poses"])
        return from_arrays(name, *views)
    made = World.street(seed) if world == "street" else World.indoor(seed)
    drive = made.drive(15.0, count / 15.0)
    images, depths = render_drive(made, drive, default_camera())
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            file, images=images, depths=depths.astype(np.float16), stamps=drive.stamps_ns, poses=drive.T_world_cam
        )  # fmt: skip
    return from_arrays(name, images, depths, drive.stamps_ns, drive.T_world_cam)


def render_drive(world: World, drive: Drive, camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """(N, H, W, 3) uint8 and (N, H, W) float32 depth, NaN = sky."""
    views = [world.render(T, camera) for T in drive.T_world_cam]
    return np.stack([v.image for v in views]), np.stack([v.depth_m for v in views])


def from_arrays(
    name: str,
    images: np.ndarray,
    depths: np.ndarray,
    stamps_ns: np.ndarray,
    T_world_cam: np.ndarray,
    camera: CameraModel | None = None,
) -> OdometryInput:
    """Rendered views as an input.

    Args:
        images: (N, H, W, 3) uint8.
        depths: (N, H, W) metres, or (0,) for none.
        camera: the pinhole they were rendered with; None = the simulation's own, resized.
    """
    size_wh = (images.shape[2], images.shape[1])
    camera = camera or resized_camera(default_camera(), size_wh)
    frames = [Frame(int(s), "camera", i, size_wh, camera) for s, i in zip(stamps_ns, images)]
    sensor = {int(s): (DepthMap(d.astype(np.float32), True), camera) for s, d in zip(stamps_ns, depths)}
    return OdometryInput(name, frames, dict(zip(map(int, stamps_ns), T_world_cam)), sensor)


def read_folder(folder: Path, limit: int | None = None) -> OdometryInput:
    """A sequence folder, rectified and scaled as the preprocess node would; see `bags.folder`."""
    sequence = read_sequence(folder)
    chosen = sequence.frames[:limit]
    stamps = np.array([frame.stamp_ns for frame in chosen])
    truth = {}
    for stamp_ns, pose in sequence.poses:
        nearest = int(stamps[np.abs(stamps - stamp_ns).argmin()])
        if abs(nearest - stamp_ns) <= STAMP_TOLERANCE_NS:
            T = np.eye(4)
            T[:3, :3], T[:3, 3] = Rotation.from_quat(pose[3:]).as_matrix(), pose[:3]
            truth[nearest] = T
    frames = list(_rectified(chosen, sequence.camera))
    return OdometryInput(folder.name, frames, truth, dict(_depths(chosen, sequence.camera)))


def _rectified(chosen: list[SequenceFrame], camera: CameraModel | None) -> Iterator[Frame]:
    rectifier: Rectifier | None = None
    for item in chosen:
        image = cv2.imread(str(item.image), cv2.IMREAD_COLOR)
        if image is None:
            raise BagError("a readable image", str(item.image), "copy the file again")
        source_wh = (image.shape[1], image.shape[0])
        rectifier = rectifier or Rectifier(camera, source_wh, working_size_wh(source_wh, MAX_WIDTH))
        rgb = cv2.cvtColor(rectifier.apply(image), cv2.COLOR_BGR2RGB)
        yield Frame(item.stamp_ns, "camera", rgb, source_wh, rectifier.camera)


def _depths(
    chosen: list[SequenceFrame], camera: CameraModel | None
) -> Iterator[tuple[int, tuple[DepthMap, CameraModel]]]:
    for item in chosen:
        if item.depth is not None and camera is not None:
            depth_mm = cv2.imread(str(item.depth), cv2.IMREAD_UNCHANGED)
            depth_m = np.where(depth_mm > 0, depth_mm.astype(np.float32) / 1000, np.float32(np.nan))
            yield item.stamp_ns, (DepthMap(depth_m.astype(np.float32), True), camera)
