"""Lens distortion of normalised image points, the three models of sensor_msgs/distortion_models."""

from __future__ import annotations

import cv2
import numpy as np


def distort(xy: np.ndarray, model: str, coefficients: np.ndarray) -> np.ndarray:
    """(N, 2) ideal normalised points (x / z, y / z) -> (N, 2) distorted normalised points.

    plumb_bob and rational_polynomial: Brown-Conrady as in OpenCV (Brown 1966; k1 k2 p1 p2 k3 and the
    rational denominator k4 k5 k6, then thin prism and tilt). equidistant: Kannala and Brandt 2006 with
    four terms, theta_d = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8).
    """
    if len(coefficients) == 0 or len(xy) == 0:
        return xy
    if model == "equidistant":
        radius = np.linalg.norm(xy, axis=1)
        theta = np.arctan(radius)
        theta_d = theta * (1 + np.polynomial.polynomial.polyval(theta**2, [0.0, *coefficients]))
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(radius > 1e-9, theta_d / radius, 1.0)
        return xy * scale[:, None]
    rays = np.column_stack([xy, np.ones(len(xy))])
    points, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), np.asarray(coefficients))
    return points[:, 0]
