"""Heads of local-feature networks -> `keypoints`, `scores`, `descriptors`."""

from __future__ import annotations

from onnx import TensorProto

from vision_nodes.errors import ModelError
from vision_nodes.export.foreign.builder import GraphBuilder
from vision_nodes.export.foreign.reference import RawOutput
from vision_nodes.export.foreign.request import Request
from vision_nodes.export.foreign.wrapped import Wrapped, described, wrong_shape

CELL = 8  # px; side of a keypoint cell
BINS = CELL * CELL + 1  # pixels of a cell, and "none"
XFEAT_HEAT, SUPERPOINT_HEAT = 0.05, 0.005  # published detection thresholds
XFEAT_NMS, SUPERPOINT_NMS = 5, 9  # px, sides of the suppression window


def put_features(
    b: GraphBuilder, keypoints: str, scores: str, descriptors: str, sizes: tuple[int, int]
) -> Wrapped:
    """Declare the contract's outputs: (1, N, 2) px, (1, N), (1, N, D); `sizes` N, D."""
    count, dim = sizes
    b.output(keypoints, "keypoints", TensorProto.FLOAT, (1, count, 2))
    b.output(scores, "scores", TensorProto.FLOAT, (1, count))
    b.output(b.unit_norm(descriptors, 2), "descriptors", TensorProto.FLOAT, (1, count, dim))
    return Wrapped(descriptor_dim=dim)


