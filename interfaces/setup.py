"""Builds and installs the Python packages `vision_msgs` and `tf2_msgs` into an environment with the ROS wheels."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from rosidl_compile import compile_extensions, find_compilers, find_include_dirs
from rosidl_generate import InterfacePackage, generate

PACKAGES = [InterfacePackage.read(HERE / name) for name in ("vision_msgs", "tf2_msgs")]


class BuildInterfaces(build_ext):
    """Generates, compiles and lays out both packages: Python classes beside one extension each."""

    def run(self) -> None:
        find_compilers(), find_include_dirs()  # fail before the work, not after it
        build_dir = Path(self.build_temp).resolve() / "interfaces"
        shutil.rmtree(build_dir, ignore_errors=True)
        build_dir.mkdir(parents=True)
        workers = len(os.sched_getaffinity(0))
        generate(PACKAGES, build_dir, workers)
        extensions = compile_extensions(PACKAGES, build_dir, workers)
        for package in PACKAGES:
            target = Path(self.build_lib) / package.name
            shutil.rmtree(target, ignore_errors=True)
            ignore = shutil.ignore_patterns("*.c")
            shutil.copytree(build_dir / "rosidl_generator_py" / package.name, target, ignore=ignore)
            shutil.copy2(extensions[package.name], target)


def share_files() -> list[tuple[str, list[str]]]:
    """What ROS tools look for under `share/`: the index entry, package.xml and the `.msg` files."""
    files = []
    for name in (package.name for package in PACKAGES):
        files.append(("share/ament_index/resource_index/packages", [f"resource/{name}"]))
        files.append((f"share/{name}", [f"{name}/package.xml"]))
        files.append(
            (
                f"share/{name}/msg",
                sorted(str(p.relative_to(HERE)) for p in (HERE / name / "msg").glob("*.msg")),
            )
        )
    return files


setup(
    name="vision-nodes-interfaces",
    version="0.1.0",
    description="vision_msgs 4.1 and tf2_msgs for Python environments whose ROS 2 comes from wheels",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[],
    ext_modules=[Extension(f"{p.name}.{p.name}_s__rosidl_typesupport_c", sources=[]) for p in PACKAGES],
    cmdclass={"build_ext": BuildInterfaces},
    data_files=share_files(),
)
