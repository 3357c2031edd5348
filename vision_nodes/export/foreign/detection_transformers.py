"""Heads of detection transformers: a fixed set of queries, no suppression."""

from __future__ import annotations

from onnx import TensorProto

from vision_nodes.errors import ConfigError
from vision_nodes.export.foreign.builder import GraphBuilder
from vision_nodes.export.foreign.detection import (
    argmax_ids,
    best_rows,
    centre_to_corners,
    put_detections,
    to_pixels,
)
from vision_nodes.export.foreign.reference import RawOutput
from vision_nodes.export.foreign.request import Request
from vision_nodes.export.foreign.wrapped import Wrapped, are_logits, check_names, wrong_shape


def rtdetr(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """RT-DETR and its relatives, in whichever of three forms they were exported."""
    if len(outputs) == 1 and len(outputs[0].shape) == 3:
        return _joined(b, outputs[0], request, size_wh)
    if any(o.is_integer for o in outputs):
        return _finished(b, outputs, request, size_wh)
    return _logits_and_boxes(b, outputs, request, size_wh)


def _split(outputs: list[RawOutput]) -> tuple[RawOutput, RawOutput]:
    """(logits, boxes) of a two-output head."""
    fours = [o for o in outputs if len(o.shape) == 3 and o.shape[2] == 4]
    if len(fours) > 1:
        fours = [o for o in fours if "box" in o.name.lower()]
    others = [o for o in outputs if len(o.shape) == 3 and o not in fours]
    if len(fours) != 1 or len(others) != 1 or fours[0].shape[1] != others[0].shape[1]:
        raise wrong_shape("pair: logits (1, Q, C) and boxes (1, Q, 4)", outputs)
    return others[0], fours[0]


def _logits_and_boxes(
    b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]
) -> Wrapped:
    """Best (query, class) pairs, as the published post-processing takes them; boxes are shares of the picture."""
    logits, boxes = _split(outputs)
    _, queries, classes = logits.shape
    notes: list[str] = []
    count = min(request.candidates, queries * classes)
    scores, index = b.top(b.reshape(logits.name, 1, queries * classes), count)
    if are_logits(logits.sample, request, notes):
        scores = b.op("Sigmoid", scores)
    width = b.constant(classes, int)
    found = b.rows(boxes.name, b.op("Div", index, width), count, 4)
    pixels = to_pixels(b, centre_to_corners(b, found), request, size_wh, "unit")
    put_detections(b, pixels, scores, b.op("Mod", index, width), count)
    return Wrapped(check_names(request.class_names, classes), notes=notes)


def _finished(
    b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]
) -> Wrapped:
    """labels (1, Q), boxes (1, Q, 4) xyxy, scores (1, Q): post-processing is inside the network."""
    labels = [o for o in outputs if o.is_integer and len(o.shape) == 2]
    boxes = [o for o in outputs if not o.is_integer and len(o.shape) == 3 and o.shape[2] == 4]
    scores = [o for o in outputs if not o.is_integer and len(o.shape) == 2]
    if not (len(labels) == len(boxes) == len(scores) == 1):
        raise wrong_shape("triple: labels (1, Q), boxes (1, Q, 4), scores (1, Q)", outputs)
    if not request.class_names:
        raise ConfigError(
            "class names: this head does not say how many classes it has", "none", "--names FILE or coco80"
        )
    pixels = to_pixels(b, boxes[0].name, request, size_wh, "pixels")
    put_detections(b, pixels, scores[0].name, labels[0].name, boxes[0].shape[1])
    return Wrapped(request.class_names)


def _joined(b: GraphBuilder, raw: RawOutput, request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """(1, Q, 4 + C): boxes as shares of the picture beside class scores, as ultralytics exports RT-DETR."""
    _, queries, channels = raw.shape
    if channels < 5:
        raise wrong_shape("(1, Q, 4 + classes)", [raw])
    notes: list[str] = []
    best = b.reduce("ReduceMax", b.cut(raw.name, 2, 4, channels), [2])
    found, scores, _, count = best_rows(b, raw.name, best, (queries, channels), request)
    if are_logits(raw.sample[..., 4:], request, notes):
        scores = b.op("Sigmoid", scores)
    pixels = to_pixels(b, centre_to_corners(b, b.cut(found, 2, 0, 4)), request, size_wh, "unit")
    put_detections(b, pixels, scores, argmax_ids(b, found, 4, channels), count)
    return Wrapped(check_names(request.class_names, channels - 4), notes=notes)


def detr(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """Softmax over classes and a last one, 'no object' (Carion et al., ECCV 2020)."""
    logits, boxes = _split(outputs)
    _, queries, channels = logits.shape
    share = b.cut(b.op("Softmax", logits.name, axis=2), 2, 0, channels - 1)
    scores = b.reduce("ReduceMax", share, [2])
    class_ids = b.cast(b.op("ArgMax", share, axis=2, keepdims=0), TensorProto.INT32)
    pixels = to_pixels(b, centre_to_corners(b, boxes.name), request, size_wh, "unit")
    put_detections(b, pixels, scores, class_ids, queries)
    return Wrapped(check_names(request.class_names, channels - 1))
