"""What the interface build says when the machine lacks something, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

INTERFACES = Path(__file__).parents[2] / "interfaces"
sys.path.insert(0, str(INTERFACES))

import install
import rosidl_compile
from rosidl_generate import InterfacePackage


def test_missing_compiler_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(
        rosidl_compile.BuildError, match=r"expected a C compiler(.|\n)*none of gcc(.|\n)*build-essential"
    ):
        rosidl_compile.find_compilers()


def test_compiler_of_the_environment_is_taken(monkeypatch):
    monkeypatch.setenv("CC", sys.executable)
    monkeypatch.setenv("CXX", sys.executable)
    assert rosidl_compile.find_compilers() == (sys.executable, sys.executable)


def test_missing_python_headers_name_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(rosidl_compile.BuildError, match=r"C headers(.|\n)*no .*Python\.h(.|\n)*python3-dev"):
        rosidl_compile.find_python_headers()


def test_failed_compilation_shows_the_compilers_words(tmp_path):
    source = tmp_path / "broken.c"
    source.write_text("int broken(void) { return undeclared_name; }\n")
    with pytest.raises(rosidl_compile.BuildError, match="undeclared_name"):
        rosidl_compile._compile(rosidl_compile.find_compilers(), source, [], tmp_path)


def test_other_machine_is_sent_to_apt(monkeypatch):
    monkeypatch.setattr(install.platform, "machine", lambda: "aarch64")
    with pytest.raises(rosidl_compile.BuildError, match=r"Linux aarch64(.|\n)*apt"):
        install.check_machine()


@pytest.mark.parametrize("has_messages", [True, False])
def test_sourced_ros_is_used_and_nothing_is_built(tmp_path, has_messages):
    """A ROS on PYTHONPATH, as setup.bash leaves it: `install.py` ends without pip, or names the missing package."""
    names = ["rclpy", "tf2_msgs", *(["vision_msgs"] if has_messages else [])]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    environment = {"PYTHONPATH": str(tmp_path), "ROS_DISTRO": "jazzy", "PATH": "/nowhere"}
    command = [
        sys.executable,
        "-S",
        str(INTERFACES / "install.py"),
    ]  # -S: without this environment's own packages
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if has_messages:
        assert (done.returncode, done.stderr) == (0, "")
        assert "ROS 2 jazzy is sourced" in done.stdout and "nothing is built" in done.stdout
    else:
        assert done.returncode == 1
        assert "sudo apt install ros-jazzy-vision-msgs" in done.stderr


def test_package_xml_and_messages_are_read():
    package = InterfacePackage.read(INTERFACES / "tf2_msgs")
    assert package.name == "tf2_msgs"
    assert package.messages == ["TF2Error", "TFMessage"]
    assert "geometry_msgs" in package.dependencies
