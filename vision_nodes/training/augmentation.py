"""Joint augmentation of picture and labels: one homogeneous matrix for geometry, then photometric noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vision_nodes.camera.resize_map import ResizeMap


@dataclass(frozen=True)
class GeometryRange:
    """How far geometry may vary around the plain stretch to the network input."""

    zoom: tuple[float, float] = (0.7, 1.5)  # > 1 crops, < 1 shrinks onto a gray border
    aspect: float = 0.15  # log range of the side ratio
    shear: float = 0.03
    rotation_rad: float = 0.03
    flip: bool = True


def random_geometry(
    rng: np.random.Generator, source_wh: tuple[int, int], target_wh: tuple[int, int], limits: GeometryRange
) -> np.ndarray:
    """(3, 3) float64: target px = matrix @ source px (pixel centres at integers)."""
    stretch = ResizeMap(source_wh, target_wh).matrix()
    zoom = np.exp(rng.uniform(*np.log(limits.zoom)))
    ratio = np.exp(rng.uniform(-limits.aspect, limits.aspect) / 2)
    angle = rng.uniform(-limits.rotation_rad, limits.rotation_rad)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, rng.uniform(-limits.shear, limits.shear)], [0.0, 1.0]])
    mirror = np.diag([-1.0 if limits.flip and rng.random() < 0.5 else 1.0, 1.0])
    linear = turn @ shear @ np.diag([zoom * ratio, zoom / ratio]) @ mirror
    size = np.array(target_wh, np.float64)
    centre = (size - 1) / 2
    # inside the range where the picture still covers (zoom > 1) or stays within (zoom < 1) the input
    slack = np.abs(1 - np.array([zoom * ratio, zoom / ratio])) * size / 2
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - linear @ centre + rng.uniform(-slack, slack)
    return matrix @ stretch


def warp_image(image: np.ndarray, matrix: np.ndarray, target_wh: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 through `matrix`; outside is gray."""
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if shrink < 0.75:  # bilinear sampling would alias
        image = cv2.GaussianBlur(image, (0, 0), 0.35 / shrink)
    return cv2.warpAffine(image, matrix[:2], target_wh, flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114))


def warp_labels(labels: np.ndarray, matrix: np.ndarray, target_wh: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 class ids through `matrix`, nearest; outside is 255."""
    return cv2.warpAffine(labels, matrix[:2], target_wh, flags=cv2.INTER_NEAREST, borderValue=255)


def warp_boxes(boxes_xyxy: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(M, 4) boxes (image edge at 0) -> upright boxes around the warped corners, same convention."""
    if len(boxes_xyxy) == 0:
        return boxes_xyxy.reshape(0, 4)
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) - 0.5
    corners = corners @ matrix[:2, :2].T + matrix[:2, 2] + 0.5
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


def photometric(image: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Exposure, contrast, colour cast, saturation, blur, noise and JPEG blocks, each at random."""
    gain = np.exp(rng.normal(0, 0.22 * strength)) * np.exp(rng.normal(0, 0.06 * strength, 3))
    bias = rng.normal(0, 12 * strength)
    table = np.arange(256, dtype=np.float32)
    gamma = np.exp(rng.normal(0, 0.15 * strength))
    table = 255 * (table / 255) ** gamma
    lut = np.clip(table[:, None] * gain + bias, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, lut.reshape(256, 1, 3))
    if rng.random() < 0.5 * strength:
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        keep = rng.uniform(0.0, 1.4)
        image = cv2.addWeighted(image, keep, gray, 1 - keep, 0)
    if rng.random() < 0.2 * strength:
        image = _blur(image, rng)
    if rng.random() < 0.25 * strength:
        noise = rng.normal(0, rng.uniform(2, 12), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.2 * strength:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 85))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Defocus, or the motion of a moving robot."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.5)))
    length, angle = int(rng.integers(3, 9)), rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    centre, reach = (length - 1) / 2, (length - 1) / 2
    ends = [(centre + s * reach * np.cos(angle), centre + s * reach * np.sin(angle)) for s in (-1, 1)]
    cv2.line(kernel, *[tuple(round(v) for v in end) for end in ends], 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())
