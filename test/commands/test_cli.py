"""The command line: help for every verb, errors that explain themselves, exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_nodes.cli import VERBS, main
from vision_nodes.commands.replay import parse_parameters
from vision_nodes.errors import ConfigError


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0 and "usage" in capsys.readouterr().out


def test_no_verb_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


def test_an_explained_error_is_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path / "no.mcap"), str(tmp_path / "out.mcap")]) == 1
    error = capsys.readouterr().err
    assert "expected" in error and "remedy" in error and "Traceback" not in error


def test_bag_info_of_a_cut_bag_prints_what_is_there_and_returns_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.mcap").write_bytes(b"\x89MCAP0\r\n\x01")
    assert main(["bag", "info", str(tmp_path / "cut.mcap")]) == 1
    assert "expected a whole bag" in " ".join(capsys.readouterr().err.split())


def test_build_without_tensorrt_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rclpy")
    assert main(["build", "detection"]) == 1
    assert "TensorRT" in capsys.readouterr().err


def test_parameters_of_replay() -> None:
    parsed = parse_parameters(
        ["detection=detection:fp32"], ["odometry_node.base_frame=''", "depth_node.threads=2"]
    )
    assert parsed == {
        "detection_node": {"model": "detection:fp32"},
        "odometry_node": {"base_frame": ""},
        "depth_node": {"threads": 2},
    }
    for models, parameters in ((["dance=x"], []), (["detection"], []), ([], ["x=1"]), ([], ["a.b"])):
        with pytest.raises(ConfigError):
            parse_parameters(models, parameters)


def test_models_list_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "detection" in capsys.readouterr().out
    assert main(["models", "info", "detection"]) == 0
    assert "sha256" in capsys.readouterr().out
    assert main(["models", "info", "nothing"]) == 1
