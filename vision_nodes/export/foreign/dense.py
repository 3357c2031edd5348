"""Heads of segmentation, depth and place networks."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from vision_nodes.engine.manifest import DepthSpec
from vision_nodes.errors import ConfigError
from vision_nodes.export.foreign.builder import GraphBuilder
from vision_nodes.export.foreign.reference import RawOutput
from vision_nodes.export.foreign.request import Request
from vision_nodes.export.foreign.wrapped import Wrapped, check_names, one_output, wrong_shape
from vision_nodes.tasks.classes import UNLABELLED

FARTHEST = 50.0  # relative depth runs from 1, the nearest pixel, to this
_FLAT = 1e-6  # range of inverse depth below which a picture has no depth


def class_scores(
    b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]
) -> Wrapped:
    """Arg max and confidence of per-pixel class scores; one channel is a sigmoid between two classes."""
    raw = one_output(outputs, "(1, classes, h, w)")
    if len(raw.shape) != 4:
        raise wrong_shape("(1, classes, h, w)", outputs)
    scores, sample = raw.name, raw.sample
    notes: list[str] = []
    names = len(request.class_names)
    if raw.shape[3] == names != raw.shape[1]:
        scores, sample = b.op("Transpose", scores, perm=[0, 3, 1, 2]), sample.transpose(0, 3, 1, 2)
        notes.append("class scores along the last axis")
    _, classes, height, width = sample.shape
    if request.mask_wh is not None:
        factors = (1.0, 1.0, request.mask_wh[1] / height, request.mask_wh[0] / width)
        width, height = request.mask_wh
        scores = b.op("Resize", scores, "", b.constant(factors), mode="linear")
    probabilities = _are_probabilities(sample, request, notes)
    if classes == 1:
        labels, confidence = _two_classes(b, scores, probabilities)
    else:
        confidence = b.reduce("ReduceMax", scores, [1]) if probabilities else _softmax_peak(b, scores)
        labels = b.op("ArgMax", scores, axis=1, keepdims=0)
    _put_mask(b, labels, confidence, (height, width))
    return Wrapped(check_names(request.class_names, max(classes, 2)), notes=notes)


def _are_probabilities(sample: np.ndarray, request: Request, notes: list[str]) -> bool:
    if request.scores:
        return request.scores == "probabilities"
    bounded = sample.min() >= -1e-3 and sample.max() <= 1 + 1e-3
    shares = sample.shape[1] == 1 or bool(np.allclose(sample.sum(1), 1, atol=1e-2))
    notes.append(f"class scores taken as {'probabilities' if bounded and shares else 'logits'}")
    return bool(bounded and shares)


def _softmax_peak(b: GraphBuilder, logits: str) -> str:
    """The largest softmax, without dividing every class."""
    centred = b.op("Sub", logits, b.reduce("ReduceMax", logits, [1], keepdims=True))
    return b.op("Reciprocal", b.reduce("ReduceSum", b.op("Exp", centred), [1]))


def _two_classes(b: GraphBuilder, scores: str, probabilities: bool) -> tuple[str, str]:
    share = b.op("Squeeze", scores if probabilities else b.op("Sigmoid", scores), b.indices(1))
    labels = b.op("Greater", share, b.constant(0.5))
    return labels, b.op("Max", share, b.op("Sub", b.constant(1.0), share))


def _put_mask(b: GraphBuilder, labels: str, confidence: str, size_hw: tuple[int, int]) -> None:
    b.output(b.to_uint8(labels), "labels", TensorProto.UINT8, (1, *size_hw))
    b.output(confidence, "confidence", TensorProto.FLOAT, (1, *size_hw))


def label_map(
    b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]
) -> Wrapped:
    """Class ids as they come; ids that have no name become unlabelled. The network does not say how sure it is."""
    raw = one_output(outputs, "(1, h, w) class ids")
    height, width = _plane(raw, outputs)
    if not request.class_names:
        raise ConfigError(
            "class names: a label map does not say how many classes it has", "none", "--names FILE"
        )
    labels = b.reshape(b.cast(raw.name, TensorProto.FLOAT), 1, height, width)
    known = b.op("Less", labels, b.constant(float(len(request.class_names))))
    known = b.op("And", known, b.op("GreaterOrEqual", labels, b.constant(0.0)))
    labels = b.op("Where", known, labels, b.constant(float(UNLABELLED)))
    sure = b.op("Add", b.op("Mul", labels, b.constant(0.0)), b.constant(1.0))
    _put_mask(b, labels, sure, (height, width))
    return Wrapped(request.class_names, notes=["confidence is 1 everywhere: the network states none"])


def _plane(raw: RawOutput, outputs: list[RawOutput]) -> tuple[int, int]:
    """(h, w) of (1, h, w), (1, 1, h, w) or (1, h, w, 1)."""
    if len(raw.shape) == 3:
        return raw.shape[1], raw.shape[2]
    if len(raw.shape) == 4 and raw.shape[1] == 1:
        return raw.shape[2], raw.shape[3]
    if len(raw.shape) == 4 and raw.shape[3] == 1:
        return raw.shape[1], raw.shape[2]
    raise wrong_shape("(1, h, w) or (1, 1, h, w)", outputs)


def metric_depth(
    b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]
) -> Wrapped:
    """Metres of the camera the network learnt from; tasks/depth.py carries them over to the robot's."""
    raw = one_output(outputs, "(1, h, w) depth")
    height, width = _plane(raw, outputs)
    if request.fx_canonical is None:
        remedy = (
            "--fx-canonical PX: focal length of its training pictures at this input width "
            f"(NYU Depth v2: {518.86 * size_wh[0] / 640:.0f}, KITTI: {721.5 * size_wh[0] / 1242:.0f}, "
            f"Hypersim: {886.8 * size_wh[0] / 1024:.0f})"
        )
        raise ConfigError("the focal length that metres belong to", "none", remedy)
    metres = b.op("Mul", b.reshape(raw.name, 1, height, width), b.constant(request.metres_per_unit))
    b.output(metres, "depth", TensorProto.FLOAT, (1, height, width))
    return Wrapped(depth=DepthSpec(request.fx_canonical, request.max_m))


