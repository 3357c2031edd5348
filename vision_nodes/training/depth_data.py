"""Training and development data of the depth network.

Rendered rooms and worlds have exact depth. Real pictures have none, but things of known size stand in them: an
upright person 1.65 m tall who fills h pixels is f * 1.65 / h away, and for the canonical camera the focal
length is known. That is the only metric supervision on real pictures here; it is weak and treated so.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from vision_nodes.errors import TrainingError
from vision_nodes.training import place_augment as augment
from vision_nodes.training.place_data import read_picture

Sample = dict[str, torch.Tensor]
FX_CANONICAL = 220.0  # px at 256 px width: a lens of about 60 degrees
MAX_M = 80.0
MAX_BOXES = 8
# height of whole, upright things in metres, and the least height / width that says they are
HEIGHTS_M = {
    "person": (1.65, 2.0), "car": (1.5, 0.0), "bus": (3.0, 0.0), "truck": (2.8, 0.0), "bicycle": (1.0, 0.0),
    "motorcycle": (1.1, 0.0), "chair": (0.9, 1.0), "bottle": (0.25, 2.0), "cup": (0.11, 0.8),
    "wine glass": (0.2, 1.5), "tv": (0.5, 0.0), "laptop": (0.24, 0.0), "refrigerator": (1.7, 1.5),
    "microwave": (0.3, 0.0), "oven": (0.85, 0.0), "toilet": (0.7, 0.9), "couch": (0.85, 0.0),
    "suitcase": (0.6, 1.0), "fire hydrant": (0.75, 1.0), "stop sign": (0.75, 0.8), "traffic light": (0.9, 1.5),
    "bench": (0.85, 0.0),
}  # fmt: skip


def canonical_scale(fx: float, width: int) -> float:
    """Factor from metres through a lens of `fx` px at `width` px to canonical depth."""
    return FX_CANONICAL / 256.0 * width / fx


class RenderedViews(Dataset[Sample]):
    """Views of rooms or worlds stored as ``*.npz`` with `images`, `depth` (0 or NaN = sky) and `fx`."""

    def __init__(self, files: list[Path], seed: int, augmented: bool) -> None:
        if not files:
            raise TrainingError("rendered views", "no .npz files", "run vision_nodes.training.rooms.generate")
        arrays = [np.load(path, allow_pickle=False) for path in files]
        self.images = np.concatenate([array["images"] for array in arrays])
        self.depth = np.concatenate([array["depth"] for array in arrays])
        self.fx = np.concatenate([array["fx"] for array in arrays])
        self.seed, self.augmented, self.epoch = seed, augmented, 0

    def set_epoch(self, epoch: int) -> None:
        """New crops and colours for each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """`image` (H, W, 3) uint8, `depth` (H / 2, W / 2) canonical metres, `boxes` (8, 5) all 0."""
        image, fx = self.images[index], float(self.fx[index])
        depth = np.nan_to_num(self.depth[index].astype(np.float32), nan=0.0, posinf=0.0)
        sky = depth <= 0
        depth = depth * canonical_scale(fx, image.shape[1])
        if self.augmented:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            x, y, zoom = random_window(rng)
            image = crop_resize(image, x, y, zoom, cv2.INTER_LINEAR)
            depth = crop_resize(depth, x, y, zoom, cv2.INTER_NEAREST) / np.float32(zoom)
            sky = crop_resize(sky.astype(np.uint8), x, y, zoom, cv2.INTER_NEAREST) > 0
            if rng.random() < 0.5:
                image, depth, sky = image[:, ::-1], depth[:, ::-1], sky[:, ::-1]
            image = disturb_photo(np.ascontiguousarray(image), rng)
        depth = np.where(sky, MAX_M, np.clip(depth, 0.1, MAX_M)).astype(np.float32)
        return _sample(image, depth, np.zeros((MAX_BOXES, 5), np.float32))