def _maps(
    outputs: list[RawOutput], size_wh: tuple[int, int]
) -> tuple[RawOutput, RawOutput, RawOutput | None]:
    """Cell logits (65 channels), descriptors, and reliability (1 channel) where there is one."""
    grid = (size_wh[1] // CELL, size_wh[0] // CELL)
    fitting = [o for o in outputs if len(o.shape) == 4 and o.shape[2:] == grid]
    cells = [o for o in fitting if o.shape[1] == BINS]
    sure = [o for o in fitting if o.shape[1] == 1]
    dense = [o for o in fitting if o.shape[1] not in (1, BINS)]
    if len(cells) != 1 or len(dense) != 1 or len(sure) > 1:
        raise wrong_shape(
            f"set of maps (1, 65, {grid[0]}, {grid[1]}) and (1, D, {grid[0]}, {grid[1]})", outputs
        )
    return cells[0], dense[0], sure[0] if sure else None


def _peaks(b: GraphBuilder, cells: RawOutput, window: int, threshold: float) -> str:
    """(1, 1, H, W) heat, 0 where another pixel of the window is hotter or it is below the threshold."""
    sums = cells.sample.sum(1)
    shares = bool(cells.sample.min() >= 0 and abs(float(sums.mean()) - 1) < 1e-3)
    share = cells.name if shares else b.op("Softmax", cells.name, axis=1)
    heat = b.op("DepthToSpace", b.cut(share, 1, 0, BINS - 1), blocksize=CELL, mode="CRD")
    around = b.op("MaxPool", heat, kernel_shape=[window] * 2, strides=[1, 1], pads=[window // 2] * 4)
    is_peak = b.op("And", b.op("GreaterOrEqual", heat, around), b.op("Greater", heat, b.constant(threshold)))
    return b.op("Mul", heat, b.cast(is_peak, TensorProto.FLOAT))


def _strongest(b: GraphBuilder, rank: str, size_wh: tuple[int, int], count: int) -> tuple[str, str, str]:
    """Indices (1, N) of the highest pixels, their values, and their (1, N, 2) float px."""
    width, height = size_wh
    values, index = b.top(b.reshape(rank, 1, height * width), count)
    row = b.constant(width, int)
    xy = [
        b.op("Unsqueeze", part, b.indices(2)) for part in (b.op("Mod", index, row), b.op("Div", index, row))
    ]
    return index, values, b.cast(b.op("Concat", *xy, axis=2), TensorProto.FLOAT)


def _sampled(
    b: GraphBuilder, x: str, keypoints: str, scale: list[tuple[float, float]], how: tuple[str, bool]
) -> str:
    """Map `x` at keypoints * factor + offset (grid units): (1, channels, N)."""
    factor, offset = scale
    grid = b.op("Add", b.op("Mul", keypoints, b.constant(factor)), b.constant(offset))
    values = b.sample(x, b.op("Unsqueeze", grid, b.indices(2)), *how)
    return b.op("Squeeze", values, b.indices(3))


def _count(request: Request, size_wh: tuple[int, int]) -> int:
    return min(request.candidates, size_wh[0] * size_wh[1] // CELL**2)


def xfeat(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """XFeat (Potje et al., CVPR 2024), with its published sampling: corners aligned in the grid, not in the sampler."""
    cells, dense, sure = _maps(outputs, size_wh)
    if sure is None:
        raise wrong_shape("reliability (1, 1, h, w) beside the two maps", outputs)
    count, (width, height) = _count(request, size_wh), size_wh
    heat = _peaks(b, cells, XFEAT_NMS, XFEAT_HEAT)
    large = b.op("Resize", sure.name, "", b.constant((1.0, 1.0, CELL, CELL)), mode="linear")
    index, _, keypoints = _strongest(b, b.op("Mul", heat, large), size_wh, count)
    scale = [(2 / (width - 1), 2 / (height - 1)), (-1.0, -1.0)]
    reliable = b.reshape(_sampled(b, sure.name, keypoints, scale, ("bilinear", False)), 1, count)
    hot = b.op("GatherElements", b.reshape(heat, 1, height * width), index, axis=1)
    unit = b.unit_norm(dense.name, 1)
    vectors = _sampled(b, unit, keypoints, scale, ("bicubic", False))
    vectors = b.op("Transpose", vectors, perm=[0, 2, 1])
    return put_features(b, keypoints, b.op("Mul", hot, reliable), vectors, (count, dense.shape[1]))


def superpoint(
    b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]
) -> Wrapped:
    """SuperPoint (DeTone et al., CVPRW 2018): descriptors are sampled between the cells' centres."""
    cells, dense, _ = _maps(outputs, size_wh)
    count, (width, height) = _count(request, size_wh), size_wh
    heat = _peaks(b, cells, SUPERPOINT_NMS, SUPERPOINT_HEAT)
    _, scores, keypoints = _strongest(b, heat, size_wh, count)
    half = (CELL - 1) / 2  # centre of the first cell, px
    spans = (width - CELL, height - CELL)  # from the first to the last cell's centre, px
    scale = [(2 / spans[0], 2 / spans[1]), (-1 - 2 * half / spans[0], -1 - 2 * half / spans[1])]
    vectors = _sampled(b, b.unit_norm(dense.name, 1), keypoints, scale, ("bilinear", True))
    vectors = b.op("Transpose", vectors, perm=[0, 2, 1])
    return put_features(b, keypoints, scores, vectors, (count, dense.shape[1]))


def sparse(b: GraphBuilder, outputs: list[RawOutput], request: Request, size_wh: tuple[int, int]) -> Wrapped:
    """Finished keypoints; `--box-unit unit` when they run from 0 to 1 instead of over pixels."""
    points = [o for o in outputs if len(o.shape) in (2, 3) and o.shape[-1] == 2]
    scores = [o for o in outputs if o not in points and len(o.shape) in (1, 2) and 2 not in o.shape[1:]]
    if len(points) != 1 or len(scores) > 1:
        raise wrong_shape("set: keypoints (1, N, 2), scores (1, N), descriptors (1, N, D)", outputs)
    count = points[0].shape[-2]
    rest = [o for o in outputs if o not in points and o not in scores and count in o.shape]
    if len(rest) != 1 or not scores or scores[0].sample.size != count:
        raise wrong_shape("set: keypoints (1, N, 2), scores (1, N), descriptors (1, N, D)", outputs)
    shape = rest[0].shape[-2:]
    if shape[0] != count and shape[1] != count:
        raise ModelError(f"descriptors of {count} keypoints", described(rest), "choose with --outputs")
    dim = shape[1] if shape[0] == count else shape[0]
    vectors = b.cast(rest[0].name, TensorProto.FLOAT)
    if shape[0] != count:
        vectors = b.op("Transpose", b.reshape(vectors, 1, dim, count), perm=[0, 2, 1])
    keypoints = b.reshape(b.cast(points[0].name, TensorProto.FLOAT), 1, count, 2)
    if request.box_unit == "unit":
        keypoints = b.op("Mul", keypoints, b.constant(size_wh))
    flat = b.reshape(b.cast(scores[0].name, TensorProto.FLOAT), 1, count)
    return put_features(b, keypoints, flat, b.reshape(vectors, 1, count, dim), (count, dim))
