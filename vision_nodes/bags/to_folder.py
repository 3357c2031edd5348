"""Bag -> folder of pictures and truth in a layout that other tools, and `from_folder`, read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vision_nodes.bags.content import Content, read_content
from vision_nodes.bags.folder_files import write_camera_yaml, write_tum
from vision_nodes.bags.labelled_writers import write_camvid, write_coco
from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.sequence_writers import write_7scenes, write_euroc, write_kitti_set, write_tum_set
from vision_nodes.errors import BagError, ConfigError

_WRITERS: dict[str, Callable[[Content, Path], dict[str, int]]] = {
    "7scenes": write_7scenes,
    "tum": write_tum_set,
    "kitti": write_kitti_set,
    "euroc": write_euroc,
    "coco": write_coco,
    "camvid": write_camvid,
}
LAYOUTS = tuple(_WRITERS)


def write_bag_folder(
    bag: str | Path,
    folder: str | Path,
    layout: str = "7scenes",
    topic: str = "",
    class_names: Sequence[str] = (),
) -> dict[str, int]:
    """Write a bag's camera and truth as a folder.

    Layouts: ``7scenes`` (frames.csv, rgb/, depth/ in mm), ``tum`` (rgb.txt, depth.txt, depth / 5000), ``kitti``
    (image_0/, times.txt, poses.txt, calib.txt), ``euroc`` (cam0/<ns>), ``coco`` (val.json, images/), ``camvid``
    (images/, labels/, classes.json, val.txt). Sequences get camera.yaml and groundtruth.txt (TUM form) too,
    and ``odometry.txt`` where the bag has results.

    Args:
        class_names: of mask ids, for a bag that does not name them itself.

    Returns:
        Files or rows written per kind.

    Raises:
        ConfigError: an unknown layout. BagError: no camera, or not the truth that the layout is about.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"a layout of {', '.join(LAYOUTS)}", repr(layout), "choose one")
    reader = BagReader(bag)
    content = read_content(reader, topic)
    content.label_names = content.label_names or list(class_names)
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise BagError("an empty or new folder", f"{folder} has files in it", "choose another")
    folder.mkdir(parents=True, exist_ok=True)
    counts = _WRITERS[layout](content, folder)
    if layout not in ("coco", "camvid"):
        _write_common(content, folder)
        counts |= {"poses": len(content.truth), "odometry": len(content.odometry)}
    return counts


def _write_common(content: Content, folder: Path) -> None:
    if content.camera is not None:
        write_camera_yaml(folder / "camera.yaml", content.camera)
    if content.truth:
        write_tum(folder / "groundtruth.txt", list(content.truth), np.array(list(content.truth.values())))
    if content.odometry:
        write_tum(folder / "odometry.txt", list(content.odometry), np.array(list(content.odometry.values())))