class SizedThings(Dataset[Sample]):
    """Real pictures with boxes around whole things of known height."""

    def __init__(self, annotation: Path, size_wh: tuple[int, int], seed: int, augmented: bool) -> None:
        if not annotation.is_file():
            raise TrainingError("COCO annotations", f"nothing at {annotation}", "correct options.pictures")
        content = json.loads(annotation.read_text())
        names = {category["id"]: category["name"] for category in content["categories"]}
        images = {entry["id"]: entry for entry in content["images"]}
        self.things: dict[int, list[tuple[str, list[float]]]] = {}
        for item in content["annotations"]:
            name, image = names[item["category_id"]], images[item["image_id"]]
            if not item["iscrowd"] and is_whole(name, item["bbox"], image["width"], image["height"]):
                self.things.setdefault(item["image_id"], []).append((name, item["bbox"]))
        self.files = {
            number: annotation.parent / "images" / annotation.stem / images[number]["file_name"]
            for number in self.things
        }
        self.numbers = sorted(self.things)
        self.size_wh, self.seed, self.augmented, self.epoch = size_wh, seed, augmented, 0

    def set_epoch(self, epoch: int) -> None:
        """New crops and colours for each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        """`image` (H, W, 3) uint8, `depth` all 0 (unknown), `boxes` (8, 5): x0 y0 x1 y1 as fractions of the
        picture's sides, canonical depth in metres; 0 rows are padding."""
        number = self.numbers[index]
        picture = read_picture(self.files[number], 416)
        height, width = picture.shape[:2]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        x, y, zoom = random_window(rng) if self.augmented else (0.0, 0.0, 1.0)
        image = crop_resize(cv2.resize(picture, self.size_wh, interpolation=cv2.INTER_AREA), x, y, zoom)
        rows = []
        for name, (left, top, w, h) in self.things[number]:
            depth = FX_CANONICAL * HEIGHTS_M[name][0] / (h * 256 / width) / zoom
            corners = np.array([[left, top], [left + w, top + h]]) / (width, height)
            box = (corners - (x, y)) * zoom
            if (box >= 0).all() and (box <= 1).all():
                rows.append((*box.ravel(), depth))
        rows = [rows[i] for i in rng.permutation(len(rows))[:MAX_BOXES]]
        boxes = np.zeros((MAX_BOXES, 5), np.float32)
        if rows:
            boxes[: len(rows)] = rows
        if self.augmented:
            if rng.random() < 0.5:
                image = np.ascontiguousarray(image[:, ::-1])
                boxes[: len(rows), [0, 2]] = 1 - boxes[: len(rows), [2, 0]]
            image = augment.change_light(image, rng, 0.5)
        unknown = np.zeros((self.size_wh[1] // 2, self.size_wh[0] // 2), np.float32)
        return _sample(image, unknown, boxes)


def is_whole(name: str, bbox: list[float], width: int, height: int) -> bool:
    """Whether a box shows all of a thing of known height, large enough to measure."""
    if name not in HEIGHTS_M:
        return False
    left, top, w, h = bbox
    inside = left > 2 and top > 2 and left + w < width - 2 and top + h < height - 2
    return inside and h >= 0.08 * height and h >= HEIGHTS_M[name][1] * w


def random_window(rng: np.random.Generator) -> tuple[float, float, float]:
    """Left and top of a crop as fractions, and its zoom (1 = everything)."""
    zoom = float(rng.uniform(1.0, 1.35)) if rng.random() < 0.6 else 1.0
    x, y = rng.uniform(0, 1 - 1 / zoom, 2)
    return float(x), float(y), zoom


def crop_resize(
    array: np.ndarray, x: float, y: float, zoom: float, method: int = cv2.INTER_LINEAR
) -> np.ndarray:
    """The window of `array` enlarged to its full size."""
    if zoom == 1.0:
        return array
    height, width = array.shape[:2]
    matrix = np.array([[zoom, 0, -x * width * zoom], [0, zoom, -y * height * zoom]])
    matrix[:, 2] += 0.5 * zoom - 0.5  # pixel centres
    return cv2.warpAffine(array, matrix, (width, height), flags=method, borderMode=cv2.BORDER_REPLICATE)


def disturb_photo(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make a rendering less clean: light, blur, noise, JPEG."""
    image = augment.change_light(image, rng, 0.8)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4))
    if rng.random() < 0.5:
        image = augment.add_noise(image, rng)
    if rng.random() < 0.3:
        image = augment.compress(image, rng)
    return image


def _sample(image: np.ndarray, depth: np.ndarray, boxes: np.ndarray) -> Sample:
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image)),
        "depth": torch.from_numpy(np.ascontiguousarray(depth)),
        "boxes": torch.from_numpy(boxes),
    }
