"""package.xml, setup.py and pyproject.toml agree with each other and with what the code imports."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest

import vision_nodes

ROOT = Path(__file__).parents[1]
# Import name -> distribution, where they differ.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "yaml": "pyyaml",
    "faiss": "faiss-cpu",
    "skimage": "scikit-image",
}
DISTRIBUTIONS |= {"sklearn": "scikit-learn", "lightning_fabric": "lightning-fabric"}
RUNTIME = (
    "camera",
    "messages",
    "preprocess",
    "engine",
    "tasks",
    "odometry",
    "places",
    "tracking",
    "nodes",
    "bags",
)
OFFLINE_FILES = "lint*.py"  # `vision-nodes models check`, a tool of the train extra
# Imported where they are found, never required: the Jetson's own package, ROS on a robot, a log, a cluster.
OPTIONAL = {
    "tensorrt",
    "cv_bridge",
    "launch",
    "launch_ros",
    "ament_index_python",
    "tensorboard",
    "distributed",
}


@pytest.fixture(scope="module")
def package_xml():
    return ElementTree.parse(ROOT / "package.xml").getroot()


@pytest.fixture(scope="module")
def distribution():
    try:
        return metadata.distribution("vision_nodes")
    except metadata.PackageNotFoundError:
        pytest.skip("vision_nodes is not installed (make setup)")


def requirements(distribution) -> dict[str, set[str]]:
    """Extra name ("" for none) -> normalised distribution names."""
    found: dict[str, set[str]] = {"": set()}
    for line in distribution.requires or []:
        name = re.match(r"[A-Za-z0-9._-]+", line).group().lower().replace("_", "-")
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        found.setdefault(extra.group(1) if extra else "", set()).add(name)
    return found


@functools.cache
def imports_of(path: Path) -> frozenset[str]:
    """Top-level names of every absolute import in a file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return frozenset(names)


def third_party_imports(directory: Path, skip: str = "") -> set[str]:
    """Names imported anywhere below a directory, less the standard library, this package and optional ones."""
    files = [path for path in directory.rglob("*.py") if not (skip and path.match(skip))]
    names = set().union(*map(imports_of, files))
    return names - set(sys.stdlib_module_names) - {"vision_nodes", "typing_extensions"} - OPTIONAL


def ros_packages(names: set[str]) -> set[str]:
    return {name for name in names if name.endswith(("_msgs", "_srvs", "_interfaces")) or name == "rclpy"}


def test_versions_agree(package_xml, distribution):
    assert package_xml.findtext("version") == vision_nodes.__version__ == distribution.version


def test_package_xml_is_an_ament_python_package(package_xml):
    assert package_xml.get("format") == "3"
    assert package_xml.findtext("name") == "vision_nodes"
    assert package_xml.findtext("license") == distribution_licence(ROOT / "LICENSE")
    assert package_xml.findtext("export/build_type") == "ament_python"
    assert (ROOT / "resource" / "vision_nodes").is_file()


def distribution_licence(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return "Apache-2.0" if "Apache License" in text and "Version 2.0, January 2004" in text else "unknown"


def test_every_ros_package_imported_is_a_dependency(package_xml):
    imported = ros_packages(third_party_imports(ROOT / "vision_nodes"))
    declared = {element.text for element in package_xml.findall("exec_depend")}
    assert imported - declared == set()


def test_launch_files_need_only_declared_packages(package_xml):
    declared = {element.text for element in package_xml.findall("exec_depend")}
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "launch").glob("*.launch.py"))
    assert {"launch", "launch_ros"} <= declared
    assert {name for name in re.findall(r"from (\w+)", text) if name.startswith("launch")} <= declared


@pytest.mark.parametrize("part", RUNTIME)
def test_runtime_imports_are_plain_dependencies(part, distribution):
    imported = third_party_imports(ROOT / "vision_nodes" / part, OFFLINE_FILES)
    needed = {DISTRIBUTIONS.get(name, name) for name in imported - ros_packages(imported)}
    assert needed - requirements(distribution)[""] == set()


def test_every_import_is_declared_in_some_extra(distribution):
    imported = third_party_imports(ROOT / "vision_nodes")
    needed = {DISTRIBUTIONS.get(name, name) for name in imported - ros_packages(imported)}
    assert needed - set().union(*requirements(distribution).values()) == set()


def test_runtime_has_no_torch(distribution):
    extras = requirements(distribution)
    assert "torch" in extras["train"]
    assert "torch" not in extras[""] | extras["demo"]


def entry_points():
    try:
        points = metadata.distribution("vision_nodes").entry_points
    except metadata.PackageNotFoundError:
        return []
    return [point for point in points if point.group == "console_scripts"]


def test_every_node_has_an_entry_point(distribution):
    nodes = {path.stem for path in (ROOT / "vision_nodes" / "nodes").glob("*_node.py")}
    executables = {point.name for point in entry_points()}
    assert executables == {"vision-nodes", "container"} | (nodes - {"engine_node", "task_node"})


@pytest.mark.parametrize("point", entry_points(), ids=lambda point: point.name)
def test_entry_point_is_callable(point):
    if ".nodes." in point.value:
        pytest.importorskip("rclpy")
    module, _, function = point.value.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_colcon_sees_all_packages_and_files():
    """What `python3 setup.py` tells colcon: run as Humble does, without reading pyproject.toml's [project]."""
    code = (
        "import runpy, setuptools, json\n"
        "kept = {}\n"
        "setuptools.setup = lambda **keywords: kept.update(keywords)\n"
        "runpy.run_path('setup.py')\n"
        "print(json.dumps([kept['packages'], kept['data_files'], kept['version']]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    packages, data_files, version = json.loads(done.stdout)
    modules = {
        p.parent.relative_to(ROOT).as_posix().replace("/", ".") for p in (ROOT / "vision_nodes").rglob("*.py")
    }
    assert modules <= set(packages)
    assert version == vision_nodes.__version__
    files = {source: target for target, sources in data_files for source in sources}
    assert files["resource/vision_nodes"] == "share/ament_index/resource_index/packages"
    assert files["package.xml"] == "share/vision_nodes"
    for directory, pattern in (
        ("launch", "*.launch.py"),
        ("launch", "*.xml"),
        ("launch", "*.rviz"),
        ("models", "*.onnx"),
    ):
        for path in (ROOT / directory).rglob(pattern):
            relative = path.relative_to(ROOT)
            assert files[relative.as_posix()] == f"share/vision_nodes/{relative.parent.as_posix()}"


def test_project_table_leaves_requires_python_to_setup_py():
    """setuptools 61 to 70 turn the table's value into an object that colcon cannot read back (seen under Jazzy's 68)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r"^requires-python\s*=", text, re.MULTILINE)
    assert metadata.metadata("vision_nodes")["Requires-Python"] == ">=3.10"
