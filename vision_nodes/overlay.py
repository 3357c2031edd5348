"""Pictures of results: boxes, masks, depth and place matches drawn on the frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vision_nodes.datatypes import DepthMap, Detections, PlaceResult, Segmentation
from vision_nodes.tasks.classes import GENERAL_CLASSES, GENERAL_PALETTE

# Names that other label sets (CamVid, Cityscapes, ADE20K) have for our classes: drawn in the same colours.
SAME_CLASS = {
    "tree": "vegetation",
    "sidewalk": "pavement",
    "car": "vehicle",
    "pedestrian": "person",
    "sign_symbol": "pole_sign",
}
OTHER_COLORS = {"pole": (153, 153, 153), "fence": (190, 100, 100), "bicyclist": (255, 120, 200)}
FONT = cv2.FONT_HERSHEY_SIMPLEX


def color_of(index: int) -> tuple[int, int, int]:
    """A distinct RGB colour for a class or track id; the golden angle spreads neighbours apart."""
    hue = int(index * 137.508) % 180
    rgb = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
    return int(rgb[0]), int(rgb[1]), int(rgb[2])


def palette_for(names: Sequence[str]) -> np.ndarray:
    """(K, 3) uint8 RGB for a model's classes: the package's own colours where it knows the name."""
    known = {**dict(zip(GENERAL_CLASSES, GENERAL_PALETTE.tolist())), **OTHER_COLORS}
    colors = [known.get(SAME_CLASS.get(name, name), color_of(i)) for i, name in enumerate(names)]
    return np.array(colors, np.uint8).reshape(-1, 3)


def draw_detections(image: np.ndarray, detections: Detections, names: Sequence[str]) -> np.ndarray:
    """(H, W, 3) uint8 RGB with boxes, class names, scores and track ids; boxes in image pixels."""
    drawn = image.copy()
    for i in range(len(detections)):
        x0, y0, x1, y1 = (round(float(v)) for v in detections.boxes_xyxy[i])
        track = -1 if detections.track_ids is None else int(detections.track_ids[i])
        color = color_of(track if track >= 0 else int(detections.class_ids[i]))
        text = f"{names[int(detections.class_ids[i])]} {detections.scores[i]:.2f}" + (
            f" #{track}" if track >= 0 else ""
        )
        cv2.rectangle(drawn, (x0, y0), (x1, y1), color, 2)
        put_label(drawn, text, (x0, y0), color)
    return drawn


def put_label(
    image: np.ndarray, text: str, left_bottom: tuple[int, int], color: tuple[int, int, int]
) -> None:
    """Dark text on a filled box, kept inside the image."""
    (width, height), _ = cv2.getTextSize(text, FONT, 0.42, 1)
    x = min(max(left_bottom[0], 0), max(image.shape[1] - width - 4, 0))
    y = max(left_bottom[1], height + 4)
    cv2.rectangle(image, (x, y - height - 4), (x + width + 4, y), color, cv2.FILLED)
    cv2.putText(image, text, (x + 2, y - 3), FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


def color_mask(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(H, W) uint8 ids -> (H, W, 3) uint8 RGB; 255 (unlabelled) is black.

    Args:
        labels: (H, W) uint8 class ids.
        palette: (K, 3) uint8 RGB.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table[labels]


def draw_segmentation(
    image: np.ndarray, result: Segmentation, palette: np.ndarray, strength: float = 0.55
) -> np.ndarray:
    """The frame with the colour mask blended over it, at the frame's size."""
    mask = color_mask(result.labels, palette)
    mask = cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
    return cv2.addWeighted(image, 1 - strength, mask, strength, 0)


def draw_depth(depth: DepthMap, near_m: float | None = None, far_m: float | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of inverse depth, near is bright; invalid is black.

    The range is the map's own 2nd to 98th percentile unless given, so that two maps compare when it is.
    """
    valid = np.isfinite(depth.depth_m) & (depth.depth_m > 0)
    if not valid.any():
        return np.zeros((*depth.depth_m.shape, 3), np.uint8)
    inverse = np.zeros(depth.depth_m.shape, np.float32)
    inverse[valid] = 1.0 / depth.depth_m[valid]
    low, high = np.percentile(inverse[valid], [2, 98])
    low = 1.0 / far_m if far_m else low
    high = 1.0 / near_m if near_m else high
    scaled = np.clip((inverse - low) / max(high - low, 1e-9), 0, 1)
    colored = cv2.applyColorMap((scaled * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    colored[~valid] = 0
    return cv2.cvtColor(colored, cv2.COLOR_BGR2RGB)


def draw_place_match(query: np.ndarray, matched: np.ndarray | None, result: PlaceResult) -> np.ndarray:
    """Query and best match side by side, green frame when verified, grey when not."""
    other = np.zeros_like(query) if matched is None else matched
    if other.shape != query.shape:
        other = cv2.resize(other, (query.shape[1], query.shape[0]), interpolation=cv2.INTER_AREA)
    pair = np.concatenate([query, other], axis=1)
    color = (40, 200, 80) if result.closure else (150, 150, 150)
    cv2.rectangle(pair, (0, 0), (pair.shape[1] - 1, pair.shape[0] - 1), color, 4)
    put_label(pair, f"keyframe {result.keyframe_id}", (6, 20), color)
    if result.candidate_ids:
        text = f"keyframe {result.candidate_ids[0]}  similarity {result.candidate_scores[0]:.2f}"
        if result.closure and result.closure.inliers:  # a closure read back from a bag has no count
            text += f"  {result.closure.inliers} inliers"
        put_label(pair, text, (query.shape[1] + 6, 20), color)
    return pair
