"""Pairs of RGB-D frames that see the same surfaces: the truth that local features are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vision_nodes.bags.folder import Sequence, SequenceFrame, read_sequence
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import invert, matrix_from_quat_xyzw
from vision_nodes.errors import BagError
from vision_nodes.simulation.loops import loop_pairs


@dataclass(frozen=True)
class PosePairs:
    """Frames of one camera and P pairs of them."""

    name: str
    images: list[Path]
    camera: CameraModel
    T_world_cam: np.ndarray  # (N, 4, 4) float64, optical frames, metres
    pairs: np.ndarray  # (P, 2) int64 indices of frames
    overlap: np.ndarray  # (P,) float32, symmetric share of surfaces seen by both

    def relative(self, pair: int) -> np.ndarray:
        """T_b_a (4, 4) of one pair."""
        a, b = self.pairs[pair]
        return np.asarray(invert(self.T_world_cam[b]) @ self.T_world_cam[a])


def read_pose_pairs(
    folder: Path, min_overlap: float = 0.3, min_baseline_m: float = 0.1, limit: int = 0, seed: int = 0
) -> PosePairs:
    """Pairs of all frames of a sequence folder that have a pose and a depth image.

    Args:
        min_overlap: symmetric overlap from poses and depth, occlusion checked, as in ``loops.csv``.
        min_baseline_m: nearer cameras are left out: truth that is good to 2 cm knows no direction there.
        limit: that many of them at most, drawn at random; 0 = all.

    Raises:
        BagError: no camera, no poses, or fewer than two frames with depth.
    """
    sequence = read_sequence(folder)
    poses = _poses(sequence)
    frames = [frame for frame in sequence.frames if frame.depth is not None and frame.stamp_ns in poses]
    if sequence.camera is None or len(frames) < 2:
        received = f"{len(frames)} frames with both, camera {sequence.camera is not None}"
        raise BagError("camera.yaml, poses and depth images", received, f"see {folder}/SOURCE.md")
    T_world_cam = np.stack([poses[frame.stamp_ns] for frame in frames])
    found = loop_pairs(T_world_cam, sequence.camera, [_depth(frame) for frame in frames])
    positions = T_world_cam[:, :3, 3]
    baseline = np.linalg.norm(positions[found.pairs[:, 0]] - positions[found.pairs[:, 1]], axis=1)
    chosen = np.flatnonzero((found.overlap >= min_overlap) & (baseline >= min_baseline_m))
    if limit and len(chosen) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, limit, replace=False))
    pictures = [frame.image for frame in frames]
    return PosePairs(
        folder.name, pictures, sequence.camera, T_world_cam, found.pairs[chosen], found.overlap[chosen]
    )


def _poses(sequence: Sequence) -> dict[int, np.ndarray]:
    poses = {}
    for stamp, values in sequence.poses:
        T_world_cam = np.eye(4)
        T_world_cam[:3, :3], T_world_cam[:3, 3] = matrix_from_quat_xyzw(values[3:]), values[:3]
        poses[stamp] = T_world_cam
    return poses


def _depth(frame: SequenceFrame) -> np.ndarray:
    """(H / 4, W / 4) float32 metres, NaN = none: enough for the overlap."""
    millimetres = cv2.imread(str(frame.depth), cv2.IMREAD_UNCHANGED)
    if millimetres is None:
        raise BagError("a readable depth image", str(frame.depth), "copy the folder again")
    metres = millimetres[::4, ::4].astype(np.float32) / 1000
    return np.where(metres > 0, metres, np.nan)
