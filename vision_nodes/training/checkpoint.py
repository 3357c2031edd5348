"""Checkpoints: written atomically, loaded without unpickling code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from vision_nodes.errors import TrainingError

FORMAT = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists, dicts) so that a reader sees the old or the new file.

    Raises:
        TrainingError: the disk refused; the previous file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"room to write {path}", str(error), "free disk space, then --resume") from error


def read_checkpoint(path: Path, task: str | None = None) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        TrainingError: missing, damaged, or of another task.
    """
    if not path.is_file():
        raise TrainingError("a checkpoint file", f"nothing at {path}", "check the path, or train first")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = state["format"]
    except Exception as error:  # torch raises many types for damaged files
        raise TrainingError("a checkpoint of vision_nodes", f"{path}: {error}", "train again") from error
    if version != FORMAT:
        raise TrainingError(f"checkpoint format {FORMAT}", str(version), "train again with this version")
    if task is not None and state["config"]["task"] != task:
        raise TrainingError(f"a checkpoint of task {task}", state["config"]["task"], "choose another run")
    return state


def load_weights(network: torch.nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Load `weights` strictly.

    Raises:
        TrainingError: names or shapes belong to another network.
    """
    own = network.state_dict()
    wrong = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    extra = [name for name in weights if name not in own]
    if wrong or extra:
        received = f"{len(wrong)} missing or misshapen (first {wrong[:1]}), {len(extra)} extra ({extra[:1]})"
        raise TrainingError("weights of this network", received, f"{source} is of another network or width")
    network.load_state_dict(weights)
