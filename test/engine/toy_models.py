"""Small real ONNX models, built here, with their manifests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vision_nodes.camera.resize_map import Fit
from vision_nodes.engine.manifest import InputSpec, Manifest, ModelFile, OutputSpec, Training

H, W, CLASSES = 12, 16, 4
TRAINING = Training((), 0, "none: random weights of a test", "random")


def segmentation_graph(seed: int = 0, batch: int = 1, quantized: bool = False) -> onnx.ModelProto:
    """uint8 image -> conv -> softmax -> labels uint8 and confidence, as the contract wants it."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.4, (CLASSES, 3, 3, 3)).astype(np.float32)
    constants = {
        "mean": np.full((1, 3, 1, 1), 110, np.float32),
        "scale": np.float32(1 / 60),
        "axes": np.array([1]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], "to_nchw", perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["nchw", "mean"], ["centred"], "centre"),
        helper.make_node("Mul", ["centred", "scale"], ["x"], "scale_it"),
    ]
    x, w = "x", "weights"
    if quantized:
        scale = np.abs(weights).max((1, 2, 3)) / 127
        constants |= {"ws": scale.astype(np.float32), "wz": np.zeros(CLASSES, np.int8)}
        constants |= {"xs": np.float32(2.5 / 127), "xz": np.int8(0)}
        constants["weights"] = np.round(weights / scale[:, None, None, None]).astype(np.int8)
        nodes += [
            helper.make_node("DequantizeLinear", ["weights", "ws", "wz"], ["weights_f"], "dq_w", axis=0),
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["x_q"], "q_x"),
            helper.make_node("DequantizeLinear", ["x_q", "xs", "xz"], ["x_dq"], "dq_x"),
        ]
        x, w = "x_dq", "weights_f"
    else:
        constants["weights"] = weights
    nodes += [
        helper.make_node("Conv", [x, w], ["logits"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["logits"], ["probability"], "softmax", axis=1),
        helper.make_node("ReduceMax", ["probability", "axes"], ["confidence"], "best", keepdims=0),
        helper.make_node("ArgMax", ["logits"], ["label64"], "argmax", axis=1, keepdims=0),
        helper.make_node("Cast", ["label64"], ["label_f"], "label_to_float", to=TensorProto.FLOAT),
        helper.make_node("Cast", ["label_f"], ["labels"], "label_to_uint8", to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "segmentation",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, H, W, 3])],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [batch, H, W]),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, [batch, H, W]),
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def expected_outputs(image: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence of `segmentation_graph` for one (H, W, 3) image, in plain NumPy."""
    weights = np.random.default_rng(seed).normal(0, 0.4, (CLASSES, 3, 3, 3)).astype(np.float32)
    x = np.pad(((image.astype(np.float64) - 110) / 60).transpose(2, 0, 1), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    logits = np.einsum("chwij,kcij->khw", windows, weights)
    probability = np.exp(logits - logits.max(0))
    return logits.argmax(0), (probability / probability.sum(0)).max(0)


def detection_graph() -> onnx.ModelProto:
    """Five "boxes" that are the image's first pixels; class_ids is a cast of ArgMax, as exporters write it."""
    constants = {
        "shape": np.array([1, -1, 4]),
        "from": np.array([0]),
        "to": np.array([5]),
        "one": np.array([1]),
        "two": np.array([2]),
        "gain": np.float32(0.01),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "shape"], ["rows"], "rows"),
        helper.make_node("Slice", ["rows", "from", "to", "one"], ["boxes"], "first"),
        helper.make_node("ReduceMean", ["boxes", "two"], ["mean"], "mean", keepdims=0),
        helper.make_node("Mul", ["mean", "gain"], ["logit"], "gain"),
        helper.make_node("Sigmoid", ["logit"], ["scores"], "sigmoid"),
        helper.make_node("ArgMax", ["boxes"], ["argmax"], "argmax", axis=2, keepdims=0),
        helper.make_node("Cast", ["argmax"], ["class_ids"], "to_int32", to=TensorProto.INT32),
    ]
    graph = helper.make_graph(
        nodes,
        "detection",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, H, W, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 5, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5]),
            helper.make_tensor_value_info("class_ids", TensorProto.INT32, [1, 5]),
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def write_model(
    directory: Path, models: dict[str, onnx.ModelProto], name: str = "toy", batch: int = 1
) -> Manifest:
    """Store ONNX files and their manifest; returns it as read back."""
    files = {}
    for precision, model in models.items():
        path = directory / f"{name}_{precision}.onnx"
        path.write_bytes(model.SerializeToString())
        files[precision] = ModelFile.of(path)
    Manifest(
        name=name,
        task="segmentation",
        description="a test network",
        files=files,
        input=InputSpec((W, H), Fit.STRETCH, batch),
        outputs={
            "labels": OutputSpec("uint8", (batch, H, W)),
            "confidence": OutputSpec("float32", (batch, H, W)),
        },
        training=TRAINING,
        licence="Apache-2.0",
        source="built by the test",
        class_names=("floor", "wall", "sky", "tree"),
    ).write(directory / f"{name}.yaml")
    return Manifest.read(directory / f"{name}.yaml")
