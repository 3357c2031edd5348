"""Strict reading of YAML mappings: every key known, every value of the type it should have."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from vision_nodes.errors import ModelError

MAX_BYTES = 1 << 20  # a manifest is a few kB; more is not a manifest


class _UniqueKeyLoader(yaml.SafeLoader):
    """A key written twice is an error: YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Fields:
    """Parse one YAML file into `Fields`.

    Raises:
        ModelError: missing, too large, not YAML, or not a mapping.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"a manifest of at most {MAX_BYTES} bytes", f"{path}", "check the path")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise ModelError(f"a manifest at {path}", str(error), "check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"valid YAML in {path}", str(error).replace("\n", " "), "repair the file") from error
    return Fields(content, str(path))


def write_atomically(path: Path, content: bytes) -> None:
    """Write so that a crash or a full disk leaves the old file or the new one, never a part.

    Raises:
        OSError: the directory is not writable or the disk is full; the old file is untouched.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class Fields:
    """A mapping that hands out each key once, with its type checked; `finish` refuses what is left."""

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, dict):
            raise ModelError(f"a mapping in {where}", type(content).__name__, "see docs/manifest.md")
        self._rest = dict(content)
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self._rest

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """Value of `key`; without a default the key is required."""
        if key not in self._rest:
            if default is ...:
                raise ModelError(f"key '{key}' in {self.where}", "no such key", f"add '{key}'")
            return default
        value = self._rest.pop(key)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        wrong_bool = isinstance(value, bool) and kind is not bool
        if not isinstance(value, kind) or wrong_bool:
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.error(key, names, f"{type(value).__name__} {value!r}"[:200])
        return value

    def fields(self, key: str, default: Any = ...) -> Fields:
        """Nested mapping."""
        return Fields(self.take(key, dict, default), f"{self.where}: {key}")

    def sequence(self, key: str, kind: type, default: Any = ...) -> tuple[Any, ...]:
        """List of positive int, or of str, as a tuple."""
        values = self.take(key, list, default)
        if not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
            raise self.error(key, f"a list of {kind.__name__}", repr(values)[:200])
        if kind is int and not all(v > 0 for v in values):
            raise self.error(key, "positive numbers", repr(values))
        return tuple(values)

    def names(self) -> list[str]:
        """Keys not taken yet."""
        return list(self._rest)

    def items(self) -> Iterable[tuple[str, Any]]:
        """Every (key, value) left, taking them."""
        rest, self._rest = self._rest, {}
        for key in rest:
            if not isinstance(key, str):
                raise ModelError(f"text keys in {self.where}", repr(key), "quote the key")
        return rest.items()

    def finish(self) -> None:
        """Refuse keys nobody took."""
        if self._rest:
            unknown = ", ".join(repr(key) for key in self._rest)
            raise ModelError(
                f"only known keys in {self.where}", f"unknown {unknown}", "remove or rename them"
            )

    def error(self, key: str, expected: str, received: str) -> ModelError:
        """Error about one key's value."""
        return ModelError(f"{expected} for '{key}' in {self.where}", received, f"correct '{key}'")
