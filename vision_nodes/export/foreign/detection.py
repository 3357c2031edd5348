"""Heads of one-stage detectors -> `boxes`, `scores`, `class_ids` (docs/manifest.md).

Every decoder hands on the best candidates only and leaves suppression to tasks/detection.py. Boxes leave in the
project's pixels (top-left pixel centre at (0, 0)), half a pixel less than the edges the networks are trained on.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from vision_nodes.errors import ConfigError
from vision_nodes.export.foreign.builder import GraphBuilder
from vision_nodes.export.foreign.reference import RawOutput
from vision_nodes.export.foreign.request import Request
from vision_nodes.export.foreign.wrapped import (
    Wrapped,
    are_logits,
    check_names,
    one_output,
    wrong_shape,
)

HALF_PX = 0.5
YOLOX_STRIDES = (8, 16, 32)
# (strides, offset of a cell's centre in cells): NanoDet-Plus, and NanoDet before it
NANODET_GRIDS = (((8, 16, 32, 64), 0.0), ((8, 16, 32), 0.5))


def put_detections(b: GraphBuilder, boxes: str, scores: str, class_ids: str, count: int) -> None:
    """Declare the contract's outputs: (1, N, 4) xyxy edges, (1, N), (1, N) of any integer or float type."""
    moved = b.op("Sub", boxes, b.constant(HALF_PX))
    b.output(moved, "boxes", TensorProto.FLOAT, (1, count, 4))
    b.output(scores, "scores", TensorProto.FLOAT, (1, count))
    b.output(b.cast(class_ids, TensorProto.INT32), "class_ids", TensorProto.INT32, (1, count))


def best_rows(
    b: GraphBuilder, rows: str, scores: str, sizes: tuple[int, int], request: Request
) -> tuple[str, str, str, int]:
    """Rows of the best locations.

    Args:
        rows: (1, A, D); scores: (1, A).
        sizes: A, D.

    Returns:
        Rows (1, N, D), their scores (1, N), their indices (1, N), N.
    """
    count = min(sizes[0], request.candidates)
    values, index = b.top(scores, count)
    return b.rows(rows, index, count, sizes[1]), values, index, count


def centre_to_corners(b: GraphBuilder, boxes: str) -> str:
    """(1, N, 4) centre x, y, width, height -> xyxy."""
    centre, half = b.cut(boxes, 2, 0, 2), b.op("Mul", b.cut(boxes, 2, 2, 4), b.constant(0.5))
    return b.op("Concat", b.op("Sub", centre, half), b.op("Add", centre, half), axis=2)


def to_pixels(b: GraphBuilder, boxes: str, request: Request, size_wh: tuple[int, int], usual: str) -> str:
    """Boxes in shares of the picture -> network pixels, where they are."""
    if (request.box_unit or usual) == "pixels":
        return boxes
    return b.op("Mul", boxes, b.constant((*size_wh, *size_wh)))


def argmax_ids(b: GraphBuilder, rows: str, start: int, stop: int) -> str:
    """(1, N) class of the highest of columns `start` to `stop`."""
    return b.op("ArgMax", b.cut(rows, 2, start, stop), axis=2, keepdims=0)


