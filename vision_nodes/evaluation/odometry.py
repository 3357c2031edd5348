"""Trajectory errors by evo's conventions: ATE after SE(3) or Sim(3) alignment, relative pose errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.evaluation.alignment import Similarity, align


@dataclass(frozen=True)
class Trajectories:
    """An estimate and the truth at the same N stamps, of the same body frame, metres."""

    stamps_ns: np.ndarray  # (N,) int64
    estimate: np.ndarray  # (N, 4, 4) T_odom_body
    truth: np.ndarray  # (N, 4, 4) T_world_body

    def at(self, index: list[int]) -> Trajectories:
        """Those poses only."""
        return Trajectories(self.stamps_ns[index], self.estimate[index], self.truth[index])


def ate(trajectories: Trajectories, *, with_scale: bool) -> tuple[float, Similarity, np.ndarray]:
    """Absolute trajectory error.

    Returns:
        RMSE in metres, the alignment, and the (N,) errors in metres.
    """
    found, true = trajectories.estimate[:, :3, 3], trajectories.truth[:, :3, 3]
    alignment = align(found, true, with_scale=with_scale)
    errors = np.linalg.norm(alignment.apply(found) - true, axis=1)
    return float(np.sqrt((errors**2).mean())), alignment, errors


def relative_errors(
    trajectories: Trajectories, step: int, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Relative pose error over `step` frames.

    Args:
        scale: factor that brings the estimate's lengths to metres.

    Returns:
        Translation errors (M,) metres and rotation errors (M,) degrees.
    """
    estimate = trajectories.estimate.copy()
    estimate[:, :3, 3] *= scale
    moved = np.linalg.inv(estimate[:-step]) @ estimate[step:]
    true = np.linalg.inv(trajectories.truth[:-step]) @ trajectories.truth[step:]
    error = np.linalg.inv(true) @ moved
    cosine = np.clip((np.trace(error[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)
    return np.linalg.norm(error[:, :3, 3], axis=1), np.degrees(np.arccos(cosine))


def path_length(poses: np.ndarray) -> float:
    """Length of (N, 4, 4) poses' positions, metres."""
    return float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())


KITTI_LENGTHS_M = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
KITTI_STEP = 10  # frames between the starts of segments, as in the benchmark's own tool


def segment_errors(
    trajectories: Trajectories, lengths_m: tuple[float, ...] = KITTI_LENGTHS_M, scale: float = 1.0
) -> tuple[float, float] | None:
    """Mean errors over path segments of fixed lengths (Geiger et al., CVPR 2012).

    Args:
        scale: factor that brings the estimate's lengths to metres.

    Returns:
        Translation in percent and rotation in degrees per metre; None when the path is shorter than every
        length.
    """
    estimate = trajectories.estimate.copy()
    estimate[:, :3, 3] *= scale
    steps = np.linalg.norm(np.diff(trajectories.truth[:, :3, 3], axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    translation, rotation = [], []
    for first in range(0, len(travelled), KITTI_STEP):
        for length in lengths_m:
            # The first frame beyond the length, as the benchmark's tool takes it.
            last = int(np.searchsorted(travelled, travelled[first] + length, side="right"))
            if last >= len(travelled):
                continue
            true = np.linalg.inv(trajectories.truth[first]) @ trajectories.truth[last]
            error = np.linalg.inv(np.linalg.inv(estimate[first]) @ estimate[last]) @ true
            cosine = np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1)
            translation.append(float(np.linalg.norm(error[:3, 3])) / length)
            rotation.append(float(np.degrees(np.arccos(cosine))) / length)
    return (100 * float(np.mean(translation)), float(np.mean(rotation))) if translation else None


def score_odometry(trajectories: Trajectories, frames: int, tracked: int) -> dict[str, float | int | None]:
    """All figures of one run.

    Args:
        frames: images the odometry was given.
        tracked: those with state tracking or degraded.
    """
    figures: dict[str, float | int | None] = {
        "frames": frames,
        "tracked": tracked,
        "tracked_fraction": tracked / frames if frames else None,
        "associated": len(trajectories.stamps_ns),
    }
    if len(trajectories.stamps_ns) < 3:
        return figures
    sim3, alignment, _ = ate(trajectories, with_scale=True)
    se3, _, _ = ate(trajectories, with_scale=False)
    length = path_length(trajectories.truth)
    translation, rotation = relative_errors(trajectories, 1, alignment.scale)
    figures |= {
        "path_m": length,
        "ate_sim3_m": sim3,
        "ate_se3_m": se3,
        "ate_sim3_percent": 100 * sim3 / length if length > 0 else None,
        # How far the published scale is off: the estimate times 1 / (1 + error) is metric.
        "scale_error": abs(1 / alignment.scale - 1),
        "rpe_translation_m": float(np.sqrt((translation**2).mean())),
        "rpe_rotation_deg": float(np.sqrt((rotation**2).mean())),
    }
    for name, scale in (("", 1.0), ("_sim3", alignment.scale)):
        errors = segment_errors(trajectories, scale=scale)
        figures[f"kitti_translation_percent{name}"] = errors[0] if errors else None
        if not name:
            figures["kitti_rotation_deg_per_m"] = errors[1] if errors else None
    return figures


def anees(errors: np.ndarray, covariances: np.ndarray) -> float:
    """Average normalised estimation error squared over the dimension; 1 is calibrated.

    Args:
        errors: (N, D) estimate minus truth.
        covariances: (N, D, D).
    """
    solved = np.linalg.solve(covariances, errors[..., None])[..., 0]
    return float((errors * solved).sum(1).mean() / errors.shape[1])
