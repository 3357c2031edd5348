"""Maps are named, not pathed: a request over the network can only reach files of one directory."""

from __future__ import annotations

import os
from pathlib import Path

from vision_nodes.errors import MapError

SUFFIX = ".vnmap"


def default_map_directory() -> Path:
    """``$ROS_HOME/vision_nodes_maps``, ROS_HOME being ``~/.ros`` unless set."""
    return Path(os.environ.get("ROS_HOME") or Path.home() / ".ros") / "vision_nodes_maps"


def map_path(directory: str | Path, name: str) -> Path:
    """The file of a map called `name`, ``.vnmap`` added where no suffix is given.

    Args:
        directory: where maps live; empty = `default_map_directory`.
        name: file name or relative path below the directory.

    Raises:
        MapError: an empty or absolute name, or one that leads out of the directory (``..``, a symbolic link).
    """
    root = Path(directory).expanduser() if str(directory) else default_map_directory()
    relative = Path(name)
    outside = relative.is_absolute() or ".." in relative.parts or "\0" in name
    if not relative.name or outside or name.endswith(("/", os.sep)):
        raise _refusal(root, name)
    if not relative.suffix:
        relative = relative.with_suffix(SUFFIX)
    root = root.resolve()
    path = (root / relative).resolve()
    if root not in path.parents:
        raise _refusal(root, name)
    return path


def _refusal(root: Path, name: str) -> MapError:
    return MapError(
        f"a map name below {root}", repr(name), "give a file name; the parameter map_directory moves the root"
    )
