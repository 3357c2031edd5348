"""Settings of one training run, read from YAML and checked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from vision_nodes.errors import ConfigError

CONFIG_DIR = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class TrainingConfig:
    """What a run does. The YAML files in `configs/` hold the values of the shipped models.

    `freeze` and `learning_rate_scale` map a prefix of parameter names to the number of epochs it stays
    fixed, and to the factor on its learning rate. `options` belongs to the task (data folders, teacher,
    loss weights); the task checks it. `model` is what the manifest says of the exported model.
    """

    task: str
    epochs: int = 10
    batch: int = 16
    learning_rate: float = 1e-3
    warmup_epochs: float = 0.5
    final_learning_rate: float = 0.02  # fraction of the peak where the cosine ends
    weight_decay: float = 0.01
    ema_decay: float = 0.999  # 0 switches the averaged weights off
    gradient_clip: float = 10.0  # L2 norm
    freeze: dict[str, int] = field(default_factory=dict)
    learning_rate_scale: dict[str, float] = field(default_factory=dict)
    input_wh: tuple[int, int] = (320, 240)
    seed: int = 20240601
    workers: int = 0
    threads: int = 1  # torch threads on a CPU
    accelerator: str = "auto"
    devices: int = 1
    precision: Any = "32-true"  # Lightning Fabric's names, e.g. bf16-mixed
    patience: int = 0  # validations without a better metric before stopping; 0 = never
    validate_every: int = 1  # epochs
    checkpoint_minutes: float = 10.0
    dropout: dict[str, float] = field(default_factory=dict)  # module name -> probability, while training
    options: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)  # setting -> [choices] or {low, high, log, step}
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive = ("epochs", "batch", "learning_rate", "validate_every", "devices", "threads")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} > 0", str(getattr(self, name)), f"correct {name} in the config")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError("0 <= ema_decay < 1", str(self.ema_decay), "correct ema_decay in the config")

    def overriding(self, **changes: Any) -> TrainingConfig:
        """The same settings with some replaced."""
        return replace(self, **changes)


def read_config(path: Path) -> TrainingConfig:
    """Read a YAML config; unknown keys are refused.

    Raises:
        ConfigError: missing file, not a mapping, unknown key, or a value out of range.
    """
    if not path.is_file():
        have = sorted(file.stem for file in CONFIG_DIR.glob("*.yaml"))
        raise ConfigError("a training config", str(path), f"shipped configs are {have}")
    values = yaml.safe_load(path.read_text())
    if not isinstance(values, dict):
        raise ConfigError("a mapping of settings", type(values).__name__, f"see {CONFIG_DIR}")
    known = {item.name for item in fields(TrainingConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"settings among {sorted(known)}", str(unknown), f"remove them from {path}")
    if "input_wh" in values:
        values["input_wh"] = tuple(values["input_wh"])
    return TrainingConfig(**values)
