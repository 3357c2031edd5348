"""OpenVINO: the backend for INT8 on a CPU."""

from __future__ import annotations

import functools

import numpy as np
import openvino as ov

from vision_nodes.engine.base import CheckedEngine, check_signature
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import EngineError


class OpenVinoEngine(CheckedEngine):
    """Runs on the CPU plugin; outputs are views of its buffers, overwritten by the next `infer`.

    Raises:
        ModelError: the file's hash, inputs or outputs differ from the manifest.
        EngineError: OpenVINO cannot load or run it.
    """

    def __init__(self, manifest: Manifest, precision: str = "int8", threads: int = 1) -> None:
        super().__init__(manifest, precision, "openvino")
        content = manifest.read_file(precision)
        try:
            compiled = _core().compile_model(_core().read_model(content), "CPU", plugin_options(threads))
        except Exception as error:  # RuntimeError or one of the binding's own
            raise EngineError(
                f"{manifest.name} ({precision}) to load in OpenVINO {ov.__version__}",
                str(error),
                "run `vision-nodes models check`, or update openvino",
            ) from error
        check_signature(
            manifest,
            _described(compiled.inputs, {"image"}),
            _described(compiled.outputs, set(manifest.outputs)),
        )
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        names = set(manifest.outputs)
        self._ports = [(_name(port, names), index) for index, port in enumerate(compiled.outputs)]
        self._warm_up()

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        try:
            self._request.infer({0: image}, share_inputs=True, share_outputs=True)
            return {name: self._request.get_output_tensor(index).data for name, index in self._ports}
        except Exception as error:
            raise EngineError(
                f"{self.manifest.name} to run in OpenVINO", str(error), "see the cause"
            ) from error

    def _free(self) -> None:
        del self._request, self._compiled


def plugin_options(threads: int) -> dict[str, object]:
    """f32 rather than the BF16 it would choose itself (48 dB), and no pinning: all sessions land on one core."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }


@functools.cache
def _core() -> ov.Core:
    return ov.Core()


def _name(port: ov.Output, wanted: set[str]) -> str:
    """A port keeps the names of casts that were folded into it: take the one the manifest knows."""
    return str(min(wanted & port.get_names(), default=port.get_any_name()))


def _described(ports: list[ov.Output], wanted: set[str]) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    return {
        _name(port, wanted): (
            np.dtype(port.get_element_type().to_dtype()).name,
            tuple(None if axis.is_dynamic else axis.get_length() for axis in port.get_partial_shape()),
        )
        for port in ports
    }
