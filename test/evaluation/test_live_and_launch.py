"""What evaluate.launch.py runs, and where a live run refuses to guess."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from published_run import write_run

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.writer import BagWriter
from vision_nodes.errors import ConfigError
from vision_nodes.evaluation.live_run import record_live

LAUNCH = Path(__file__).resolve().parents[2] / "launch" / "evaluate.launch.py"


def launch_parts() -> dict[str, Any]:
    """ARGUMENTS and evaluation_command, without the launch package that only ROS has."""
    tree = ast.parse(LAUNCH.read_text())
    wanted = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name == "evaluation_command")
        or (isinstance(node, ast.Assign) and node.targets[0].id in ("SHARE", "ARGUMENTS", "PASSED"))  # type: ignore[attr-defined]
    ]
    parts: dict[str, Any] = {"Path": Path, "__file__": str(LAUNCH)}
    exec(compile(ast.Module(wanted, []), str(LAUNCH), "exec"), parts)  # noqa: S102 - our own file
    return parts


def test_the_launch_file_calls_the_command_with_arguments_it_knows():
    import argparse

    from vision_nodes.commands import evaluate

    parts = launch_parts()
    values = {name: default for name, default, _ in parts["ARGUMENTS"]}
    values |= {
        "bag": "drive.mcap",
        "ground_truth": "truth.mcap",
        "require": "detection.ap50=0.3, depth.abs_rel=1",
    }
    command = parts["evaluation_command"](values.__getitem__)
    assert command[:5] == ["ros2", "run", "vision_nodes", "vision-nodes", "evaluate"]
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    args = parser.parse_args(command[5:])
    (job,) = evaluate.make_jobs(args)
    assert job.live and job.attach and job.ground_truth == "truth.mcap" and len(job.tasks) == 5
    assert args.require == ["detection.ap50=0.3", "depth.abs_rel=1"]


def test_what_is_passed_on_is_an_argument_of_the_pipeline():
    parts = launch_parts()
    pipeline = (LAUNCH.parent / "pipeline.launch.py").read_text()
    assert {name for name, _, _ in parts["ARGUMENTS"]} >= set(parts["PASSED"])
    assert all(f'("{name}",' in pipeline for name in parts["PASSED"])


def test_a_live_run_of_another_topic_names_the_launch_file(tmp_path: Path):
    reader = BagReader(write_run(tmp_path / "run.mcap", 2))
    with BagWriter(tmp_path / "front.mcap") as writer:
        for message in reader.messages(["/image_raw"]):
            writer.write_object("/front/image_raw", reader.deserialize(message), message.log_time_ns)
    with pytest.raises(ConfigError, match=r"evaluate\.launch\.py image:=/front/image_raw"):
        record_live(tmp_path / "front.mcap", tmp_path / "out.mcap", ("detection",), {})
