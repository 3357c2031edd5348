"""Where the files beside the code are: models, launch files, parameters, RViz views, calibration sets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vision_nodes.errors import ConfigError

PACKAGE = "vision_nodes"
KINDS = ("models", "launch", "config", "rviz", "calibration")


def resource_directories(kind: str) -> list[Path]:
    """Existing directories of one kind, first match wins.

    Order: the variable ``VISION_NODES_<KIND>`` (several, separated as in PATH), the ament prefixes of a
    sourced ROS workspace, the Python environment's share directory, the source tree; for models last the
    user's own, imported (`user_models`) and pulled (``models`` in the cache).

    Raises:
        ConfigError: `kind` is none of `KINDS`.
    """
    if kind not in KINDS:
        raise ConfigError(f"a resource kind out of {', '.join(KINDS)}", repr(kind), "use one of these")
    found: list[Path] = []
    own = [user_data() / "models", cache_directory() / "models"] if kind == "models" else []
    for directory in [*_from_environment(kind), *_installed(kind), *_source_tree(kind), *own]:
        if directory.is_dir() and directory not in found:
            found.append(directory)
    return found


def find_resource(kind: str, name: str) -> Path:
    """First file of that name.

    Raises:
        ConfigError: in none of the directories; the message names them.
    """
    directories = resource_directories(kind)
    for directory in directories:
        if (directory / name).is_file():
            return directory / name
    raise ConfigError(
        f"{name} in one of {', '.join(map(str, directories)) or 'no directory'}",
        "no such file",
        f"install the package, or name a directory in VISION_NODES_{kind.upper()}",
    )


def cache_directory() -> Path:
    """``VISION_NODES_CACHE``, else ``vision_nodes`` in the user's cache directory."""
    chosen = os.environ.get("VISION_NODES_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / PACKAGE


def user_data() -> Path:
    """``vision_nodes`` in the user's data directory."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / PACKAGE


def user_models() -> Path:
    """Where a user's own models go: the first directory of ``VISION_NODES_MODELS``, else in `user_data`."""
    return next(iter(_from_environment("models")), user_data() / "models")


def _from_environment(kind: str) -> list[Path]:
    value = os.environ.get(f"VISION_NODES_{kind.upper()}", "")
    return [Path(part).expanduser() for part in value.split(os.pathsep) if part]


def _installed(kind: str) -> list[Path]:
    prefixes = [part for part in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if part]
    shares = [Path(prefix) / "share" / PACKAGE for prefix in [*prefixes, sys.prefix]]
    return [directory for share in shares for directory in (share / kind, share / "launch" / kind)]


def _source_tree(kind: str) -> list[Path]:
    root = Path(__file__).resolve().parents[1]
    if not (root / "package.xml").is_file() and not (root / "pyproject.toml").is_file():
        return []  # site-packages: a directory called "models" there would be somebody else's
    return [root / kind, root / "launch" / kind]
