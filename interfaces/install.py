"""Gives a Python environment what a ROS 2 installation would: rclpy, the common messages, vision_msgs, tf2_msgs.

Run by `make setup` with the environment's own Python. Where a ROS 2 is sourced, its packages are used and
nothing is downloaded or built.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

from rosidl_compile import BuildError, find_compilers, find_python_headers

ROS_WHEELS = ("ros-jazzy-rclpy[fastrtps]", "ros-jazzy-common-interfaces")
MESSAGE_PACKAGES = ("vision_msgs", "tf2_msgs")


def find_package(name: str) -> Path | None:
    """Directory of an importable package; None for none, and for the bare directories of the same name here."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def find_sourced_ros() -> Path | None:
    """Directory of the rclpy that a sourced ROS 2 offers; None where there is none outside this environment."""
    directory = find_package("rclpy")
    return None if directory is None or directory.is_relative_to(sys.prefix) else directory


def check_sourced_ros(rclpy_dir: Path) -> None:
    """Raises BuildError when the sourced ROS 2 lacks a message package."""
    missing = [name for name in MESSAGE_PACKAGES if find_package(name) is None]
    if missing:
        distro = os.environ.get("ROS_DISTRO", "<distro>")
        packages = " ".join(f"ros-{distro}-{name.replace('_', '-')}" for name in missing)
        raise BuildError(
            f"{' and '.join(missing)} in the sourced ROS 2 ({rclpy_dir})",
            "no such Python package",
            f"sudo apt install {packages}, then source ROS again",
        )


def check_machine() -> None:
    """Raises BuildError where the wheels do not exist or compiling cannot work: before the downloads."""
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise BuildError(
            "a sourced ROS 2, or Linux x86_64, for which rclpy has wheels",
            f"{machine} and no rclpy",
            "install ROS 2 Humble or Jazzy with apt, run `source /opt/ros/<distro>/setup.bash`, then this again",
        )
    find_compilers()
    find_python_headers()


def pip_install(*arguments: str) -> None:
    """Runs pip in this environment; its output is shown."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", *arguments], check=False
    )
    if done.returncode != 0:
        raise BuildError(
            f"`pip install {' '.join(arguments)}` to finish",
            f"exit status {done.returncode}",
            "see pip's message above",
        )


def main() -> int:
    """Installs and builds what is missing; returns the exit status."""
    try:
        rclpy_dir = find_sourced_ros()
        if rclpy_dir is not None:
            check_sourced_ros(rclpy_dir)
            print(
                f"ROS 2 {os.environ.get('ROS_DISTRO', '')} is sourced: its rclpy and messages are used, nothing is built"
            )
            return 0
        check_machine()
        if "--check" in sys.argv[1:]:
            return 0
        print("no ROS 2 is sourced: installing rclpy from wheels, building vision_msgs and tf2_msgs")
        pip_install(*ROS_WHEELS)
        pip_install(
            "--no-build-isolation", "--no-deps", "--force-reinstall", str(Path(__file__).resolve().parent)
        )
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
