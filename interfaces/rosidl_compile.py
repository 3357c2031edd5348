"""Generated rosidl sources to one Python extension per message package, with the machine's gcc or clang."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rosidl_generate import SOURCE_GENERATORS, InterfacePackage, ros_prefix

_UNITS_PER_PACKAGE = (
    2  # of the Fast CDR sources, which take most of the time: one for each core of a small machine
)
_RUNTIME_LIBRARIES = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_fastrtps_cpp", "fastcdr", "rmw")
_COMMON_LIBRARIES = (
    "rosidl_typesupport_introspection_c",
    "rosidl_typesupport_c",
    "rosidl_runtime_c",
    "rcutils",
)
_LIBRARY_KINDS = ("rosidl_generator_c", "rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c")


class BuildError(RuntimeError):
    """The machine lacks what compiling needs: says what was expected, what was found and what to do."""

    def __init__(self, expected: str, received: str, remedy: str) -> None:
        super().__init__(f"\nexpected {expected}\nreceived {received}\nremedy: {remedy}\n")


def find_compilers() -> tuple[str, str]:
    """Paths of the C and the C++ compiler: `$CC`, `$CXX`, else gcc and g++, else clang and clang++."""
    found = []
    for variable, language, names in (
        ("CC", "C", ("gcc", "clang", "cc")),
        ("CXX", "C++", ("g++", "clang++", "c++")),
    ):
        wanted = [os.environ[variable]] if os.environ.get(variable) else list(names)
        path = next((shutil.which(name) for name in wanted if shutil.which(name)), None)
        if path is None:
            raise BuildError(
                f"a {language} compiler, to build vision_msgs and tf2_msgs",
                f"none of {', '.join(wanted)} on PATH",
                "sudo apt install build-essential (or set CC and CXX)",
            )
        found.append(path)
    return found[0], found[1]


def find_python_headers() -> Path:
    """Directory of `Python.h`."""
    python = Path(sysconfig.get_path("include"))
    if not (python / "Python.h").is_file():
        version = sysconfig.get_python_version()
        raise BuildError(
            f"Python {version}'s C headers, to build vision_msgs and tf2_msgs",
            f"no {python / 'Python.h'}",
            f"sudo apt install python{version}-dev (or python3-dev)",
        )
    return python


def find_include_dirs() -> list[Path]:
    """Header directories of Python, NumPy and every ROS wheel."""
    import numpy

    ros = ros_prefix() / "include"
    if not (ros / "rosidl_runtime_c").is_dir():
        raise BuildError(
            "the ROS wheels in this Python environment, with their headers",
            f"no {ros / 'rosidl_runtime_c'}",
            "pip install 'ros-jazzy-rclpy[fastrtps]' ros-jazzy-common-interfaces",
        )
    packages = sorted(path for path in ros.iterdir() if path.is_dir() and not path.name.startswith("python"))
    return [find_python_headers(), Path(numpy.get_include()), ros, *packages]


def compile_extensions(packages: list[InterfacePackage], build_dir: Path, workers: int) -> dict[str, Path]:
    """Compiles and links every package.

    Returns:
        Package name -> path of its extension `<package>_s__rosidl_typesupport_c.so`.
    """
    compilers, include_dirs = find_compilers(), find_include_dirs()
    with ThreadPoolExecutor(workers) as pool:
        jobs = {}
        for package in packages:
            for unit in _write_units(package, build_dir):
                jobs[pool.submit(_compile, compilers, unit, include_dirs, build_dir)] = package.name
        objects: dict[str, list[Path]] = {package.name: [] for package in packages}
        for job, name in jobs.items():
            objects[name].append(job.result())
        links = {p.name: pool.submit(_link, compilers[1], p, objects[p.name], build_dir) for p in packages}
        return {name: link.result() for name, link in links.items()}


def _write_units(package: InterfacePackage, build_dir: Path) -> list[Path]:
    """Groups a package's sources into few files: most of the time goes into headers that all of them share.

    The `*__description.c` files define the same static names, so each stays alone.
    """
    units = []
    for generator in (*SOURCE_GENERATORS, "dispatch"):
        sources = sorted((build_dir / generator / package.name).rglob("*.c*"))
        units += [source for source in sources if source.name.endswith("__description.c")]
        grouped = [source for source in sources if not source.name.endswith("__description.c")]
        count = _UNITS_PER_PACKAGE if generator == "rosidl_typesupport_fastrtps_c" else 1
        for index in range(count):
            chosen = grouped[index::count]
            if chosen:
                unit = build_dir / "units" / f"{package.name}_{generator}_{index}{chosen[0].suffix}"
                unit.parent.mkdir(exist_ok=True)
                unit.write_text("".join(f'#include "{source}"\n' for source in chosen))
                units.append(unit)
    return sorted(units, key=lambda unit: unit.suffix != ".cpp")  # the slow ones first


def _compile(compilers: tuple[str, str], unit: Path, include_dirs: list[Path], build_dir: Path) -> Path:
    output = unit.with_suffix(".o")
    includes = [build_dir / generator for generator in SOURCE_GENERATORS] + include_dirs
    language = [compilers[1], "-std=c++17"] if unit.suffix == ".cpp" else [compilers[0], "-std=gnu11"]
    command = [*language, "-O1", "-fPIC", "-DNDEBUG", "-w", "-c", str(unit), "-o", str(output)]
    _run([*command, *(f"-I{path}" for path in includes)])
    return output


def _link(compiler: str, package: InterfacePackage, objects: list[Path], build_dir: Path) -> Path:
    output = build_dir / f"{package.name}_s__rosidl_typesupport_c{sysconfig.get_config_var('EXT_SUFFIX')}"
    libraries = [
        f"{name}__{kind}"
        for name in package.dependencies
        for kind in (*_LIBRARY_KINDS, "rosidl_generator_py")
    ]
    names = [*libraries, *_RUNTIME_LIBRARIES, *_COMMON_LIBRARIES]
    lib_dir = ros_prefix() / "lib"
    command = [
        compiler,
        "-shared",
        *map(str, objects),
        "-o",
        str(output),
        f"-L{lib_dir}",
        "-Wl,-rpath,$ORIGIN/../../..",
    ]
    _run([*command, *(f"-l{name}" for name in names)])
    return output


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(
            f"{command[0]} to finish",
            f"exit status {done.returncode}: {done.stderr.strip()[-2000:]}",
            "check that the ROS wheels are complete (pip check), then run the build again",
        )
