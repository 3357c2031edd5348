"""A task node that runs a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vision_nodes.config import setting
from vision_nodes.engine.shared import open_task_engine
from vision_nodes.nodes.task_node import TaskNode


@dataclass(frozen=True)
class EngineSettings:
    """Which model runs, and on what."""

    model: str = setting("", "model name, name:precision or manifest path", live=False)
    backend: str = setting(
        "auto", "inference backend", choices=("auto", "tensorrt", "openvino", "onnxruntime"), live=False
    )
    threads: int = setting(1, "CPU threads of this model's engine", minimum=1, maximum=64, live=False)


class EngineNode(TaskNode):
    """Loads the engine at configure, frees it at cleanup, and says what really runs."""

    task = ""  # what the model must serve; a fused model's engine is shared by the tasks of one process
    engine: Any = None

    def open_task(self) -> None:
        """Open the model; the engine has run once, so that the first frame is as fast as the others."""
        settings = self.settings
        self.engine = open_task_engine(
            settings.model, self.task, backend=settings.backend, threads=settings.threads
        )
        self.get_logger().info(
            f"{self.engine.manifest.name}: {self.engine.precision} on {self.engine.backend}, input "
            f"{self.engine.input_hw[1]}x{self.engine.input_hw[0]}"
        )

    def close_task(self) -> None:
        """Free the engine."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()

    def describe(self) -> dict[str, str]:
        """Model, precision and backend that really run."""
        values = super().describe()
        engine = self.engine
        if engine is not None:
            values.update(
                model=engine.manifest.name,
                precision=engine.precision,
                backend=engine.backend,
                engine=engine.state,
            )
        return values
