"""What colcon needs under Humble, whose setuptools (59) does not read the [project] table of pyproject.toml.

Dependencies and extras are in pyproject.toml: pip reads them there, and a robot takes them from package.xml.
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

PACKAGE = "vision_nodes"
NODES = ("preprocess", "detection", "segmentation", "depth", "odometry", "place")
# Directories that a running robot reads, and what belongs to the package in them.
SHARED = {
    "launch": ("*.launch.py", "*.xml", "*.yaml", "*.rviz"),
    "models": ("*.yaml", "*.onnx"),
    "calibration": ("*",),
}


def read_version() -> str:
    """The version that `vision_nodes/__init__.py` states; importing the package would need its dependencies."""
    text = Path(PACKAGE, "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise ValueError(
            f'expected a line __version__ = "..." in {PACKAGE}/__init__.py; received none; add it'
        )
    return match.group(1)


def list_data_files() -> list[tuple[str, list[str]]]:
    """Ament index entry, package.xml and `share/vision_nodes/...`, which mirrors the source tree."""
    files = {
        "share/ament_index/resource_index/packages": [f"resource/{PACKAGE}"],
        f"share/{PACKAGE}": ["package.xml"],
    }
    for directory, patterns in SHARED.items():
        paths = {path for pattern in patterns for path in Path(directory).rglob(pattern) if path.is_file()}
        for path in sorted(paths):
            files.setdefault(f"share/{PACKAGE}/{path.parent.as_posix()}", []).append(path.as_posix())
    return list(files.items())


setup(
    name=PACKAGE,
    version=read_version(),
    description="Detections, masks, metric depth, odometry and place matches from one camera, as ROS 2 nodes.",
    license="Apache-2.0",
    python_requires=">=3.10",
    author="vision_nodes maintainers",
    author_email="maintainers@vision-nodes.example",
    packages=find_namespace_packages(include=[PACKAGE, f"{PACKAGE}.*"], exclude=["*.__pycache__"]),
    package_data={"": ["*.yaml", "*.json", "*.j2", "*.html", "*.css"]},
    data_files=list_data_files(),
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "vision-nodes = vision_nodes.cli:main",
            *(f"{node}_node = vision_nodes.nodes.{node}_node:main" for node in NODES),
            "container = vision_nodes.nodes.container:main",
        ]
    },
)
