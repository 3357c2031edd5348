"""One foreign file -> one ONNX model by the contract, proven against the file it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from vision_nodes.camera.resize_map import Fit
from vision_nodes.engine.manifest import InputSpec
from vision_nodes.errors import ConfigError, ModelError
from vision_nodes.export.foreign.builder import GraphBuilder
from vision_nodes.export.foreign.decoders import Decoder
from vision_nodes.export.foreign.names import names_in_metadata
from vision_nodes.export.foreign.reference import RawOutput, probe_picture, run_source
from vision_nodes.export.foreign.request import Normalisation, Request
from vision_nodes.export.foreign.source import (
    LUMA,
    ImageInput,
    bake_target_size,
    find_image_input,
    make_static,
    read_onnx,
)
from vision_nodes.export.foreign.wrapped import Wrapped, described
from vision_nodes.export.onnx_file import onnx_session

PREFIX = "net_"  # of everything that was in the file
TOLERANCE: dict[type, float] = {
    np.float32: 2e-3,
    np.float16: 5e-2,
    np.uint8: 2e-3,
}  # relative to the largest value
AGREEING = 0.99  # share of elements within it: near-ties of a top-k may swap


@dataclass(frozen=True)
class WrappedModel:
    """The model, what the manifest needs, and the proof: largest relative difference from the file's own outputs."""

    model: onnx.ModelProto
    image: ImageInput
    input: InputSpec
    head: Wrapped
    notes: list[str]
    difference: float


def wrap(path: Path, decoder: Decoder, request: Request) -> WrappedModel:
    """See the module.

    Raises:
        ModelError, ConfigError: the file, the head or the options do not fit; the message says what would.
    """
    model = read_onnx(path)
    defaults = decoder.defaults
    fit = Fit(request.fit or defaults.fit)
    if fit is not Fit.STRETCH and decoder.task in ("segmentation", "depth"):
        raise ConfigError(
            "--fit stretch: masks and depth cover the whole picture", fit.value, "leave --fit away"
        )
    normalisation = Normalisation.parse(request.normalisation or defaults.normalisation)
    image = find_image_input(
        model, request.size_wh, request.layout, request.colour or defaults.colour, normalisation
    )
    request = _with_names(request, decoder, model)
    fed = bake_target_size(model, image)
    reference = run_source(path, image, fed)
    static = onnx.compose.add_prefix(make_static(model, image), PREFIX)
    builder = GraphBuilder(static)
    raws = _prepare(builder, image, reference, request.outputs)
    head = decoder.decode(builder, raws, request, image.size_wh)
    difference = _prove(builder.model, raws, reference, TOLERANCE[image.dtype])
    spec = InputSpec(image.size_wh, fit)
    return WrappedModel(_simplified(builder.model), image, spec, head, head.notes, difference)


def _with_names(request: Request, decoder: Decoder, model: onnx.ModelProto) -> Request:
    """The request, with the class names that the file brings where the user gave none."""
    if request.class_names or decoder.task not in ("detection", "segmentation"):
        return request
    names = names_in_metadata({entry.key: entry.value for entry in model.metadata_props})
    return replace(request, class_names=names, names_in_file=bool(names))


def _prepare(
    b: GraphBuilder, image: ImageInput, reference: dict[str, np.ndarray], wanted: tuple[str, ...]
) -> list[RawOutput]:
    """Put the picture's nodes before the network, take its outputs off the graph; the raw outputs in float32."""
    graph = b.model.graph
    network, kinds = list(graph.node), {o.name: o.type.tensor_type.elem_type for o in graph.output}
    del graph.node[:], graph.input[:], graph.output[:]
    width, height = image.size_wh
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, (1, height, width, 3)))
    prepared = _picture_nodes(b, image)
    graph.node.append(helper.make_node("Identity", [prepared], [PREFIX + image.name], "vn_picture"))
    graph.node.extend(network)
    missing = [name for name in wanted if name not in reference]
    if missing:
        received = ", ".join(f"{name} {value.shape}" for name, value in reference.items())
        raise ConfigError(f"--outputs {', '.join(missing)} in the file", received, "choose among these")
    raws = []
    for name in wanted or reference:
        tensor, sample = PREFIX + name, reference[name]
        if kinds[tensor] == TensorProto.FLOAT16:
            tensor, sample = b.cast(tensor, TensorProto.FLOAT), sample.astype(np.float32)
        if sample.dtype.kind == "f" and not np.isfinite(sample).all():
            raise ModelError(
                "finite outputs", f"NaN or infinity in {name}", "check --normalise; export in float32"
            )
        raws.append(RawOutput(tensor, sample))
    return raws


