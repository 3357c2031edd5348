"""`.msg` files to C, C++ and Python sources, through the rosidl generators that the ROS wheels carry.

The steps are those of rosidl's CMake macros, called as Python functions: `.msg` -> `.idl` -> type description
and hash (REP-2011) -> message structs, Fast CDR serialisation, introspection, Python classes. One thing differs:
each rosidl library of a real package is a shared library that is looked up by name at run time; here all of
them end up in one extension module, so `dispatch_source` writes the look-up as two direct calls.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

SOURCE_GENERATORS = (
    "rosidl_generator_py",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_generator_c",
    "rosidl_typesupport_introspection_c",
)


@dataclass(frozen=True)
class InterfacePackage:
    """One ROS message package in source form: `<directory>/package.xml` and `<directory>/msg/*.msg`."""

    name: str
    version: str
    directory: Path
    dependencies: tuple[str, ...]

    @classmethod
    def read(cls, directory: Path) -> InterfacePackage:
        """Reads `package.xml`; every `<depend>` is a message package that an installed wheel provides."""
        root = ElementTree.parse(directory / "package.xml").getroot()
        depends = tuple(element.text or "" for element in root.findall("depend"))
        return cls(root.findtext("name", ""), root.findtext("version", ""), directory.resolve(), depends)

    @property
    def messages(self) -> list[str]:
        """Message names, sorted."""
        return sorted(path.stem for path in (self.directory / "msg").glob("*.msg"))


def ros_prefix() -> Path:
    """Where the ROS wheels put `include/`, `lib/` and `share/`: the prefix of the environment they are in."""
    import rosidl_adapter

    return Path(rosidl_adapter.__file__).resolve().parents[4]


def generate(packages: list[InterfacePackage], build_dir: Path, workers: int) -> None:
    """Writes `<build_dir>/<generator>/<package>/...` for every package and generator."""
    for package in packages:
        with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
            _generate_idl(package, build_dir)
        _generate_type_descriptions(package, build_dir)
    jobs = [(generator, package, build_dir) for generator in SOURCE_GENERATORS for package in packages]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        pool.starmap(_generate_sources, jobs, chunksize=1)
    for package in packages:
        path = build_dir / "dispatch" / package.name / "dispatch.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dispatch_source(package))


def _generate_idl(package: InterfacePackage, build_dir: Path) -> None:
    from rosidl_adapter import convert_to_idl

    for message in package.messages:
        convert_to_idl(
            package.directory, package.name, Path("msg", message + ".msg"), build_dir / "idl" / package.name
        )


def _generate_type_descriptions(package: InterfacePackage, build_dir: Path) -> None:
    from rosidl_generator_type_description import generate_type_hash

    include_paths = [f"{name}:{ros_prefix() / 'share' / name}" for name in package.dependencies]
    generate_type_hash(_write_arguments("type_description", package, build_dir, include_paths=include_paths))


def _generate_sources(generator: str, package: InterfacePackage, build_dir: Path) -> None:
    """Runs one generator over one package (in a worker process)."""
    output = build_dir / generator / package.name
    (output / "msg").mkdir(parents=True, exist_ok=True)
    arguments = _write_arguments(generator, package, build_dir)
    if generator == "rosidl_generator_py":
        from rosidl_generator_py.generate_py_impl import generate_py

        (output / "__init__.py").write_text("")
        generate_py(arguments, ["rosidl_typesupport_c"])
        return
    if generator == "rosidl_generator_c":
        from rosidl_generator_c import generate_c as run
    elif generator == "rosidl_typesupport_fastrtps_c":
        from rosidl_typesupport_fastrtps_c import generate_typesupport_fastrtps_c as run
    else:
        from rosidl_typesupport_introspection_c import generate_c as run
    run(arguments)
    template = ros_prefix() / "share" / generator / "resource" / f"{generator}__visibility_control.h.in"
    text = template.read_text().replace("@PROJECT_NAME@", package.name)
    text = text.replace("@PROJECT_NAME_UPPER@", package.name.upper())
    (output / "msg" / f"{generator}__visibility_control.h").write_text(text)


def _write_arguments(generator: str, package: InterfacePackage, build_dir: Path, **extra: object) -> str:
    """Writes the JSON of arguments that every rosidl generator reads; returns its path."""
    idl_dir, description_dir = build_dir / "idl" / package.name, build_dir / "type_description" / package.name
    idl_names = [f"msg/{message}.idl" for message in package.messages]
    arguments: dict[str, object] = {
        "package_name": package.name,
        "output_dir": str(build_dir / generator / package.name),
        "template_dir": str(ros_prefix() / "share" / generator / "resource"),
        "idl_tuples": [f"{idl_dir}:{name}" for name in idl_names],
        "ros_interface_files": [str(package.directory / "msg" / f"{m}.msg") for m in package.messages],
        "ros_interface_dependencies": [],
        "target_dependencies": [],
        **extra,
    }
    if generator != "type_description":
        names = zip(idl_names, package.messages)
        arguments["type_description_tuples"] = [f"{idl}:{description_dir}/msg/{m}.json" for idl, m in names]
    path = build_dir / f"{generator}_{package.name}.json"
    path.write_text(json.dumps(arguments))
    return str(path)


_DISPATCH_HEAD = """\
/* Written by rosidl_generate.py: finds a message's type support by identifier, without dlopen. */
#include <string.h>
#include "rosidl_runtime_c/message_type_support_struct.h"
#include "rosidl_typesupport_c/identifier.h"

