"""Lifecycle of a node: configure, activate, deactivate, cleanup, and a failure that explains itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from vision_nodes.nodes.detection_node import DetectionNode
from vision_nodes.nodes.preprocess_node import PreprocessNode


@pytest.fixture
def context() -> Iterator[Any]:
    made = rclpy.Context()
    rclpy.init(context=made, args=[])
    yield made
    rclpy.shutdown(context=made)


def make(context: Any, **values: Any) -> DetectionNode:
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    return DetectionNode(context=context, parameter_overrides=overrides)


def test_every_transition_and_back(context: Any) -> None:
    node = make(context)
    try:
        for _ in range(2):
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS and node.engine is not None
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS and node.active
            assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS and not node.active
            assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS and node.engine is None
    finally:
        node.destroy_node()


def test_cleanup_gives_memory_back(context: Any) -> None:
    node = make(context)
    sizes = []
    try:
        for _ in range(6):
            node.trigger_configure()
            node.trigger_cleanup()
            gc.collect()
            sizes.append(psutil.Process().memory_info().rss)
    finally:
        node.destroy_node()
    # The first rounds load the libraries; after that a leak of the 5 MB model would show in each round.
    assert sizes[-1] - sizes[1] < 8e6


def test_a_missing_model_fails_configure_with_the_remedy_on_diagnostics(context: Any) -> None:
    node = make(context, model="no_such_model")
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        status = node.diagnostic_status()
        assert "no_such_model" in status.message and status.level != b"\x00"
        assert node.set_parameters([Parameter("model", value="detection")])[0].successful is False
    finally:
        node.destroy_node()


def test_settings_are_refused_with_reason_and_described(context: Any) -> None:
    node = make(context)
    try:
        assert node.set_parameters([Parameter("nms_iou", value=0.5)])[0].successful
        assert node.settings.nms_iou == 0.5
        refused = node.set_parameters([Parameter("box_pixels", value="odd")])[0]
        assert not refused.successful and "raw, rectified" in refused.reason
        assert node.settings.box_pixels == "raw"
        described = node.describe_parameter("score_threshold")
        assert described.floating_point_range[0].to_value == 1.0 and described.description
    finally:
        node.destroy_node()


@pytest.mark.parametrize("namespace", ["", "/robot1"])
def test_the_shipped_parameter_file_reaches_nodes_in_any_namespace(tmp_path: Path, namespace: str) -> None:
    shipped = Path(__file__).resolve().parents[2] / "launch" / "config" / "pipeline.yaml"
    changed = tmp_path / "parameters.yaml"
    changed.write_text(shipped.read_text().replace("max_width: 640", "max_width: 480"))
    made = rclpy.Context()
    remap = ["-r", f"__ns:={namespace}"] if namespace else []
    arguments = ["--ros-args", "--params-file", str(changed), *remap, "-p", "image:=/cam/image_raw"]
    rclpy.init(context=made, args=arguments)
    node = PreprocessNode(context=made)
    try:
        assert (node.settings.max_width, node.settings.image) == (480, "/cam/image_raw")
        assert node.get_namespace() == (namespace or "/")
    finally:
        node.destroy_node()
        rclpy.shutdown(context=made)


def test_a_bug_at_configure_is_shown_and_fails_the_transition(context: Any, capfd: Any) -> None:
    """rclpy alone ends such a transition, and with it the process, without a word."""

    class Broken(DetectionNode):
        def open_task(self) -> None:
            raise ZeroDivisionError("a bug in a node")

    node = Broken(context=context)
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert "ZeroDivisionError: a bug in a node" in node.diagnostic_status().message
        assert "in open_task" in capfd.readouterr().err  # the traceback
    finally:
        node.destroy_node()


def test_thresholds_are_the_models_own_until_a_parameter_says_otherwise(context: Any) -> None:
    node = make(context)
    try:
        node.trigger_configure()
        own = node.engine.manifest.postprocess["score_threshold"]
        assert node._threshold == own > 0
        assert node.set_parameters([Parameter("score_threshold", value=0.8)])[0].successful
        assert node._threshold == 0.8
        assert node.set_parameters([Parameter("score_threshold", value=0.0)])[0].successful
        assert node._threshold == own
    finally:
        node.destroy_node()
