"""Class names of a foreign network: from a file, from the ONNX file itself, or a known list."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import yaml

from vision_nodes.errors import ConfigError
from vision_nodes.tasks.classes import COCO_CLASSES

KNOWN = {"coco80": COCO_CLASSES}
NESTED_KEYS = ("names", "id2label", "classes", "categories")  # data.yaml, Hugging Face's config.json, ...


def read_names(source: str) -> tuple[str, ...]:
    """Class names in the order of the network's outputs.

    Args:
        source: ``coco80``, or a .txt (one per line), .yaml or .json file with a list or an id -> name mapping,
            also under one of the keys `NESTED_KEYS`.

    Raises:
        ConfigError: no such file, or no names in it.
    """
    if source in KNOWN:
        return KNOWN[source]
    path = Path(source).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--names FILE or coco80", f"{source}: {error}", "check the path") from error
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        try:
            content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"valid YAML or JSON in {path}", str(error)[:200], "repair it") from error
        return names_of(content, str(path))
    return names_of([line.strip() for line in text.splitlines() if line.strip()], str(path))


def names_in_metadata(metadata: dict[str, str]) -> tuple[str, ...]:
    """Names that the exporter left in the ONNX file (key ``names``, as ultralytics writes it); () = none."""
    text = metadata.get("names", "")
    if not text:
        return ()
    try:
        return names_of(ast.literal_eval(text), "the ONNX metadata 'names'")
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        remedy = "give the names yourself: --names FILE"
        raise ConfigError(
            "a Python literal in the ONNX metadata 'names'", str(error)[:200], remedy
        ) from error


def names_of(content: Any, where: str) -> tuple[str, ...]:
    """A list of names, or a mapping id -> name with ids 0 to N - 1, possibly nested."""
    if isinstance(content, dict):
        nested = next(
            (content[key] for key in NESTED_KEYS if isinstance(content.get(key), (list, dict))), None
        )
        if nested is not None:
            return names_of(nested, where)
        try:
            by_id = {int(key): value for key, value in content.items()}
        except (TypeError, ValueError):
            by_id = {}
        if not by_id or sorted(by_id) != list(range(len(by_id))):
            received = ", ".join(map(repr, list(content)[:5]))
            raise ConfigError(
                f"ids 0 to N - 1 with their names in {where}", received, "number them without gaps"
            )
        content = [by_id[index] for index in range(len(by_id))]
    if not isinstance(content, list) or not content:
        raise ConfigError(f"a list of class names in {where}", type(content).__name__, "one name per class")
    return tuple(str(name) for name in content)
