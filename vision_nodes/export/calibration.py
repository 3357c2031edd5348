"""Calibration pictures: read from a folder, and described so that the INT8 file can be made again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import yaml

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.engine.fields import write_atomically
from vision_nodes.engine.manifest import InputSpec
from vision_nodes.errors import ModelError
from vision_nodes.preprocess.frame import resize

SUFFIXES = (".jpg", ".jpeg", ".png")


def read_calibration(folder: Path, spec: InputSpec, count: int) -> tuple[list[np.ndarray], list[Path]]:
    """Up to `count` pictures spread over `folder` (searched in depth), fitted to the network input.

    Returns:
        (H, W, 3) uint8 RGB pictures, and the files they come from.

    Raises:
        ModelError: no folder, no pictures, or one that cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ModelError("a folder with JPEG or PNG pictures", f"none in {folder}", "give --calibration DIR")
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, count).astype(int))]
    images = []
    for path in chosen:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ModelError("a readable picture", str(path), "remove or restore it")
        source_wh = (image.shape[1], image.shape[0])
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        images.append(np.ascontiguousarray(resize(rgb, ResizeMap(source_wh, spec.size_wh, spec.fit))))
    return images, chosen


def write_description(
    path: Path, model: str, folder: Path, files: list[Path], recipe: dict[str, object]
) -> None:
    """`calibration/int8_<model>.yaml`: recipe, and every picture with its SHA-256."""
    pictures = [
        {"file": file.relative_to(folder).as_posix(), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in files
    ]
    content = {"model": model, "recipe": recipe, "folder": folder.name, "pictures": pictures}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, yaml.safe_dump(content, sort_keys=False, width=110).encode())
