"""Launch files: parsed everywhere; described and resolved where ROS's launch packages are importable."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
FILES = sorted(LAUNCH.glob("*.launch.py"))
HAVE_LAUNCH = importlib.util.find_spec("launch_ros") is not None


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_launch_file_parses_and_offers_a_description(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert "generate_launch_description" in functions
    assert ast.get_docstring(tree)


def test_parameter_file_names_only_nodes_and_parameters_that_exist() -> None:
    from vision_nodes.nodes.container import NODE_CLASSES

    sections = yaml.safe_load((LAUNCH / "config" / "pipeline.yaml").read_text())
    nodes = {f"{task}_node": f"vision_nodes.nodes.{task}_node" for task in ("preprocess", *NODE_CLASSES)}
    assert {name.split("/")[-1] for name in sections} == set(nodes)
    for name, section in sections.items():
        module = importlib.import_module(nodes[name.split("/")[-1]])
        settings = next(v for k, v in vars(module).items() if k.endswith("NodeSettings"))
        unknown = set(section["ros__parameters"]) - set(settings.__dataclass_fields__)
        assert not unknown, f"{name}: {unknown}"


def describe(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), LAUNCH / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resolve(arguments: dict[str, str]) -> list[Any]:
    from launch import LaunchContext

    module = describe("pipeline.launch.py")
    context = LaunchContext()
    context.launch_configurations.update({name: default for name, default, _ in module.ARGUMENTS})
    context.launch_configurations.update(arguments)
    return module._nodes(context)


@pytest.mark.skipif(
    not HAVE_LAUNCH, reason="launch_ros is not importable (it comes with ROS, not from the index)"
)
class TestWithLaunch:
    def test_arguments_are_those_of_the_readme(self) -> None:
        from launch.actions import DeclareLaunchArgument

        for name in ("pipeline.launch.py", "replay.launch.py"):
            description = describe(name).generate_launch_description()
            declared = {e.name for e in description.entities if isinstance(e, DeclareLaunchArgument)}
            assert {"image", "camera_info", "namespace", "tasks", "composed", "rviz"} <= declared

    def test_composed_is_one_process(self) -> None:
        (node,) = resolve({"tasks": "detection,depth"})
        assert node.node_executable == "container"

    def test_separate_is_one_process_each(self) -> None:
        nodes = resolve({"composed": "false", "tasks": "detection,odometry"})
        assert [n.node_executable for n in nodes] == ["preprocess_node", "detection_node", "odometry_node"]

    def test_unknown_task_is_said_and_starts_nothing(self) -> None:
        from launch.actions import LogInfo

        (answer,) = resolve({"tasks": "detection,dance"})
        assert isinstance(answer, LogInfo)


def test_rviz_shows_all_five_answers_with_the_publishers_qos() -> None:
    config = yaml.safe_load((LAUNCH / "rviz" / "pipeline.rviz").read_text())
    topics = {
        d["Topic"]["Value"]: d["Topic"] for d in config["Visualization Manager"]["Displays"] if "Topic" in d
    }
    assert {
        "detection_node/overlay",
        "segmentation_node/overlay",
        "depth/points",
        "odometry",
        "path",
        "place_node/overlay",
        "pose_graph",
    } <= set(topics)
    # A reliable subscription hears nothing from a best-effort publisher.
    assert topics["depth/points"]["Reliability Policy"] == "Best Effort"
