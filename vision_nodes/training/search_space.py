"""The `search:` key of a config: what may vary, and one trial's choice as a config."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import yaml

from vision_nodes.engine.fields import write_atomically
from vision_nodes.errors import ConfigError
from vision_nodes.training.config import TrainingConfig

RANGE_KEYS = {"low", "high", "log", "step"}


def default_space(config: TrainingConfig) -> dict[str, Any]:
    """Learning rate and weight decay around the config's, for a config without `search`."""
    decay = config.weight_decay or 1e-3
    return {
        "learning_rate": {"low": config.learning_rate / 10, "high": config.learning_rate * 10, "log": True},
        "weight_decay": {"low": decay / 10, "high": decay * 10, "log": True},
    }


def check_space(space: dict[str, Any]) -> None:
    """Raises ConfigError for a key that is no setting, or a range that is none."""
    known = {item.name for item in fields(TrainingConfig)} - {"task", "search", "model", "seed"}
    for key, entry in space.items():
        if key.partition(".")[0] not in known:
            raise ConfigError(f"search: a setting among {sorted(known)}", key, "or options.NAME")
        if isinstance(entry, list):
            fits = len(entry) > 1
        else:
            fits = isinstance(entry, dict) and {"low", "high"} <= set(entry) <= RANGE_KEYS
            fits = fits and all(isinstance(entry[k], (int, float)) for k in ("low", "high"))
            fits = fits and entry["low"] < entry["high"] and (not entry.get("log") or entry["low"] > 0)
        if not fits:
            expected = f"search: {key}: a list of choices, or {{low, high}} with low < high"
            raise ConfigError(
                expected, str(entry), "numbers such as 1.0e-3 need the point; `log: true` needs > 0"
            )


def suggest(trial: Any, config: TrainingConfig, space: dict[str, Any]) -> TrainingConfig:
    """The config of one trial; ``options.a.b`` reaches into mappings."""
    changes: dict[str, Any] = {}
    for key, entry in space.items():
        value = _value(trial, key, entry)
        name, *inner = key.split(".")
        changes[name] = _placed(changes.get(name, getattr(config, name)), inner, value)
    return replace(config, **changes, search={})


def _value(trial: Any, key: str, entry: Any) -> Any:
    if isinstance(entry, list):
        return trial.suggest_categorical(key, entry)
    kind = all(isinstance(entry[bound], int) for bound in ("low", "high"))
    suggested = trial.suggest_int if kind else trial.suggest_float
    extra = {name: entry[name] for name in ("log", "step") if name in entry}
    return suggested(key, entry["low"], entry["high"], **extra)


def _placed(before: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    return {**before, path[0]: _placed(before.get(path[0], {}), path[1:], value)}


def write_config(path: Path, config: TrainingConfig) -> None:
    """A YAML that `read_config` reads back as `config`, atomically; what is as by default is left out."""
    default = asdict(TrainingConfig(config.task))
    values = {
        name: value for name, value in asdict(config).items() if name == "task" or value != default[name]
    }
    if "input_wh" in values:
        values["input_wh"] = list(values["input_wh"])
    write_atomically(path, yaml.safe_dump(values, sort_keys=False, width=110).encode())
