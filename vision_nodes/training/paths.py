"""Where training data lies."""

from __future__ import annotations

import os
from pathlib import Path

from vision_nodes.errors import TrainingError


def find_data(relative: str) -> Path:
    """A file or folder under ``VISION_NODES_DATA`` or ``shared/data`` beside the source tree.

    Raises:
        TrainingError: not there.
    """
    roots = [Path(path) for path in os.environ.get("VISION_NODES_DATA", "").split(os.pathsep) if path]
    roots.append(Path(__file__).resolve().parents[2].parent / "shared" / "data")
    for root in roots:
        if (root / relative).exists():
            return root / relative
    raise TrainingError(
        f"training data {relative}", f"not under {[str(root) for root in roots]}", "set VISION_NODES_DATA"
    )
