"""Task names and the classes that train them."""

from __future__ import annotations

from importlib import import_module

from vision_nodes.errors import ConfigError
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.task import TrainingTask

TASKS = {
    "place": "vision_nodes.training.place:PlaceTask",
    "depth": "vision_nodes.training.depth:DepthTask",
    "features": "vision_nodes.training.features:FeaturesTask",
    "detection": "vision_nodes.training.detection:DetectionTask",
    "fused": "vision_nodes.training.fused:FusedTask",
    "street": "vision_nodes.training.street:StreetTask",
    "segmentation": "vision_nodes.training.segmentation:SegmentationTask",
}


def make_task(config: TrainingConfig) -> TrainingTask:
    """The task that `config` names.

    Raises:
        ConfigError: no such task.
    """
    if config.task not in TASKS:
        raise ConfigError(f"a task among {sorted(TASKS)}", config.task, "correct task in the config")
    module, _, name = TASKS[config.task].partition(":")
    task: TrainingTask = getattr(import_module(module), name)(config)
    return task
