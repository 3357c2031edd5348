"""Depth errors as defined by Eigen et al. (NIPS 2014), raw and after median scaling."""

from __future__ import annotations

import cv2
import numpy as np

from vision_nodes.camera.resize_map import ResizeMap

MIN_M, MAX_M = 0.1, 80.0  # truth outside this range is not scored


def compare_depth(depth_m: np.ndarray, truth_m: np.ndarray, max_m: float = MAX_M) -> dict[str, float]:
    """Errors of one frame; empty when nothing can be compared.

    Args:
        depth_m: (h, w) float32 metres, NaN invalid; sampled bilinearly at the truth's pixels.
        truth_m: (H, W) float32 metres, NaN or 0 invalid, of the same view.
        max_m: truth farther than this is not scored.

    Returns:
        abs_rel, sq_rel, rmse_m, rmse_log, delta1, delta2, delta3, abs_rel_scaled, delta1_scaled, ratio
        (median truth / median prediction), coverage (share of valid truth that has a prediction).
    """
    predicted = sample_at(depth_m, truth_m.shape)
    valid = np.isfinite(truth_m) & (truth_m > MIN_M) & (truth_m < max_m)
    both = valid & np.isfinite(predicted) & (predicted > 0)
    if not both.any():
        return {}
    found, true = predicted[both].astype(np.float64), truth_m[both].astype(np.float64)
    ratio = float(np.median(true) / np.median(found))
    figures = errors(found, true)
    scaled = errors(found * ratio, true)
    figures |= {f"{name}_scaled": scaled[name] for name in ("abs_rel", "rmse_m", "delta1")}
    return figures | {"ratio": ratio, "coverage": float(both.sum() / valid.sum())}


def errors(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """The standard figures over (N,) positive metres."""
    worst = np.maximum(found / true, true / found)
    logs = np.log(found) - np.log(true)
    return {
        "abs_rel": float((np.abs(found - true) / true).mean()),
        "sq_rel": float(((found - true) ** 2 / true).mean()),
        "rmse_m": float(np.sqrt(((found - true) ** 2).mean())),
        "rmse_log": float(np.sqrt((logs**2).mean())),
        **{f"delta{i}": float((worst < 1.25**i).mean()) for i in (1, 2, 3)},
    }


def sample_at(depth_m: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(h, w) metres resampled to another size of the same view; NaN spreads, it is never averaged away."""
    if depth_m.shape == shape:
        return depth_m
    height, width = shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    source = ResizeMap((depth_m.shape[1], depth_m.shape[0]), (width, height)).to_source(grid)
    maps = np.ascontiguousarray(source[..., 0]), np.ascontiguousarray(source[..., 1])
    return np.asarray(cv2.remap(depth_m, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def mean_figures(frames: list[dict[str, float]]) -> dict[str, float | int | None]:
    """Mean over frames, each frame counting once (the convention of KITTI and NYU tables)."""
    scored = [frame for frame in frames if frame]
    if not scored:
        return {"frames": 0, "abs_rel": None, "abs_rel_scaled": None, "delta1": None}
    means: dict[str, float | int | None] = {
        name: float(np.mean([frame[name] for frame in scored])) for name in scored[0]
    }
    # How much the scale wanders from frame to frame: what odometry's scale filter has to live with.
    means["ratio_std"] = float(np.std(np.log([frame["ratio"] for frame in scored])))
    means["frames"] = len(scored)
    return means
