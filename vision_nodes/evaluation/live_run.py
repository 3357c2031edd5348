"""A bag through the live graph: real topics, real drops, real latencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.errors import ConfigError

CONTAINER_TOPICS = ("/image_raw", "/image_raw/compressed")  # what a container without remapping listens to


def record_live(
    bag: Path,
    results: Path,
    tasks: Sequence[str],
    parameters: Mapping[str, Mapping[str, Any]],
    *,
    attach: bool = False,
    topic: str = "",
    on_frame: Callable[[int], None] | None = None,
) -> None:
    """Play `bag` at its own pace into the graph and write everything that came back.

    Args:
        parameters: node -> parameter -> value; only for a graph started here.
        attach: use the graph that is running already (as evaluate.launch.py starts it) instead of one of
            our own.

    Raises:
        ConfigError: the bag's image topic needs a remapping that only a launch file can give.
        EngineError: the graph did not come up; the log is beside the results.
    """
    from vision_nodes.nodes.live import LiveSession, running_container
    from vision_nodes.nodes.live_bag import write_results_bag

    image = find_camera_topics(BagReader(bag).topics(), topic).image
    if not attach and image not in CONTAINER_TOPICS:
        raise ConfigError(
            f"images on {' or '.join(CONTAINER_TOPICS)} for --live",
            f"the bag has {image}",
            f"ros2 launch vision_nodes evaluate.launch.py image:={image} bag:={bag}",
        )
    assignments = [
        f"{node}:{name}:={value}" for node, some in parameters.items() for name, value in some.items()
    ]
    container = (
        nullcontext() if attach else running_container(tasks, assignments, results.with_suffix(".log"))
    )
    with container as process, LiveSession(tasks) as session:
        session.wait_until_active(process)
        recording = session.play(bag, topic=topic, on_frame=on_frame)
    write_results_bag(results, bag, recording)
