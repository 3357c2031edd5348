"""The list of public models that can be pulled: where their weights are, what they may be used for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vision_nodes.engine.fields import Fields, read_yaml
from vision_nodes.errors import ModelError

ZOO = Path(__file__).with_name("zoo.yaml")


@dataclass(frozen=True)
class WeightFile:
    """One published file. `path` is where it lies below a mirror; `url` '' = only in a mirror."""

    path: str
    bytes: int
    sha256: str
    url: str = ""


@dataclass(frozen=True)
class WeightSource:
    """One way to the weights: what the parts are (`form`), all of them needed."""

    form: str
    parts: tuple[WeightFile, ...]


@dataclass(frozen=True)
class ZooEntry:
    """A public model: `network` is its re-implementation in networks/, `data` what it was trained on."""

    name: str
    task: str
    description: str
    licence: str
    source: str
    network: str
    data: dict[str, str]
    sources: tuple[WeightSource, ...]
    label: str = ""


def read_zoo(path: Path = ZOO) -> dict[str, ZooEntry]:
    """Name -> entry. Raises ModelError when the list is not what it should be."""
    return {
        name: _entry(name, Fields(content, f"{path}: {name}")) for name, content in read_yaml(path).items()
    }


def find_entry(name: str) -> ZooEntry:
    """The entry of that name. Raises ModelError with the names there are."""
    zoo = read_zoo()
    if name not in zoo:
        raise ModelError(f"a model of the zoo: {', '.join(zoo)}", repr(name), "vision-nodes models list")
    return zoo[name]


def _entry(name: str, fields: Fields) -> ZooEntry:
    texts = {key: fields.take(key, str) for key in ("task", "description", "licence", "source", "network")}
    data = fields.fields("data")
    used = {key: data.take(key, str) for key in ("name", "licence", "use")}
    sources = tuple(_source(Fields(item, f"{fields.where}: files")) for item in fields.take("files", list))
    entry = ZooEntry(name, **texts, data=used, sources=sources, label=fields.take("label", str, ""))
    data.finish()
    fields.finish()
    return entry


def _source(fields: Fields) -> WeightSource:
    form, parts = fields.take("form", str), []
    for item in fields.take("parts", list):
        part = Fields(item, f"{fields.where}: parts")
        parts.append(
            WeightFile(
                part.take("path", str),
                part.take("bytes", int),
                part.take("sha256", str),
                part.take("url", str, ""),
            )
        )
        part.finish()
    fields.finish()
    return WeightSource(form, tuple(parts))