def inverse_depth(
    b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]
) -> Wrapped:
    """Relative depth 1 to 50 per picture: inverse depth is known up to scale and shift only, so never metres.

    The smallest and largest inverse depth of the picture become depths 50 and 1 (Ranftl et al., TPAMI 2022,
    for what such a network leaves open); the farthest two percent count as too far to say.
    """
    raw = one_output(outputs, "(1, h, w) inverse depth")
    height, width = _plane(raw, outputs)
    inverse = b.reshape(raw.name, 1, height, width)
    low, high = (b.reduce(kind, inverse, [1, 2], keepdims=True) for kind in ("ReduceMin", "ReduceMax"))
    reach = b.op("Max", b.op("Sub", high, low), b.constant(_FLAT))
    share = b.op("Div", b.op("Sub", inverse, low), reach)
    nearness = b.op("Add", b.op("Mul", share, b.constant(1 - 1 / FARTHEST)), b.constant(1 / FARTHEST))
    b.output(b.op("Reciprocal", nearness), "depth", TensorProto.FLOAT, (1, height, width))
    spec = DepthSpec(float(size_wh[0]), FARTHEST, metric=False)
    return Wrapped(depth=spec, notes=["relative depth: published on depth/unscaled, never as metres"])


def descriptor(
    b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]
) -> Wrapped:
    """Any vector, flattened, of unit norm."""
    raw = one_output(outputs, "descriptor (1, D)")
    return _put_descriptor(b, raw.name, int(np.prod(raw.shape[1:])))


def gem(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """Generalised mean over the picture, per channel (Radenovic et al., TPAMI 2019), of unit norm."""
    raw = one_output(outputs, "feature map (1, C, h, w)")
    if len(raw.shape) != 4:
        raise wrong_shape("(1, C, h, w)", outputs)
    power = request.gem_power
    raised = b.op("Pow", b.op("Max", raw.name, b.constant(1e-6)), b.constant(power))
    mean = b.reduce("ReduceMean", raised, [2, 3])
    return _put_descriptor(b, b.op("Pow", mean, b.constant(1 / power)), raw.shape[1])


def _put_descriptor(b: GraphBuilder, x: str, dim: int) -> Wrapped:
    vector = b.unit_norm(b.reshape(x, 1, dim), 1)
    b.output(vector, "descriptor", TensorProto.FLOAT, (1, dim))
    return Wrapped(descriptor_dim=dim)
