"""Where figures come from: bag, models and what ran them, versions, machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vision_nodes import __version__
from vision_nodes.evaluation.inputs import content_hash
from vision_nodes.evaluation.recording import Recording

LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    "pycocotools",
    "gtsam",
    "faiss-cpu",
)
NODE_KEYS = ("model", "precision", "backend", "dropped", "rejected")


def provenance(recording: Recording) -> dict[str, Any]:
    """JSON-able record of a run; the same bag on the same machine gives the same record."""
    return {
        "bag": recording.path.name,
        "bag_sha256": content_hash(recording.path),
        "version": __version__,
        "machine": machine(),
        "libraries": library_versions(),
        "unreadable_messages": recording.unreadable,
        "problem": recording.problem,
        "run": dict(sorted(recording.metadata.items())),
        "nodes": {
            node: {key: value for key, value in values.items() if key in NODE_KEYS}
            for node, values in sorted(recording.diagnostics.items())
        },
    }


def machine() -> dict[str, str | int]:
    """Processor, number of cores, system and Python."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def library_versions() -> dict[str, str]:
    """Installed versions of what the figures depend on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: platform knows
    return platform.processor() or platform.machine()
