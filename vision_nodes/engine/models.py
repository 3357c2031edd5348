"""Finding a model by its name."""

from __future__ import annotations

import logging
from pathlib import Path

from vision_nodes.engine.manifest import PRECISIONS, Manifest
from vision_nodes.errors import ModelError
from vision_nodes.resources import resource_directories

_log = logging.getLogger(__name__)


def find_model(model: str) -> tuple[Manifest, str | None]:
    """Read the manifest of ``name``, ``name:precision``, ``path.yaml`` or ``path.yaml:precision``.

    Returns:
        The manifest, and the precision asked for (None = the loader chooses).

    Raises:
        ModelError: no such model (the message lists those there are), or not in that precision.
    """
    name, precision = _split(model)
    manifest = Manifest.read(_manifest_path(name))
    if precision is not None and precision not in manifest.files:
        raise ModelError(
            f"{manifest.name} in {precision}", f"it offers {', '.join(manifest.files)}", "choose one"
        )
    return manifest, precision


def list_models() -> list[Manifest]:
    """Every model, by name; of two with one name the one `find_model` takes. A broken one is logged, left out."""
    found: dict[str, Manifest] = {}
    for directory in resource_directories("models"):
        for path in sorted(directory.glob("*.yaml")):
            if path.stem in found:
                continue
            try:
                found[path.stem] = Manifest.read(path)
            except ModelError as error:
                _log.warning("left out: %s", error)
    return [found[name] for name in sorted(found)]


def _split(model: str) -> tuple[str, str | None]:
    name, colon, precision = model.rpartition(":")
    if not colon:
        return model, None
    if precision not in PRECISIONS:
        raise ModelError(
            f"NAME or NAME:PRECISION, precision of {', '.join(PRECISIONS)}", repr(model), "correct it"
        )
    return name, precision


def _manifest_path(name: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name).expanduser()
    directories = resource_directories("models")
    for directory in directories:
        if (directory / f"{name}.yaml").is_file():
            return directory / f"{name}.yaml"
    known = sorted({path.stem for directory in directories for path in directory.glob("*.yaml")})
    raise ModelError(
        f"a model called '{name}'",
        f"there are: {', '.join(known) or 'none'} in {', '.join(map(str, directories)) or 'no directory'}",
        "correct the name, give the path of a manifest, or set VISION_NODES_MODELS",
    )
