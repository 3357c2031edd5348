"""Imports point one way, and heavy packages stay where they belong (DESIGN.md section 2). Read with ast, not run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "vision_nodes"

# A module may import from its own row and from rows above it. Every part of the package has its row here.
LAYERS = (
    ("errors", "__version__"),
    ("datatypes", "config", "resources", "solver_process"),
    ("camera",),
    ("messages",),
    ("preprocess", "bags"),
    ("engine",),
    ("tasks", "odometry", "places", "tracking"),
    ("overlay", "simulation"),
    ("nodes",),
    ("evaluation",),
    ("networks",),
    ("training", "export"),
    ("commands", "cli"),
)
OFFLINE = ("networks", "training", "export")  # need torch; the runtime never imports them
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
OPPONENT = (
    "commands/plain_torch_node.py"  # what the bench compares with; it is run as a script, never imported
)
# Import name -> where it may stand: path prefixes relative to vision_nodes/.
CONFINED = {
    "rclpy": ("nodes/", "messages/to_ros", OPPONENT),
    "torch": (*(f"{part}/" for part in OFFLINE), OPPONENT),
    "lightning_fabric": tuple(f"{part}/" for part in OFFLINE),
    "tensorrt": ("engine/tensorrt.py", "export/"),
    "cv_bridge": ("messages/",),
    "gtsam": ("odometry/", "places/"),
    "faiss": ("places/",),
}
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imported_names(source: str, module: str) -> list[str]:
    """Dotted names of every import in a module, at any depth; relative ones made absolute."""
    package = ["vision_nodes", *Path(module).parts[:-1]]
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{prefix}.{alias.name}" for alias in node.names]
    return names


def part_of(dotted: str) -> str | None:
    """`vision_nodes.camera.model.Camera` -> `camera`; None for other packages."""
    words = dotted.split(".")
    return words[1] if words[0] == "vision_nodes" and len(words) > 1 else None


def violations(source: str, module: str) -> list[str]:
    """What a module imports and must not."""
    own = Path(module).parts[0].removesuffix(".py")
    found = []
    for name in imported_names(source, module):
        allowed = CONFINED.get(name.split(".")[0])
        if allowed is not None and not module.startswith(allowed):
            found.append(f"{name}: only in {', '.join(allowed)}")
        other = part_of(name)
        if other is None or own == "__init__":
            continue
        if other not in RANK:
            found.append(f"{name}: {other} has no row in LAYERS")
        elif RANK[other] > RANK.get(own, -1):
            found.append(f"{name}: {own} must not import {other}")
        elif other in OFFLINE and own not in (*OFFLINE, "cli", "commands"):
            found.append(f"{name}: the runtime must not import {other}, which needs torch")
    return found


def test_package_was_found():
    assert "errors.py" in MODULES and "nodes/__init__.py" in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    assert violations((ROOT / module).read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("camera/model.py", "from vision_nodes.nodes.base import Node"),
        ("camera/model.py", "def f():\n    import rclpy"),
        ("tasks/depth.py", "from torch import nn"),
        ("tasks/depth.py", "from vision_nodes.networks import depth"),
        ("evaluation/depth.py", "import vision_nodes.training.loop"),
        ("messages/from_ros/image.py", "import rclpy.time"),
        ("engine/openvino.py", "import tensorrt as trt"),
        ("camera/model.py", "from ..nodes import base"),
        ("camera/model.py", "from vision_nodes import engine"),
        ("camera/model.py", "import vision_nodes.somewhere_new"),
    ],
)
def test_wrong_imports_are_found(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("engine/tensorrt.py", "import tensorrt"),
        ("messages/to_ros/image.py", "from rclpy.time import Time"),
        ("preprocess/frame.py", "from vision_nodes.camera.model import Camera\nfrom . import stamps"),
        ("commands/train.py", "from vision_nodes.training import loop"),
        ("cli.py", "from vision_nodes import __version__"),
    ],
)
def test_right_imports_pass(module, source):
    assert violations(source, module) == []


def test_no_modules_import_each_other_in_a_circle():
    """Imports at module level only: one inside a function is how a circle is broken on purpose."""
    graph = {module: _module_level_targets(module) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def _module_level_targets(module: str) -> set[str]:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    targets = set()
    for name in imported_names("\n".join(map(ast.unparse, top)), module):
        path = "/".join(name.split(".")[1:])
        parent = path.rpartition("/")[0]
        targets |= {file for file in (f"{path}.py", f"{parent}.py") if file in MODULES}
    return targets - {module}
