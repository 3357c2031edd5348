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
    sourced ROS workspace, the Python environment's share directory, the source tree.

    Raises:
        ConfigError: `kind` is none of `KINDS`.
    """
    if kind not in KINDS:
        raise ConfigError(f"a resource kind out of {', '.join(KINDS)}", repr(kind), "use one of these")
    found: list[Path] = []
    for directory in [*_from_environment(kind), *_installed(kind), *_source_tree(kind)]:
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
