"""The procedural world: made from a seed, rendered from any pose with exact truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.antialias import smooth_edges
from vision_nodes.simulation.distort import wide_view
from vision_nodes.simulation.effects import Effects, apply_effects, exposure_poses
from vision_nodes.simulation.indoor import IndoorMaker, Plan
from vision_nodes.simulation.path import Drive, DriveStyle, ViewRange, loop_drive, random_pose
from vision_nodes.simulation.scene import Scene
from vision_nodes.simulation.shading import shade
from vision_nodes.simulation.street import PX_M as STREET_PX_M
from vision_nodes.simulation.street import StreetMaker
from vision_nodes.simulation.street_plan import StreetPlan
from vision_nodes.simulation.truth import TruthBoxes, boxes_from_instances
from vision_nodes.simulation.visibility import VisibleSurfaces, find_visible
from vision_nodes.tasks.classes import UNLABELLED


@dataclass(frozen=True)
class RenderedFrame:
    """One view with its truth. Depth is along the optical axis, NaN where nothing (or the sky) is hit."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    depth_m: np.ndarray  # (H, W) float32
    labels: np.ndarray  # (H, W) uint8, ids of GENERAL_CLASSES, 255 = nothing hit
    instances: np.ndarray  # (H, W) int32, 0 = none
    boxes: TruthBoxes
    T_world_cam: np.ndarray  # (4, 4) float64

    @property
    def boxes_xyxy(self) -> np.ndarray:
        """(N, 4) float32 px: extent of each thing's visible pixels."""
        return self.boxes.boxes_xyxy

    @property
    def box_labels(self) -> tuple[str, ...]:
        """N COCO names."""
        return self.boxes.labels

    @property
    def instance_ids(self) -> np.ndarray:
        """(N,) int64, values of `instances`."""
        return self.boxes.instance_ids

    @property
    def visible_fraction(self) -> np.ndarray:
        """(N,) float32: visible pixels / area of the whole silhouette's convex hull."""
        return self.boxes.visible_fraction


@dataclass(frozen=True)
class World:
    """A scene with the drive that belongs to it. `seed` makes it; equal seeds give equal bytes."""

    scene: Scene
    kind: str
    seed: int
    style: DriveStyle = field(default_factory=DriveStyle)

    @classmethod
    def street(cls, seed: int = 0, px_m: float = STREET_PX_M) -> World:
        """A closed street between houses, 47 m round. `px_m` = texels per metre of ground."""
        style = DriveStyle(StreetPlan.from_seed(seed).loop)
        return cls(StreetMaker(seed, px_m).make(), "street", seed, style)

    @classmethod
    def indoor(cls, seed: int, px_m: float = 80.0) -> World:
        """Rooms around a core, 24 to 31 m round, joined by doorways."""
        plan = Plan.from_seed(seed)
        style = DriveStyle(plan.loop, min(1.6, plan.loop.length_m / 16.5), 0.05, 1.15, 0.04)
        return cls(IndoorMaker(seed, px_m).make(), "indoor", seed, style)

    @classmethod
    def random(cls, seed: int) -> World:
        """Street or indoor by chance, with coarser ground textures: a training world made in less time."""
        if np.random.default_rng([seed, 5]).random() < 0.5:
            return cls.street(seed, px_m=45.0)
        return cls.indoor(seed, px_m=60.0)

    def drive(self, rate_hz: float = 15.0, duration_s: float = 20.0) -> Drive:
        """A drive at a robot's height that passes its start again: at least 3 s of true revisits."""
        return loop_drive(self.seed, rate_hz, duration_s, self.style)

    def random_view(
        self, rng: np.random.Generator, size_wh: tuple[int, int] = (640, 480), view: ViewRange | None = None
    ) -> tuple[np.ndarray, CameraModel]:
        """A random T_world_cam (4, 4) and pinhole for training; indoors the camera stays near the walk."""
        view = view or ViewRange()
        if self.kind == "indoor":
            view = replace(view, lateral_m=(max(view.lateral_m[0], -0.6), min(view.lateral_m[1], 0.6)))
        focal = float(rng.uniform(*view.focal_per_width)) * size_wh[0]
        K = np.array([[focal, 0, (size_wh[0] - 1) / 2], [0, focal, (size_wh[1] - 1) / 2], [0, 0, 1.0]])
        return random_pose(rng, self.style.loop, view), CameraModel(size_wh, K)

    def render(
        self, T_world_cam: np.ndarray, camera: CameraModel, *, effects: Effects | None = None
    ) -> RenderedFrame:
        """Render one view with its truth.

        Args:
            T_world_cam: (4, 4) float64, optical frame (x right, y down, z forward), metres, world z up.
            camera: intrinsics; lens distortion is applied where it has one.
            effects: imperfections of the picture; the truth stays that of the pose.
        """
        poses = exposure_poses(T_world_cam, effects)
        lens = wide_view(camera) if np.any(camera.distortion) else None
        K, size_wh = (lens.K, lens.size_wh) if lens else (camera.K, camera.size_wh)
        visible = find_visible(self.scene, T_world_cam, K, size_wh)
        image, labels, instances = shade(self.scene, visible)
        image = smooth_edges(image, self.scene, visible)
        if len(poses) > 1:
            image = self._blur(image, poses[1:], K, size_wh)
        depth_m = self._depth(visible)
        if lens is not None:
            image, depth_m = lens.picture(image), lens.nearest(depth_m, np.nan)
            labels, instances = lens.nearest(labels, UNLABELLED), lens.nearest(instances, 0)
        boxes = boxes_from_instances(instances, self.scene.instances, T_world_cam, camera.K)
        return RenderedFrame(apply_effects(image, effects), depth_m, labels, instances, boxes, T_world_cam)

    def depth(self, T_world_cam: np.ndarray, camera: CameraModel) -> np.ndarray:
        """(H, W) float32 depth of an undistorted view, metres along z, NaN = sky; without its picture."""
        return self._depth(find_visible(self.scene, T_world_cam, camera.K, camera.size_wh))

    def _depth(self, visible: VisibleSurfaces) -> np.ndarray:
        inverse = visible.inverse_depth
        hit = visible.index >= 0
        if len(visible.polygon):
            hit &= ~self.scene.is_sky[visible.polygon][np.maximum(visible.index, 0)]
        depth_m = np.full(inverse.shape, np.nan, np.float32)
        np.divide(np.float32(1), inverse, out=depth_m, where=hit)
        return depth_m

    def _blur(
        self, first: np.ndarray, poses: list[np.ndarray], K: np.ndarray, size_wh: tuple[int, int]
    ) -> np.ndarray:
        total = first.astype(np.float32)
        for pose in poses:
            visible = find_visible(self.scene, pose, K, size_wh)
            total += smooth_edges(shade(self.scene, visible)[0], self.scene, visible)
        return np.rint(total / (len(poses) + 1)).astype(np.uint8)
