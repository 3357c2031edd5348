"""Folders of images with a camera file, ground truth and depth, read as one stamped sequence.

Three layouts are known by what lies in them: a ``frames.csv`` (index,timestamp,rgb,depth), a KITTI
``times.txt`` beside ``image_0/``, and images named by their nanosecond stamp in ``cam0/`` (EuRoC).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from vision_nodes.camera.model import CameraModel
from vision_nodes.errors import BagError, CalibrationError

NS = 1_000_000_000
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class SequenceFrame:
    """One image of a sequence; `index` is the source's own numbering."""

    index: int
    stamp_ns: int
    image: Path
    depth: Path | None = None  # 16-bit PNG, millimetres, 0 = no data


@dataclass(frozen=True)
class Sequence:
    """A folder read as a sequence.

    `poses` are (stamp_ns, (7,) float64: x y z qx qy qz qw) of the camera in the world, metres.
    `loops` are (stamp of query, stamp of the other frame, view overlap in [0, 1]).
    """

    frames: list[SequenceFrame]
    camera: CameraModel | None
    poses: list[tuple[int, np.ndarray]] = field(default_factory=list)
    loops: list[tuple[int, int, float]] = field(default_factory=list)


def read_sequence(folder: str | Path) -> Sequence:
    """Read a sequence folder.

    Raises:
        BagError: not one of the known layouts, or a listed image is missing.
        CalibrationError: camera.yaml cannot be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BagError("a folder with images", f"{folder}: no such folder", "check the path")
    frames = _read_frames(folder)
    missing = [frame.image.name for frame in frames if not frame.image.is_file()]
    if missing or not frames:
        raise BagError(
            "every listed image in the folder",
            f"{len(missing)} of {len(frames)} missing, first {missing[:3]}",
            "copy the folder again",
        )
    camera = read_camera_yaml(folder / "camera.yaml") if (folder / "camera.yaml").exists() else None
    return Sequence(frames, camera, _read_tum(folder / "groundtruth.txt"), _read_loops(folder, frames))


def read_camera_yaml(path: str | Path) -> CameraModel:
    """Camera model of a ROS camera_info YAML file (camera_calibration_parsers' format)."""
    try:
        data = yaml.safe_load(Path(path).read_text())
        size = (int(data["image_width"]), int(data["image_height"]))
        K = np.array(data["camera_matrix"]["data"], np.float64).reshape(3, 3)
        D = np.array(data["distortion_coefficients"]["data"], np.float64)
        R = np.array(data["rectification_matrix"]["data"], np.float64).reshape(3, 3)
        P = np.array(data["projection_matrix"]["data"], np.float64).reshape(3, 4)
        model = str(data["distortion_model"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CalibrationError(
            "a camera_info YAML file", f"{path}: {error!r}", "see calibration/README.md"
        ) from error
    return CameraModel(size, K, model, D if np.any(D) else np.zeros(0), R, P[:, :3])


def _read_frames(folder: Path) -> list[SequenceFrame]:
    if (folder / "frames.csv").exists():
        with (folder / "frames.csv").open(newline="") as stream:
            return [
                SequenceFrame(
                    int(row["index"]),
                    round(float(row["timestamp"]) * NS),
                    folder / row["rgb"],
                    folder / row["depth"] if row.get("depth") else None,
                )
                for row in csv.DictReader(stream)
            ]
    if (folder / "times.txt").exists() and (folder / "image_0").is_dir():
        stamps = [round(float(line) * NS) for line in (folder / "times.txt").read_text().split()]
        images = _images(folder / "image_0")[: len(stamps)]
        return [SequenceFrame(i, stamp, path) for i, (stamp, path) in enumerate(zip(stamps, images))]
    if (folder / "cam0").is_dir():
        images = _images(folder / "cam0")
        if all(path.stem.isdigit() for path in images):
            return [SequenceFrame(i, int(path.stem), path) for i, path in enumerate(images)]
    raise BagError(
        "frames.csv, or times.txt with image_0/, or cam0/ with nanosecond names",
        f"{folder}: {sorted(p.name for p in folder.iterdir())[:8]}",
        "write a frames.csv with the columns index,timestamp,rgb,depth",
    )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _read_tum(path: Path) -> list[tuple[int, np.ndarray]]:
    """TUM trajectory file: seconds tx ty tz qx qy qz qw; empty when there is none."""
    if not path.exists():
        return []
    poses = []
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            stamp, *values = line.split()
            # decimal text to ns without going through a float, which loses ns at epoch stamps
            seconds, _, fraction = stamp.partition(".")
            poses.append((int(seconds) * NS + int(fraction[:9].ljust(9, "0")), np.array(values, np.float64)))
    return poses


def _read_loops(folder: Path, frames: list[SequenceFrame]) -> list[tuple[int, int, float]]:
    """Revisit truth by frame index; pairs whose frames are not in the folder are left out."""
    if not (folder / "loops.csv").exists():
        return []
    stamps = {frame.index: frame.stamp_ns for frame in frames}
    with (folder / "loops.csv").open(newline="") as stream:
        rows = [(int(r["i"]), int(r["j"]), float(r["overlap"])) for r in csv.DictReader(stream)]
    return [(stamps[i], stamps[j], overlap) for i, j, overlap in rows if i in stamps and j in stamps]
