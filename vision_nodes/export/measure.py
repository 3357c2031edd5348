"""Accuracy and time of model files, through the runtimes that will serve them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import torch
from torch import Tensor, nn

from vision_nodes.engine.manifest import Manifest
from vision_nodes.export.onnx import onnx_session
from vision_nodes.training.task import Samples, TrainingTask


class OnnxGraph(nn.Module):
    """A model file in place of `TrainingTask.export_module`'s graph: ONNX Runtime, or OpenVINO for INT8.

    Quantized files run in OpenVINO, as they do on the robot without TensorRT: ONNX Runtime is slow there.
    """

    run: Callable[[np.ndarray], list[np.ndarray]]  # (1, H, W, 3) uint8 -> outputs

    def __init__(self, path: Path, precision: str) -> None:
        super().__init__()
        if precision == "int8":
            self.run = openvino_runner(path)
            self.output_names = tuple(o.any_name for o in openvino.Core().read_model(str(path)).outputs)
        else:
            session = onnx_session(path)
            self.run = lambda image: session.run(None, {"image": image})
            self.output_names = tuple(output.name for output in session.get_outputs())
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)  # tells callers the device: CPU

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, 3) uint8 -> the file's outputs; the batch goes through one picture at a time."""
        results = [[np.array(output) for output in self.run(one[None].numpy())] for one in image]
        return tuple(torch.from_numpy(np.concatenate(parts)) for parts in zip(*results))


def openvino_runner(path: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Single-threaded OpenVINO inference of one file; float32 where not quantized."""
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    request = core.compile_model(core.read_model(str(path)), "CPU", settings).create_infer_request()
    return lambda image: list(request.infer({"image": image}).values())


def median_ms(call: Callable[[], object], runs: int = 40) -> float:
    """Median processor time of `call` (other programs do not count), after five calls to warm up."""
    times = []
    for _ in range(runs + 5):
        start = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - start))
    return round(statistics.median(times[5:]), 2)


def time_file(path: Path, image: np.ndarray) -> dict[str, float]:
    """Milliseconds per picture, one thread, in both CPU runtimes."""
    session, run = onnx_session(path), openvino_runner(path)
    return {
        "onnxruntime_1_thread": median_ms(lambda: session.run(None, {"image": image[None]})),
        "openvino_1_thread": median_ms(lambda: run(image[None])),
    }


def measure(path: Path, task: TrainingTask, precision: str, data: Samples, on: str) -> dict[str, float]:
    """Score one precision of the model described by the manifest at `path`, and write it there.

    Args:
        on: what `data` is, in words, for the manifest.
    """
    manifest = Manifest.read(path)
    file = manifest.file_for(precision)
    accuracy = task.evaluate_graph(OnnxGraph(file, precision), data)
    rounded = {name: round(value, 4) for name, value in accuracy.items()}
    times = time_file(file, np.zeros(manifest.input.shape[1:], np.uint8))
    updated = replace(
        manifest,
        accuracy={**manifest.accuracy, precision: {**rounded, "on": on}},
        time_ms={**manifest.time_ms, precision: {**times, "on": processor()}},
    )
    updated.write(path)
    return accuracy


def processor() -> str:
    """Name of this machine's CPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"
