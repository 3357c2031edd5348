"""Least-squares relative pose from landmarks seen in the other view, with its covariance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vision_nodes.places.rigid import inverse, retract, skew, transform

_ITERATIONS = 10
_HUBER_PX = 1.5
_MIN_SIGMA_PX = 0.5  # no detector localises better than this across viewpoints


@dataclass(frozen=True)
class Projections:
    """N matches with the 3D point of either side, NaN where unknown.

    Landmarks of the matched view are projected into the query and the other way round; a match may offer
    both, one or none.
    """

    points_matched: np.ndarray  # (N, 3), matched camera frame
    xy_query: np.ndarray  # (N, 2) px
    K_query: np.ndarray
    points_query: np.ndarray  # (N, 3), query camera frame
    xy_matched: np.ndarray  # (N, 2) px
    K_matched: np.ndarray

    @property
    def testable(self) -> np.ndarray:
        """(N,) bool: at least one side has a point."""
        return np.isfinite(self.points_matched[:, 2]) | np.isfinite(self.points_query[:, 2])

    def subset(self, keep: np.ndarray) -> Projections:
        """The matches where `keep` holds."""
        return replace(
            self,
            points_matched=self.points_matched[keep],
            xy_query=self.xy_query[keep],
            points_query=self.points_query[keep],
            xy_matched=self.xy_matched[keep],
        )

    def inliers(self, T_matched_query: np.ndarray, threshold_px: float) -> np.ndarray:
        """(N,) bool: every known point projects within the threshold, and at least one is known."""
        forward = _errors_px(inverse(T_matched_query), self.points_matched, self.xy_query, self.K_query)
        backward = _errors_px(T_matched_query, self.points_query, self.xy_matched, self.K_matched)
        bad = (forward > threshold_px) | (backward > threshold_px)
        return self.testable & ~bad


def _errors_px(T_a_b: np.ndarray, points_b: np.ndarray, xy_a: np.ndarray, K_a: np.ndarray) -> np.ndarray:
    """(N,) reprojection error, px; inf behind the camera, NaN without a point."""
    points_a = transform(T_a_b, points_b.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = (points_a @ K_a.T)[:, :2] / points_a[:, 2:]
        error = np.linalg.norm(xy - xy_a, axis=1)
    return np.where(points_a[:, 2] <= 1e-6, np.inf, error)


def refine(projections: Projections, T_matched_query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-damped Gauss-Newton on Huber-weighted reprojection errors.

    Returns:
        T_matched_query (4, 4) and its (6, 6) covariance: translation then rotation, in the matched camera's
        frame, from the residuals' robust spread and the normal matrix.
    """
    damping = 1e-6
    residual, J = _linearise(projections, T_matched_query)
    cost = _huber_cost(residual)
    for _ in range(_ITERATIONS):
        weight = _huber_weight(residual)
        H = np.einsum("nri,n,nrj->ij", J, weight, J)
        gradient = np.einsum("nri,n,nr->i", J, weight, residual)
        step = -np.linalg.solve(H + damping * np.diag(np.diag(H)), gradient)
        candidate = retract(T_matched_query, step)
        new_residual, new_J = _linearise(projections, candidate)
        new_cost = _huber_cost(new_residual)
        if new_cost > cost:
            damping *= 10
            continue
        T_matched_query, residual, J = candidate, new_residual, new_J
        converged = cost - new_cost < 1e-9 * cost
        cost, damping = new_cost, max(damping / 10, 1e-9)
        if converged:
            break
    weight = _huber_weight(residual)
    H = np.einsum("nri,n,nrj->ij", J, weight, J)
    sigma = max(1.4826 * float(np.median(np.abs(residual))), _MIN_SIGMA_PX)
    return T_matched_query, sigma**2 * np.linalg.inv(H + 1e-12 * np.trace(H) * np.eye(6))


def _linearise(projections: Projections, T_matched_query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2) residuals in px and their (M, 2, 6) derivatives by (dt, dθ) of `T_matched_query`."""
    R, t = T_matched_query[:3, :3], T_matched_query[:3, 3]
    known = np.isfinite(projections.points_matched[:, 2])
    from_centre = projections.points_matched[known].astype(np.float64) - t
    forward = _projection(
        from_centre @ R, projections.xy_query[known], projections.K_query, -np.eye(3), skew(from_centre), R.T
    )
    known = np.isfinite(projections.points_query[:, 2])
    rotated = projections.points_query[known].astype(np.float64) @ R.T
    backward = _projection(
        rotated + t,
        projections.xy_matched[known],
        projections.K_matched,
        np.eye(3),
        -skew(rotated),
        np.eye(3),
    )
    return np.concatenate([forward[0], backward[0]]), np.concatenate([forward[1], backward[1]])


def _projection(
    points: np.ndarray,
    xy: np.ndarray,
    K: np.ndarray,
    by_translation: np.ndarray,
    by_rotation: np.ndarray,
    R: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of points already in the camera frame; their motion is R @ [by_translation, by_rotation]."""
    z = np.maximum(points[:, 2], 1e-6)
    residual = np.stack(
        [K[0, 0] * points[:, 0] / z + K[0, 2] - xy[:, 0], K[1, 1] * points[:, 1] / z + K[1, 2] - xy[:, 1]], 1
    )
    by_point = np.zeros((len(z), 2, 3))
    by_point[:, 0, 0], by_point[:, 0, 2] = K[0, 0] / z, -K[0, 0] * points[:, 0] / z**2
    by_point[:, 1, 1], by_point[:, 1, 2] = K[1, 1] / z, -K[1, 1] * points[:, 1] / z**2
    motion = np.concatenate([np.broadcast_to(by_translation, by_rotation.shape), by_rotation], axis=2)
    return residual, by_point @ (R @ motion)


def _huber_weight(residual: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(residual, axis=1)
    return np.minimum(1.0, _HUBER_PX / np.maximum(norm, 1e-12))


def _huber_cost(residual: np.ndarray) -> float:
    norm = np.linalg.norm(residual, axis=1)
    quadratic = np.minimum(norm, _HUBER_PX)
    return float((quadratic * (norm - 0.5 * quadratic)).sum())
