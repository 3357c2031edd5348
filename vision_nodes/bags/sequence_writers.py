"""Sequence layouts: 7-Scenes-like, TUM, KITTI, EuRoC."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from vision_nodes.bags.content import Content
from vision_nodes.bags.folder_files import seconds, write_depth, write_kitti, write_picture

TUM_DEPTH_PER_M, MM_PER_M = 5000.0, 1000.0


def write_7scenes(content: Content, folder: Path) -> dict[str, int]:
    """frames.csv, rgb/, depth/ in millimetres, loops.csv."""
    index = {stamp: i for i, stamp in enumerate(sorted(content.images))}
    with (folder / "frames.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["index", "timestamp", "rgb", "depth"])
        for stamp, i in index.items():
            image = write_picture(content.images[stamp], folder / "rgb" / f"{i:06d}").relative_to(folder)
            depth = ""
            if stamp in content.depths:
                write_depth(content.depths[stamp], folder / "depth" / f"{i:06d}.png", MM_PER_M)
                depth = f"depth/{i:06d}.png"
            rows.writerow([i, seconds(stamp), image.as_posix(), depth])
    known = [(index[a], index[b], overlap) for a, b, overlap in content.loops if a in index and b in index]
    if known:
        with (folder / "loops.csv").open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["i", "j", "overlap"])
            rows.writerows(known)
    return {"images": len(index), "depths": len(content.depths), "loops": len(known)}


def write_tum_set(content: Content, folder: Path) -> dict[str, int]:
    """rgb.txt, depth.txt and their pictures; depth in 1/5000 m."""
    for name, messages in (("rgb", content.images), ("depth", content.depths)):
        lines = []
        for stamp in sorted(messages):
            if name == "rgb":
                path = write_picture(messages[stamp], folder / name / seconds(stamp))
            else:
                path = write_depth(messages[stamp], folder / name / f"{seconds(stamp)}.png", TUM_DEPTH_PER_M)
            lines.append(f"{seconds(stamp)} {path.relative_to(folder).as_posix()}\n")
        if lines:
            (folder / f"{name}.txt").write_text("".join(lines))
    return {"images": len(content.images), "depths": len(content.depths)}


def write_kitti_set(content: Content, folder: Path) -> dict[str, int]:
    """image_0/, times.txt, poses.txt, calib.txt."""
    stamps = sorted(content.images)
    for i, stamp in enumerate(stamps):
        write_picture(content.images[stamp], folder / "image_0" / f"{i:06d}")
    (folder / "times.txt").write_text("".join(f"{seconds(stamp)}\n" for stamp in stamps))
    if content.truth and set(stamps) <= set(content.truth):  # KITTI's poses carry no stamps: all or none
        write_kitti(folder / "poses.txt", np.array([content.truth[stamp] for stamp in stamps]))
    if content.camera is not None:
        P = np.zeros((3, 4))
        P[:, :3] = content.camera.K if content.camera.P is None else content.camera.P
        (folder / "calib.txt").write_text("P0: " + " ".join(f"{v:.12e}" for v in P.reshape(-1)) + "\n")
    return {"images": len(stamps)}


def write_euroc(content: Content, folder: Path) -> dict[str, int]:
    """cam0/ with pictures named by their nanoseconds."""
    for stamp, message in content.images.items():
        write_picture(message, folder / "cam0" / str(stamp))
    return {"images": len(content.images)}
