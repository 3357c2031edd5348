"""The graph over the real middleware: composed and separate processes, parameters, start and stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import rclpy
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

from vision_nodes.evaluation.recording import header_stamp
from vision_nodes.messages.from_ros import stamp_ns
from vision_nodes.messages.typestore import build_typestore
from vision_nodes.nodes.live import LiveRecording, LiveSession, running_container

STORE = build_typestore()
RATE_HZ = 4.0  # slow enough that a busy machine drops nothing: these tests are about content


def boxes(recording: LiveRecording) -> dict[int, list[tuple[str, float, float]]]:
    """Stamp -> (class, score, left) of every detection."""
    found = {}
    for message in recording.messages:
        if message.topic == "/detections":
            decoded = STORE.deserialize_cdr(message.data, message.msgtype)
            found[stamp_ns(decoded.header)] = [
                (d.results[0].hypothesis.class_id, d.results[0].hypothesis.score, d.bbox.center.position.x)
                for d in decoded.detections
            ]
    return found


def wait_until_all_accounted(session: LiveSession, node: str, sent: int) -> None:
    """Every image arrived, and each was answered or counted as dropped: a busy machine may drop, never lose."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        values = session.statuses[node]
        answered, dropped = int(values.get("published", 0)), int(values["dropped"])
        if answered + dropped == sent:
            break
        time.sleep(0.2)
    assert (int(values["received"]), answered + dropped) == (sent, sent)


def test_composed_graph_answers_with_the_images_stamps(good_bag: Callable[[int], Path]) -> None:
    tasks = ("detection", "odometry")
    with running_container(tasks) as process, LiveSession(tasks) as session:
        session.wait_until_active(process)
        recording = session.play(good_bag(8), RATE_HZ)
        for node in ("detection_node", "odometry_node"):
            wait_until_all_accounted(session, node, 8)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    counts = Counter(message.topic for message in recording.messages)
    sent = {header_stamp(m.data) for m in recording.messages if m.topic == "/image_raw"}
    assert len(sent) == 8 and set(boxes(recording)) <= sent
    assert counts["/detections"] >= 1 and counts["/odometry/state"] >= 1
    assert max(sent) in boxes(recording)  # the newest frame is never the one that is dropped


@pytest.fixture
def separate_nodes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """preprocess_node and detection_node, a process each, with the shared-memory profile of the launch files."""
    profile = Path(__file__).resolve().parents[2] / "launch" / "fastdds_shm.xml"
    import os

    environment = {**os.environ, "FASTRTPS_DEFAULT_PROFILES_FILE": str(profile)}
    with ExitStack() as stack:
        processes = []
        for name in ("preprocess_node", "detection_node"):
            command = [sys.executable, "-m", f"vision_nodes.nodes.{name}"]
            processes.append(stack.enter_context(subprocess.Popen(command, env=environment)))
        yield processes
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(20)


def test_separate_processes_give_the_same_results_on_the_same_topics(
    good_bag: Callable[[int], Path], separate_nodes: list[subprocess.Popen[bytes]]
) -> None:
    bag = good_bag(6)
    with LiveSession(("detection",)) as session:
        session.wait_until_active()
        apart = boxes(session.play(bag, RATE_HZ))
    for process in separate_nodes:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    with running_container(("detection",)) as process, LiveSession(("detection",)) as session:
        session.wait_until_active(process)
        together = boxes(session.play(bag, RATE_HZ))
    common = set(apart) & set(together)
    assert common
    assert all(apart[stamp] == together[stamp] for stamp in common)


def set_parameter(session: LiveSession, node: str, name: str, value: float) -> tuple[bool, str]:
    client = session.node.create_client(SetParameters, f"/{node}/set_parameters")
    assert client.wait_for_service(20)
    content = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
    request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=content)])
    future = client.call_async(request)
    deadline = time.monotonic() + 20
    while not future.done() and time.monotonic() < deadline:
        time.sleep(0.02)
    (result,) = future.result().results
    return result.successful, result.reason


def test_live_parameters_apply_and_a_refused_value_explains_itself(good_bag: Callable[[int], Path]) -> None:
    bag = good_bag(4)
    with running_container(("detection",)) as process, LiveSession(("detection",)) as session:
        session.wait_until_active(process)
        accepted, _ = set_parameter(session, "detection_node", "score_threshold", 1.0)
        assert accepted
        assert all(found == [] for found in boxes(session.play(bag, RATE_HZ)).values())
        refused, reason = set_parameter(session, "detection_node", "score_threshold", 3.0)
        assert not refused and "score_threshold" in reason


def test_a_graph_whose_model_is_missing_says_so_and_the_others_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parameters = ["detection_node:model:=no_such_model"]
    with (
        running_container(("detection", "odometry"), parameters, log) as process,
        LiveSession(("odometry",)) as session,
    ):
        session.wait_until_active(process)
    assert "no_such_model" in log.read_text() and "expected" in log.read_text()


@pytest.fixture(autouse=True)
def no_context_left() -> Iterator[None]:
    """Each test makes and ends its own rclpy contexts."""
    yield
    assert not rclpy.ok()
