"""All nodes in one process: one subscription, one preprocessing, frames handed over in process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from rclpy.parameter import Parameter

from vision_nodes.errors import ConfigError
from vision_nodes.nodes.base import Sink, VisionNode
from vision_nodes.nodes.preprocess_node import PreprocessNode
from vision_nodes.nodes.spin import run_nodes
from vision_nodes.nodes.transforms import TransformBuffer

# task -> its node class, in the order in which one frame passes them; imported only when it runs
NODE_CLASSES = {
    "detection": "DetectionNode",
    "segmentation": "SegmentationNode",
    "depth": "DepthNode",
    "odometry": "OdometryNode",
    "place": "PlaceNode",
}
TASKS = tuple(NODE_CLASSES)
LOCATED_TASKS = ("odometry", "place")  # need to know where the camera sits on the robot


@dataclass
class Graph:
    """The composed nodes by task name; `nodes` in the order in which one frame passes them."""

    preprocess: PreprocessNode
    tasks: dict[str, VisionNode] = field(default_factory=dict)

    @property
    def nodes(self) -> list[VisionNode]:
        """Every node, preprocessing first."""
        return [self.preprocess, *self.tasks.values()]


def compose(
    tasks: Sequence[str] = TASKS,
    *,
    sink: Sink | None = None,
    buffer: TransformBuffer | None = None,
    overrides: dict[str, list[Parameter]] | None = None,
    **options: Any,
) -> Graph:
    """Create the nodes and wire them in process.

    Args:
        tasks: which of TASKS to run; their order does not matter.
        sink: replay's receiver of (topic, message); None publishes to the network.
        buffer: known transforms (replay); None listens to /tf.
        overrides: node name -> parameter overrides.
        options: passed to every node (namespace, context, ...).

    Raises:
        ConfigError: an unknown task.
    """
    unknown = sorted(set(tasks) - set(TASKS))
    if unknown or not tasks:
        raise ConfigError(f"tasks among {', '.join(TASKS)}", ", ".join(unknown) or "none", "correct the list")

    def extra(name: str) -> dict[str, Any]:
        return {
            "sink": sink,
            "composed": True,
            "parameter_overrides": (overrides or {}).get(name, []),
            **options,
        }

    located = {"buffer": buffer, "lock_step": sink is not None}
    graph = Graph(PreprocessNode(**extra("preprocess_node")))
    for task in TASKS:
        if task in tasks:
            made = getattr(import_module(f"vision_nodes.nodes.{task}_node"), NODE_CLASSES[task])
            graph.tasks[task] = made(**extra(f"{task}_node"), **(located if task in LOCATED_TASKS else {}))
    if sink is None:
        _wire(graph)
    return graph


def _wire(graph: Graph) -> None:
    """Preprocess -> every task; depth -> odometry -> place."""
    made: dict[str, Any] = graph.tasks
    for task, node in made.items():
        if task != "place" or "odometry" not in made:
            graph.preprocess.consumers.append(node.accept)
    if "odometry" in made:
        if "depth" in made:
            made["depth"].consumers.append(made["odometry"].accept_depth)
        if "place" in made:
            made["odometry"].consumers.append(made["place"].accept_estimate)


def main() -> None:
    """Run the whole graph: ``container``; the parameter `tasks` chooses what runs."""
    run_nodes(lambda: compose(tasks_from_arguments()).nodes)


def tasks_from_arguments() -> list[str]:
    """Tasks from ``-p tasks:=detection,depth`` style ROS arguments of the container; all by default."""
    import rclpy

    probe = rclpy.create_node("vision_nodes_container")
    try:
        text = str(probe.declare_parameter("tasks", ",".join(TASKS)).value)
    finally:
        probe.destroy_node()
    return [word for word in text.replace(",", " ").split() if word]


if __name__ == "__main__":
    main()