def _picture_nodes(b: GraphBuilder, image: ImageInput) -> str:
    """uint8 (1, H, W, 3) RGB -> the network's own input; equals `ImageInput.prepare`."""
    x = b.cast("image", TensorProto.FLOAT)
    shape = (1, 1, 1, 3)
    if image.layout == "nchw":
        x, shape = b.op("Transpose", x, perm=[0, 3, 1, 2]), (1, 3, 1, 1)
    axis = shape.index(3)
    mean, std = (np.array(v, np.float32) for v in (image.normalisation.mean, image.normalisation.std))
    if mean.any():
        x = b.op("Sub", x, b.constant(mean.reshape(shape)))
    if (std != 1).any():
        x = b.op("Div", x, b.constant(std.reshape(shape)))
    if image.colour == "bgr":
        x = b.op("Gather", x, b.indices(2, 1, 0), axis=axis)
    elif image.colour == "gray":
        weighted = b.op("Mul", x, b.constant(np.array(LUMA).reshape(shape)))
        x = b.reduce("ReduceSum", weighted, [axis], keepdims=True)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(image.dtype))
    return x if kind == TensorProto.FLOAT else b.cast(x, kind)


def _prove(
    model: onnx.ModelProto, raws: list[RawOutput], reference: dict[str, np.ndarray], tolerance: float
) -> float:
    """Largest relative difference between the wrapped network's raw outputs and the file's own.

    Raises:
        ModelError: they differ: the picture is prepared otherwise, or a conversion broke the network.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for raw in raws:
        kind = helper.np_dtype_to_tensor_dtype(raw.sample.dtype)
        probe.graph.output.append(helper.make_tensor_value_info(raw.name, kind, raw.shape))
    _, height, width, _ = (axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim)
    picture = probe_picture((width, height))
    session = onnx_session(probe.SerializeToString())
    worst = 0.0
    for raw, have in zip(raws, session.run([raw.name for raw in raws], {"image": picture[None]})):
        want = raw.sample.astype(np.float64)
        off = np.abs(have.astype(np.float64) - want) / max(1.0, float(np.abs(want).max()))
        if np.mean(off <= tolerance) < AGREEING:
            raise ModelError(
                f"the file's own {described([raw])} on the test picture",
                f"a wrapped network that differs by up to {off.max():.3g} of the largest value",
                "report the network: a conversion of its operators changed it",
            )
        worst = max(worst, float(off.max()))
    return worst


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded, dead outputs gone, sorted, one name each; the same results on the test picture."""
    import onnxsim

    simple, _ = onnxsim.simplify(model)
    _, height, width, _ = (axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim)
    feed = {"image": probe_picture((width, height))[None]}
    names = [output.name for output in model.graph.output]
    pairs = zip(*(onnx_session(m.SerializeToString()).run(names, feed) for m in (model, simple)))
    for name, (want, have) in zip(names, pairs):
        near = np.isclose(
            want.astype(np.float64), have.astype(np.float64), rtol=1e-3, atol=1e-3, equal_nan=True
        )
        if near.mean() < AGREEING:
            raise ModelError(f"a simplified graph with the same {name}", "another", "report the operators")
    return simple
