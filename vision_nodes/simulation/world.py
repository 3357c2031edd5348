"""The procedural world: made from a seed, rendered from any pose with exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.simulation.distort import distorted_maps, nearest
from vision_nodes.simulation.effects import Effects, apply_effects, exposure_poses
from vision_nodes.simulation.path import Drive, street_drive
from vision_nodes.simulation.scene import Scene
from vision_nodes.simulation.shading import shade
from vision_nodes.simulation.street import StreetMaker
from vision_nodes.simulation.truth import TruthBoxes, boxes_from_instances
from vision_nodes.simulation.visibility import VisibleSurfaces, find_visible


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

    @classmethod
    def street(cls, seed: int = 0) -> World:
        """A closed street between houses, 47 m round."""
        return cls(StreetMaker(seed).make(), "street", seed)

    def drive(self, rate_hz: float = 15.0, duration_s: float = 20.0) -> Drive:
        """A drive at a robot's height; in a street it returns to its start and goes on for 4 s."""
        return street_drive(self.seed, rate_hz, duration_s)

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
        if not camera.is_rectified:
            K, size_wh, map_x, map_y = distorted_maps(camera)
        else:
            K, size_wh, map_x, map_y = camera.K, camera.size_wh, None, None
        visible = find_visible(self.scene, T_world_cam, K, size_wh)
        image, labels, instances = shade(self.scene, visible)
        if len(poses) > 1:
            image = self._blur(image, poses[1:], K, size_wh)
        depth_m = self._depth(visible)
        if map_x is not None:
            image = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR)
            depth_m, labels, instances = (
                nearest(plane, map_x, map_y) for plane in (depth_m, labels, instances)
            )
        boxes = boxes_from_instances(instances, self.scene.instances, T_world_cam, camera.K)
        return RenderedFrame(apply_effects(image, effects), depth_m, labels, instances, boxes, T_world_cam)

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
            total += shade(self.scene, find_visible(self.scene, pose, K, size_wh))[0]
        return np.rint(total / (len(poses) + 1)).astype(np.uint8)
