"""Weights of a zoo entry: from a mirror directory or their public address, checked before anything reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vision_nodes.engine.fields import write_atomically
from vision_nodes.engine.zoo import WeightFile, ZooEntry
from vision_nodes.errors import ModelError


def fetch_weights(entry: ZooEntry, cache: Path, mirror: Path | None = None) -> tuple[str, list[Path]]:
    """Form and local files of the first way to the weights that is open here.

    Args:
        cache: directory the files are kept in; what lies there with the right hash is not fetched again.
        mirror: a directory that holds the files under their `path`, or by their name alone.

    Raises:
        ModelError: not in the mirror, no network, a wrong hash or size, or the cache cannot be written;
            nothing half-written stays.
    """
    if mirror is not None:
        if not mirror.is_dir():
            raise ModelError("a mirror directory", f"nothing at {mirror}", "correct --mirror")
        source = next((s for s in entry.sources if all(_in_mirror(mirror, p) for p in s.parts)), None)
        if source is None:
            wanted = " or ".join(" + ".join(part.path for part in s.parts) for s in entry.sources)
            raise ModelError(
                f"{wanted} in {mirror}", "no such file", "complete the mirror, or leave --mirror away"
            )
    else:
        source = next((s for s in entry.sources if all(part.url for part in s.parts)), None)
        if source is None:
            paths = ", ".join(part.path for s in entry.sources for part in s.parts)
            raise ModelError(
                f"a public address of {entry.name}",
                "none: its published form is another",
                f"--mirror DIR with {paths}",
            )
    return source.form, [_local(part, cache / entry.name, mirror) for part in source.parts]


def _in_mirror(mirror: Path, part: WeightFile) -> Path | None:
    candidates = (mirror / part.path, mirror / Path(part.path).name)
    return next((path for path in candidates if path.is_file()), None)


def _local(part: WeightFile, folder: Path, mirror: Path | None) -> Path:
    target = folder / Path(part.path).name
    if target.is_file() and _hash(target.read_bytes()) == part.sha256:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _in_mirror(mirror, part) if mirror is not None else None
        if found is None:
            return _download(part, target)
        content = found.read_bytes()
        _check(content, part, str(found))
        write_atomically(target, content)
    except OSError as error:
        raise ModelError(
            f"a cache that can be written: {folder}", str(error), "--cache DIR, or set VISION_NODES_CACHE"
        ) from error
    return target


def _check(content: bytes, part: WeightFile, where: str) -> None:
    digest = _hash(content)
    if len(content) != part.bytes or digest != part.sha256:
        raise ModelError(
            f"{part.bytes} bytes of SHA-256 {part.sha256}",
            f"{len(content)} bytes of {digest} in {where}",
            "the file is cut off or another version: fetch it again",
        )


def _download(part: WeightFile, target: Path) -> Path:
    """Fetch with pooch: into a temporary file, checked, then moved."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            part.url, f"sha256:{part.sha256}", target.name, target.parent, downloader=_downloader(pooch)
        )
    except requests.RequestException as error:
        remedy = "check the network, or --mirror DIR with the file"
        raise ModelError(f"{part.url} to answer", str(error)[:200], remedy) from error
    except ValueError as error:  # pooch's word for a wrong hash; its temporary file is gone by then
        raise ModelError(
            f"SHA-256 {part.sha256} from {part.url}",
            str(error)[:200],
            "the file was changed or cut off: try again later",
        ) from error
    return target


def _downloader(pooch: object) -> object:
    return pooch.HTTPDownloader(timeout=30, progressbar=False)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
