"""Pictures with known poses: what a map is built from offline, and what it is tested with.

A source is a sequence folder (`bags.folder`), a folder of loose pictures, or a bag. Frames come rectified and
scaled as the preprocess node makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vision_nodes.bags.folder import IMAGE_SUFFIXES, NS, read_camera_yaml, read_sequence
from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.topics import find_camera_topics
from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.rectify import Rectifier, working_size_wh
from vision_nodes.camera.transforms import make_transform, matrix_from_quat_xyzw
from vision_nodes.datatypes import DepthMap
from vision_nodes.errors import BagError, CalibrationError
from vision_nodes.messages.from_ros import depth_image_from_ros, stamp_ns
from vision_nodes.preprocess.frame import Frame
from vision_nodes.preprocess.preprocessor import Preprocessor

MAX_WIDTH = 640
STAMP_TOLERANCE_NS = 5_000_000
BAG_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True)
class PosedFrame:
    """A frame, where its camera was, and its registered depth image when there is one."""

    name: str
    frame: Frame
    T_map_cam: np.ndarray | None  # (4, 4) optical frame, metres; None = not in the pose file
    depth: DepthMap | None = None


class PoseFile:
    """Camera poses by stamp or by picture name.

    Text, one pose a line: ``KEY x y z qx qy qz qw`` in metres, camera (optical frame) to map; KEY is a stamp in
    seconds (TUM) or the name of a picture file. ``#`` begins a comment; commas separate as blanks do.
    """

    def __init__(self, path: str | Path) -> None:
        self._by_name: dict[str, np.ndarray] = {}
        stamped: list[tuple[int, np.ndarray]] = []
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BagError("a readable file of poses", f"{path}: {error}", "check the path") from error
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split("#")[0].replace(",", " ").split()
            if not words:
                continue
            T = _pose(words[1:])
            if T is None:
                raise BagError(
                    "KEY x y z qx qy qz qw, the quaternion of unit length",
                    f"{path}:{number}: {line}",
                    "correct it",
                )
            stamp = _stamp_ns(words[0])
            if stamp is None:
                self._by_name[Path(words[0]).stem] = T
            else:
                stamped.append((stamp, T))
        stamped.sort(key=lambda item: item[0])
        self._stamps = np.array([stamp for stamp, _ in stamped], np.int64)
        self._poses = [T for _, T in stamped]

    def __len__(self) -> int:
        return len(self._by_name) + len(self._poses)

    def of(self, stamp: int, name: str) -> np.ndarray | None:
        """(4, 4) T_map_cam of a picture, None when the file does not know it."""
        if Path(name).stem in self._by_name:
            return self._by_name[Path(name).stem]
        if not len(self._stamps):
            return None
        nearest = int(np.abs(self._stamps - stamp).argmin())
        return self._poses[nearest] if abs(int(self._stamps[nearest]) - stamp) <= STAMP_TOLERANCE_NS else None


def _pose(words: list[str]) -> np.ndarray | None:
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        return None
    if values.shape != (7,) or not np.isfinite(values).all() or abs(np.linalg.norm(values[3:]) - 1) > 1e-2:
        return None
    return make_transform(matrix_from_quat_xyzw(values[3:] / np.linalg.norm(values[3:])), values[:3])


def _stamp_ns(word: str) -> int | None:
    seconds, _, fraction = word.partition(".")
    if not seconds.isdigit() or (fraction and not fraction.isdigit()):
        return None
    return int(seconds) * NS + int(fraction[:9].ljust(9, "0"))


def read_posed_frames(
    source: str | Path,
    poses: PoseFile | None = None,
    *,
    camera: str | Path = "",
    topic: str = "",
    depth_topic: str = "",
) -> Iterator[PosedFrame]:
    """Every picture of a source.

    Args:
        source: folder, picture or bag.
        poses: None leaves every pose unknown.
        camera: camera_info YAML of loose pictures; those of folders and bags have their own.
        topic, depth_topic: of a bag, when it has several cameras or depth images.

    Raises:
        BagError: nothing there that can be read.
        CalibrationError: loose pictures without a camera file.
    """
    source = Path(source)
    if source.suffix in BAG_SUFFIXES or (source / "metadata.yaml").exists():
        yield from _from_bag(source, poses, topic, depth_topic)
        return
    items = [source] if source.is_file() else _loose_pictures(source)
    if items:
        if not camera:
            raise CalibrationError("--camera FILE for loose pictures", "none", "give the camera_info YAML")
        own: CameraModel | None = read_camera_yaml(camera)
        listed = [(path.name, 0, path, _depth_beside(path)) for path in items]
    else:
        sequence = read_sequence(source)
        own = sequence.camera
        listed = [(item.image.name, item.stamp_ns, item.image, item.depth) for item in sequence.frames]
    rectifier: Rectifier | None = None
    for name, stamp, path, depth in listed:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise BagError("a readable picture", str(path), "copy the file again")
        source_wh = (image.shape[1], image.shape[0])
        if rectifier is None or rectifier.source_wh != source_wh:
            rectifier = Rectifier(own, source_wh, working_size_wh(source_wh, MAX_WIDTH))
        rgb = cv2.cvtColor(rectifier.apply(image), cv2.COLOR_BGR2RGB)
        frame = Frame(stamp, "camera", rgb, source_wh, rectifier.camera, own)
        yield PosedFrame(name, frame, poses.of(stamp, name) if poses else None, _read_depth(depth))


def _loose_pictures(folder: Path) -> list[Path]:
    """Pictures directly in a folder that is none of the sequence layouts, or in its rgb/."""
    if not folder.is_dir() or any((folder / name).exists() for name in ("frames.csv", "times.txt", "cam0")):
        return []
    inner = folder / "rgb" if (folder / "rgb").is_dir() else folder
    return sorted(path for path in inner.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _depth_beside(picture: Path) -> Path | None:
    path = picture.parent.parent / "depth" / f"{picture.stem}.png"
    return path if picture.parent.name == "rgb" and path.exists() else None


def _read_depth(path: Path | None) -> DepthMap | None:
    """16-bit PNG, millimetres, 0 = no data."""
    if path is None:
        return None
    depth_mm = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if depth_mm is None or depth_mm.dtype != np.uint16:
        raise BagError("a 16-bit PNG of millimetres", str(path), "convert the depth image")
    depth_m = depth_mm.astype(np.float32) / 1000
    return DepthMap(np.where(depth_m > 0, depth_m, np.float32(np.nan)), metric=True)


def _from_bag(path: Path, poses: PoseFile | None, topic: str, depth_topic: str) -> Iterator[PosedFrame]:
    reader = BagReader(path)
    camera = find_camera_topics(reader.topics(), topic)
    preprocessor, info, waiting = Preprocessor(), None, None
    depths: dict[int, DepthMap] = {}
    for message in reader.messages([t for t in (camera.image, camera.camera_info, depth_topic) if t]):
        decoded = reader.deserialize(message)
        stamp = stamp_ns(decoded.header)
        if message.topic == camera.camera_info:
            info = decoded
        elif message.topic == depth_topic:
            depths = {stamp: DepthMap(depth_image_from_ros(decoded), metric=True)}
        else:
            if waiting is not None:
                yield _posed(waiting, poses, depths)
            waiting = preprocessor.process(decoded, info)
    if waiting is not None:  # one late: a depth image may follow its picture
        yield _posed(waiting, poses, depths)


def _posed(frame: Frame, poses: PoseFile | None, depths: dict[int, DepthMap]) -> PosedFrame:
    T = poses.of(frame.stamp_ns, "") if poses else None
    return PosedFrame(f"{frame.stamp_ns * 1e-9:.6f}", frame, T, depths.get(frame.stamp_ns))