def yolov8(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """Anchor-free YOLO: per location centre, size and class scores; further channels (masks, poses) are left."""
    raw = one_output([o for o in outputs if len(o.shape) == 3], "(1, 4 + classes, locations)")
    channels, locations = sorted(raw.shape[1:])
    if 4 + len(request.class_names) == locations:  # a tiny picture has fewer locations than channels
        channels, locations = locations, channels
    classes = channels - 4
    has_masks = any(len(o.shape) == 4 for o in outputs)
    if 0 < len(request.class_names) < classes and (request.names_in_file or has_masks):
        classes = len(request.class_names)
    if channels < 5 or channels == locations:
        raise wrong_shape("(1, 4 + classes, locations)", outputs)
    notes: list[str] = []
    if classes < channels - 4:
        notes.append(
            f"{channels - 4 - classes} channels after the {classes} classes are left out (masks or key points)"
        )
    rows = raw.name if raw.shape[2] == channels else b.op("Transpose", raw.name, perm=[0, 2, 1])
    sample = raw.sample if raw.shape[2] == channels else raw.sample.transpose(0, 2, 1)
    best = b.reduce("ReduceMax", b.cut(rows, 2, 4, 4 + classes), [2])
    found, scores, _, count = best_rows(b, rows, best, (locations, channels), request)
    if are_logits(sample[..., 4 : 4 + classes], request, notes):
        scores = b.op("Sigmoid", scores)
    boxes = to_pixels(b, centre_to_corners(b, b.cut(found, 2, 0, 4)), request, size_wh, "pixels")
    put_detections(b, boxes, scores, argmax_ids(b, found, 4, 4 + classes), count)
    return Wrapped(check_names(request.class_names, classes), notes=notes)


def _with_objectness(
    b: GraphBuilder, raw: RawOutput, outputs: list[RawOutput], request: Request, notes: list[str]
) -> tuple[str, str, str, int]:
    """Best rows of a (1, A, 5 + C) head by objectness times class score."""
    if len(raw.shape) != 3 or raw.shape[2] < 6:
        raise wrong_shape("(1, locations, 5 + classes)", outputs)
    _, locations, channels = raw.shape
    score = raw.name
    if are_logits(raw.sample[..., 4:], request, notes, "objectness and class scores"):
        score = b.op("Sigmoid", raw.name)
    best = b.reduce("ReduceMax", b.cut(score, 2, 5, channels), [2])
    best = b.op("Mul", best, b.reshape(b.cut(score, 2, 4, 5), 1, locations))
    return best_rows(b, raw.name, best, (locations, channels), request)


def yolov5(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """Anchor-based YOLO, decoded: centre, size, objectness, class scores; the first 3-D output holds all levels."""
    raw = one_output([o for o in outputs if len(o.shape) == 3], "(1, locations, 5 + classes)")
    notes: list[str] = []
    found, scores, _, count = _with_objectness(b, raw, outputs, request, notes)
    boxes = to_pixels(b, centre_to_corners(b, b.cut(found, 2, 0, 4)), request, size_wh, "pixels")
    put_detections(b, boxes, scores, argmax_ids(b, found, 5, raw.shape[2]), count)
    return Wrapped(check_names(request.class_names, raw.shape[2] - 5), notes=notes)


def grid(size_wh: tuple[int, int], strides: tuple[int, ...], offset: float) -> np.ndarray:
    """(A, 3) float32: x, y in px and stride of every cell, levels one after another, rows first."""
    levels = []
    for stride in strides:
        ys, xs = np.mgrid[: -(-size_wh[1] // stride), : -(-size_wh[0] // stride)]
        cells = (np.stack((xs, ys), -1).reshape(-1, 2) + offset) * stride
        levels.append(np.concatenate((cells, np.full((len(cells), 1), stride)), 1))
    return np.concatenate(levels).astype(np.float32)


def yolox(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """Undecoded YOLOX: centre = (cell + offset) * stride, size = exp(value) * stride (Ge et al., 2021)."""
    raw = one_output(outputs, "(1, cells, 5 + classes)")
    places = grid(size_wh, YOLOX_STRIDES, 0.0)
    if len(raw.shape) != 3 or raw.shape[1] != len(places):
        raise wrong_shape(
            f"(1, {len(places)}, 5 + classes), a row per cell at strides {YOLOX_STRIDES}", outputs
        )
    notes: list[str] = []
    found, scores, index, count = _with_objectness(b, raw, outputs, request, notes)
    place = b.rows(b.constant(places[None]), index, count, 3)
    stride = b.cut(place, 2, 2, 3)
    centre = b.op("Add", b.op("Mul", b.cut(found, 2, 0, 2), stride), b.cut(place, 2, 0, 2))
    size = b.op("Mul", b.op("Exp", b.cut(found, 2, 2, 4)), stride)
    boxes = centre_to_corners(b, b.op("Concat", centre, size, axis=2))
    put_detections(b, boxes, scores, argmax_ids(b, found, 5, raw.shape[2]), count)
    return Wrapped(check_names(request.class_names, raw.shape[2] - 5), notes=notes)


def end2end(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """Finished boxes: x1, y1, x2, y2, score, class per row; suppression happened inside the network."""
    raw = one_output([o for o in outputs if len(o.shape) == 3], "(1, N, 6)")
    if raw.shape[2] < 6:
        raise wrong_shape("(1, N, 6): xyxy, score, class", outputs)
    if not request.class_names:
        raise ConfigError(
            "class names: this head does not say how many classes it has", "none", "--names FILE or coco80"
        )
    _, locations, width = raw.shape
    score = b.reshape(b.cut(raw.name, 2, 4, 5), 1, locations)
    found, scores, _, count = best_rows(b, raw.name, score, (locations, width), request)
    boxes = to_pixels(b, b.cut(found, 2, 0, 4), request, size_wh, "pixels")
    put_detections(b, boxes, scores, b.reshape(b.cut(found, 2, 5, 6), 1, count), count)
    return Wrapped(request.class_names)


def nanodet(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """Distances to the four sides as distributions over bins (Li et al., Generalized Focal Loss, 2020)."""
    raw = one_output(outputs, "(1, cells, classes + 4 * bins)")
    if len(raw.shape) != 3:
        raise wrong_shape("(1, cells, classes + 4 * bins)", outputs)
    _, locations, channels = raw.shape
    grids = [grid(size_wh, strides, offset) for strides, offset in NANODET_GRIDS]
    places = next((places for places in grids if len(places) == locations), None)
    if places is None:
        wanted = " or ".join(str(len(places)) for places in grids)
        raise wrong_shape(f"with {wanted} cells for {size_wh[0]}x{size_wh[1]}", outputs)
    classes = len(request.class_names)
    if classes == 0 or classes >= channels or (channels - classes) % 4:
        guess = channels - 32
        check_names(request.class_names, max(guess, 1))
        raise wrong_shape(f"of {classes} classes + 4 * bins channels", outputs)
    bins, notes = (channels - classes) // 4, [f"{(channels - classes) // 4} bins per side"]
    best = b.reduce("ReduceMax", b.cut(raw.name, 2, 0, classes), [2])
    found, scores, index, count = best_rows(b, raw.name, best, (locations, channels), request)
    if are_logits(raw.sample[..., :classes], request, notes):
        scores = b.op("Sigmoid", scores)
    place = b.rows(b.constant(places[None]), index, count, 3)
    sides = b.reshape(b.cut(found, 2, classes, channels), 1, count, 4, bins)
    share = b.op("Mul", b.op("Softmax", sides, axis=3), b.constant(np.arange(bins)))
    distance = b.op("Mul", b.reduce("ReduceSum", share, [3]), b.cut(place, 2, 2, 3))
    centre = b.cut(place, 2, 0, 2)
    low, high = b.op("Sub", centre, b.cut(distance, 2, 0, 2)), b.op("Add", centre, b.cut(distance, 2, 2, 4))
    put_detections(b, b.op("Concat", low, high, axis=2), scores, argmax_ids(b, found, 0, classes), count)
    return Wrapped(request.class_names, notes=notes)