typedef const rosidl_message_type_support_t * (*get_handle_function)(void);
typedef struct { get_handle_function fastrtps; get_handle_function introspection; } type_supports_t;

static const rosidl_message_type_support_t * find(
  const rosidl_message_type_support_t * handle, const char * identifier)
{
  const type_supports_t * supports = (const type_supports_t *)handle->data;
  if (strcmp(identifier, rosidl_typesupport_c__typesupport_identifier) == 0) { return handle; }
  if (strcmp(identifier, "rosidl_typesupport_fastrtps_c") == 0) { return supports->fastrtps(); }
  if (strcmp(identifier, "rosidl_typesupport_introspection_c") == 0) { return supports->introspection(); }
  return NULL;
}
"""

_DISPATCH_MESSAGE = """
#include "{package}/msg/detail/{snake}__functions.h"
const rosidl_message_type_support_t * rosidl_typesupport_fastrtps_c__{handle}(void);
const rosidl_message_type_support_t * rosidl_typesupport_introspection_c__{handle}(void);
const rosidl_message_type_support_t * rosidl_typesupport_c__{handle}(void)
{{
  static const type_supports_t supports = {{
    rosidl_typesupport_fastrtps_c__{handle}, rosidl_typesupport_introspection_c__{handle}}};
  static rosidl_message_type_support_t support;
  support.typesupport_identifier = rosidl_typesupport_c__typesupport_identifier;
  support.data = &supports;
  support.func = find;
  support.get_type_hash_func = {package}__msg__{message}__get_type_hash;
  support.get_type_description_func = {package}__msg__{message}__get_type_description;
  support.get_type_description_sources_func = {package}__msg__{message}__get_type_description_sources;
  return &support;
}}
"""


def dispatch_source(package: InterfacePackage) -> str:
    """C source of `rosidl_typesupport_c` for one package: handles that know the two real type supports."""
    from rosidl_pycommon import convert_camel_case_to_lower_case_underscore as to_snake

    parts = [_DISPATCH_HEAD]
    for message in package.messages:
        handle = f"get_message_type_support_handle__{package.name}__msg__{message}"
        parts.append(
            _DISPATCH_MESSAGE.format(
                package=package.name, message=message, snake=to_snake(message), handle=handle
            )
        )
    return "".join(parts)
