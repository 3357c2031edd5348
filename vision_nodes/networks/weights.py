"""Public pre-trained weights: where they lie, and how stored tensors become float state dicts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vision_nodes.errors import ModelError


def find_weights(relative: str) -> Path:
    """Path of a stored weight file, e.g. ``mosaic_ade20k32/mosaic_fused_f16.npz``.

    Looked for under ``VISION_NODES_WEIGHTS`` and in ``shared/weights`` beside the source tree.

    Raises:
        ModelError: not there.
    """
    source_tree = Path(__file__).resolve().parents[2]
    roots = [Path(path) for path in os.environ.get("VISION_NODES_WEIGHTS", "").split(os.pathsep) if path]
    roots.append(source_tree.parent / "shared" / "weights")
    for root in roots:
        if (root / relative).is_file():
            return root / relative
    raise ModelError(
        f"weight file {relative}",
        f"not under {[str(root) for root in roots]}",
        "set VISION_NODES_WEIGHTS to the folder that holds it",
    )


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read an npz of fused convolutions as float32 tensors.

    Quantised tensors are stored as `weight_q`, `scale` and optionally `zero` (scalar or per output
    channel): weight = (weight_q - zero) * scale.
    """
    tensors: dict[str, torch.Tensor] = {}
    with np.load(path, allow_pickle=False) as stored:
        for name in stored.files:
            base, _, kind = name.rpartition(".")
            if kind in ("scale", "zero", "stride"):
                continue
            value = stored[name].astype(np.float32)
            if kind == "weight_q":
                scale = stored[f"{base}.scale"].astype(np.float32).reshape(-1, 1, 1, 1)
                zero = stored[f"{base}.zero"] if f"{base}.zero" in stored.files else np.zeros(1)
                value = (value - zero.astype(np.float32).reshape(-1, 1, 1, 1)) * scale
                name = f"{base}.weight"
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value))
    return tensors


def load_tensors(module: nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Load `tensors` into the parameters of `module`, all names and shapes equal.

    Raises:
        ModelError: a parameter is missing, extra or of another shape.
    """
    own = dict(module.named_parameters())
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    extra = sorted(set(tensors) - set(own))
    if wrong or extra:
        received = f"missing or misshapen {wrong[:2]}, unused {extra[:2]} in {source}"
        raise ModelError(f"{len(own)} tensors of {type(module).__name__}", received, "use the matching file")
    module.load_state_dict(tensors, strict=False)
