"""ONNX Runtime: the reference backend, and the one for FP32 on a CPU."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from vision_nodes.engine.base import CheckedEngine, check_signature
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import EngineError

_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}


class OnnxRuntimeEngine(CheckedEngine):
    """Runs on the CUDA provider where there is one, else on the CPU.

    One thread and no spinning by default: two spinning sessions on two cores are slower than one.

    Raises:
        ModelError: the file's hash, inputs or outputs differ from the manifest.
        EngineError: ONNX Runtime cannot load or run it.
    """

    def __init__(self, manifest: Manifest, precision: str = "fp32", threads: int = 1) -> None:
        super().__init__(manifest, precision, "onnxruntime")
        content = manifest.read_file(precision)
        available = ort.get_available_providers()
        wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
        try:
            self._session = ort.InferenceSession(content, session_options(threads), providers=wanted)
        except Exception as error:  # the binding raises a dozen unrelated classes
            raise EngineError(
                f"{manifest.name} ({precision}) to load in ONNX Runtime {ort.__version__}",
                str(error),
                "run `vision-nodes models check`, or update onnxruntime",
            ) from error
        self.backend = (
            "onnxruntime-" + self._session.get_providers()[0].removesuffix("ExecutionProvider").lower()
        )
        self._names = [output.name for output in self._session.get_outputs()]
        check_signature(
            manifest, _described(self._session.get_inputs()), _described(self._session.get_outputs())
        )
        self._warm_up()

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        try:
            return dict(zip(self._names, self._session.run(self._names, {"image": image})))
        except Exception as error:
            raise EngineError(
                f"{self.manifest.name} to run in ONNX Runtime", str(error), "see the cause"
            ) from error

    def _free(self) -> None:
        del self._session


def session_options(threads: int) -> ort.SessionOptions:
    """Options measured best for several sessions on a few cores (docs/inference.md)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors; they are raised too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _described(nodes: list[ort.NodeArg]) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    return {
        node.name: (
            _DTYPES.get(node.type, node.type),
            tuple(axis if isinstance(axis, int) else None for axis in node.shape),
        )
        for node in nodes
    }
