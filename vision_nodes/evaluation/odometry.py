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
    return figures


def anees(errors: np.ndarray, covariances: np.ndarray) -> float:
    """Average normalised estimation error squared over the dimension; 1 is calibrated.

    Args:
        errors: (N, D) estimate minus truth.
        covariances: (N, D, D).
    """
    solved = np.linalg.solve(covariances, errors[..., None])[..., 0]
    return float((errors * solved).sum(1).mean() / errors.shape[1])
