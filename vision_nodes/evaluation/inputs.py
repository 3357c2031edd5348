"""What a path given to ``vision-nodes evaluate`` is, and the bag it becomes."""

from __future__ import annotations

import hashlib
from enum import Enum
from pathlib import Path

from vision_nodes.bags.reader import BagReader
from vision_nodes.errors import BagError
from vision_nodes.evaluation.recording import COMPLETION_TOPICS, read_metadata

BAG_SUFFIXES = (".mcap", ".db3")
HASH_CHUNK = 1 << 20


class InputKind(str, Enum):
    """How an input is brought to a results bag."""

    RESULTS = "results bag"  # scored as it is
    BAG = "bag"  # the graph runs over it
    SEQUENCE = "sequence folder"  # converted to a bag first
    LABELLED = "labelled set"  # COCO, CamVid-like or RGB-D: converted to a bag with truth first
    TRAVERSES = "two traverses"  # query/ and ref/: descriptors only


def classify(path: str | Path) -> InputKind:
    """Kind of an input, by what lies in it.

    Raises:
        BagError: nothing there, unreadable, or none of the known layouts; names what was found.
    """
    path = Path(path)
    if not path.exists():
        raise BagError(
            "a bag, a sequence folder or a labelled set", f"{path}: nothing there", "check the path"
        )
    if path.suffix == ".json":
        return InputKind.LABELLED
    if path.is_file():
        return _bag_kind(path)
    names = {child.name for child in path.iterdir()}
    if "metadata.yaml" in names or any(Path(name).suffix in BAG_SUFFIXES for name in names):
        return _bag_kind(path)
    if {"query", "ref", "ground_truth.csv"} <= names:
        return InputKind.TRAVERSES
    if "frames.csv" in names or "cam0" in names or {"times.txt", "image_0"} <= names:
        return InputKind.SEQUENCE
    if {"images", "labels"} <= names or {"rgb", "depth"} <= names:
        return InputKind.LABELLED
    if "images" in names and any(name.endswith(".json") for name in names):
        return InputKind.LABELLED
    raise BagError(
        "a bag, a sequence folder (frames.csv, times.txt + image_0/, cam0/), a labelled set (images/ with a "
        "COCO .json or labels/, rgb/ with depth/) or traverses (query/, ref/, ground_truth.csv)",
        f"{path} with {', '.join(sorted(names)[:8]) or 'nothing in it'}",
        "see vision-nodes evaluate --help",
    )


def _bag_kind(path: Path) -> InputKind:
    # What this package wrote carries a metadata record; anything else is told by its topics.
    if read_metadata(path):
        return InputKind.RESULTS
    reader = BagReader(path)
    topics = reader.topics()
    if not topics:
        raise BagError(f"a readable bag at {path}", reader.problem or "no message in it", "record it again")
    return InputKind.RESULTS if set(topics) & set(COMPLETION_TOPICS.values()) else InputKind.BAG


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file, or of a folder's relative names and contents in order."""
    path, digest = Path(path), hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if len(files) > 1:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(HASH_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
