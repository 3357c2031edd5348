"""FP32 ONNX to explicit INT8 (Q/DQ) in the placement that TensorRT fuses.

Symmetric int8, per channel on weights, Conv / ConvTranspose / Gemm / MatMul only, no Q/DQ between a
convolution and its ReLU, no quantized bias, weights stored as int8 (NVIDIA/TensorRT#1992). The calibration
method is the one that scores best on the task's metric, and layers that cost most stay in float32.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from vision_nodes.export.bias_correction import correct_biases, refit_linear
from vision_nodes.export.calibration import check_calibration
from vision_nodes.export.onnx_file import onnx_session, without_half_casts, write_onnx

OPERATORS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
RANGE_IMAGES, BIAS_IMAGES = 64, 16  # at most so many find the ranges, so many the shifts of channels
EARLY_LAYERS = 7  # stem and six depthwise convolutions
logger = logging.getLogger(__name__)
METHODS = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {"CalibPercentile": 99.999}),
}


@dataclass(frozen=True)
class Recipe:
    """What was chosen: the calibration method and the layers left in float32."""

    method: str = "minmax"
    excluded: tuple[str, ...] = field(default=())
    corrected: bool = False  # biases and fully connected layers give back what rounding moved


class _Images(CalibrationDataReader):
    """Feeds uint8 pictures one by one."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self._left: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image[None]}


def quantize(source: Path, target: Path, images: list[np.ndarray], recipe: Recipe) -> None:
    """Write the Q/DQ file of `source` for one recipe.

    Args:
        images: (H, W, 3) uint8 RGB of the input size; a corrected recipe makes use of hundreds.

    Raises:
        ModelError: the calibration set is unusable.
    """
    check_calibration(images)
    method, options = METHODS[recipe.method]
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        onnx.save(without_half_casts(onnx.load(source)), plain)
        quantized = Path(folder) / "quantized.onnx"
        quantize_static(
            plain,
            quantized,
            _Images(images[:: -(-len(images) // RANGE_IMAGES)]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            nodes_to_exclude=list(recipe.excluded),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "AddQDQPairToWeight": False,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": OPERATORS,
                **options,
            },
        )
        write_onnx(onnx.load(quantized), target)
    if recipe.corrected:
        correct_biases(source, target, images[:: -(-len(images) // BIAS_IMAGES)])
        refit_linear(source, target, images)


def sensitive_layers(source: Path, images: list[np.ndarray], method: str, count: int) -> list[str]:
    """The `count` convolutions whose inputs survive int8 worst, worst first.

    Compares every convolution's input with its fake-quantized self, at the scale that `method` found:
    signal-to-noise in dB, lowest first.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "all.onnx"
        quantize(source, target, images, Recipe(method))
        scales = _input_scales(onnx.load(target))
        model = without_half_casts(onnx.load(source))
        wanted = sorted({tensor for tensor, _ in scales.values()})
        kinds = {tensor.name for tensor in model.graph.output}
        for name in wanted:
            if name not in kinds:
                model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        session = onnx_session(model.SerializeToString())
        noise: dict[str, list[float]] = {node: [] for node in scales}
        for image in images[:4]:
            values = dict(zip(wanted, session.run(wanted, {"image": image[None]})))
            for node, (tensor, scale) in scales.items():
                noise[node].append(_signal_to_noise_db(values[tensor], scale))
    ranked = sorted(noise, key=lambda node: float(np.mean(noise[node])))
    return ranked[:count]


def _input_scales(model: onnx.ModelProto) -> dict[str, tuple[str, float]]:
    """Quantized node -> (its input tensor's name in the float graph, the scale)."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    scales = {}
    for node in model.graph.node:
        dequantize = producers.get(node.input[0]) if node.op_type in OPERATORS else None
        if dequantize is not None and dequantize.op_type == "DequantizeLinear":
            quantized = producers[dequantize.input[0]]
            scales[node.name] = (quantized.input[0], float(constants[quantized.input[1]]))
    return scales


def _signal_to_noise_db(value: np.ndarray, scale: float) -> float:
    rounded = np.clip(np.rint(value / scale), -128, 127) * scale
    noise = float(np.square(value - rounded).mean()) + 1e-20
    return 10 * float(np.log10((float(np.square(value).mean()) + 1e-20) / noise))


def fed_by_concat(source: Path) -> tuple[str, ...]:
    """Convolutions whose input is a Concat, directly.

    OpenVINO 2026.4 computes some of them wrongly once their weights are int8 (GhostPAN's: class scores off
    by 0.5 while ONNX Runtime agrees with float); whether a model is hit shows in its score.
    """
    model = onnx.load(source)
    concats = {output for node in model.graph.node if node.op_type == "Concat" for output in node.output}
    return tuple(n.name for n in model.graph.node if n.op_type in OPERATORS and n.input[0] in concats)


def depthwise_layers(source: Path) -> tuple[str, ...]:
    """The first convolution and every depthwise one; () without any depthwise.

    Few weights per channel and no averaging over channels: rounding hurts here most, and they cost little time.
    NanoDet-Plus at 320x320, 500 pictures: AP 0.235 in float32, 0.228 with them in int8, 0.234 without; 9.7 and
    10.7 ms.
    """
    model = onnx.load(source)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = {n.name: next((a.i for a in n.attribute if a.name == "group"), 1) for n in convolutions}
    depthwise = [name for name, count in groups.items() if count > 1]
    return (convolutions[0].name, *depthwise) if depthwise else ()


def early_depthwise(source: Path) -> tuple[str, ...]:
    """The first `EARLY_LAYERS` of `depthwise_layers`."""
    return depthwise_layers(source)[:EARLY_LAYERS]


def choose_recipe(
    source: Path, images: list[np.ndarray], score: Callable[[Path], float], floor: float
) -> tuple[Recipe, float]:
    """The first recipe that scores `floor`, else the best: calibration methods, then early depthwise layers in
    float32 with what rounding moved given back, then all depthwise layers in float32, then the noisiest ones.

    Args:
        score: metric of a quantized file in the runtime that will serve it, higher is better.
    """
    concat = fed_by_concat(source)
    recipes = [Recipe("minmax"), Recipe("percentile"), Recipe("minmax", concat), Recipe("percentile", concat)]
    best, chosen = -np.inf, recipes[0]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "trial.onnx"

        def attempt(recipe: Recipe) -> None:
            nonlocal best, chosen
            quantize(source, target, images, recipe)
            value = score(target)
            logger.info("%s, %d layers in float32: %.4f", recipe.method, len(recipe.excluded), value)
            if value > best:
                best, chosen = value, recipe

        depthwise = depthwise_layers(source)
        repaired = [Recipe("minmax", early_depthwise(source), corrected=True)] if depthwise else []
        if len(depthwise) > EARLY_LAYERS:
            repaired.append(Recipe("percentile", tuple(dict.fromkeys((*concat, *depthwise)))))
        for recipe in [*(recipes if concat else recipes[:2]), *repaired]:
            if best < floor:
                attempt(recipe)
        ranked = sensitive_layers(source, images, chosen.method, 16) if best < floor else []
        base = chosen.excluded
        for count in (2, 4, 8, 16):
            if best < floor:
                layers = tuple(dict.fromkeys((*base, *ranked[:count])))
                attempt(Recipe(chosen.method, layers, chosen.corrected))
    return chosen, best
