"""Photographs that ship inside well-known packages, read from the installed package at run time.

Nothing is copied: a picture whose package is absent is left out, and the log says so once. Outlines were
drawn by looking at each picture; they are (x, y) px of the original file.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from vision_nodes.simulation.atlas import Texture

LOG = logging.getLogger(__name__)
Outline = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Photo:
    """A picture file of an installed package and the COCO things in it."""

    package: str
    path: str
    objects: tuple[tuple[str, Outline], ...] = ()
    max_side: int = 512


# fmt: off
ASTRONAUT: Outline = (
    (225, 15), (175, 35), (153, 75), (157, 120), (175, 160), (120, 170), (110, 215), (60, 270), (25, 330),
    (22, 430), (40, 512), (300, 512), (275, 440), (300, 390), (362, 350), (350, 280), (310, 240), (300, 180),
    (275, 165), (298, 120), (298, 60), (265, 25),
)
CAT: Outline = (
    (40, 0), (130, 0), (330, 0), (385, 0), (403, 12), (395, 60), (362, 110), (365, 180),
    (330, 240), (290, 285), (250, 300), (5, 300), (30, 200), (45, 130), (35, 60),
)
CUP: Outline = (
    (175, 75), (200, 35), (255, 18), (340, 20), (390, 50), (405, 100), (395, 160), (350, 240), (300, 290),
    (230, 305), (200, 295), (215, 240), (190, 180),
)
SPOON: Outline = (
    (405, 75), (418, 66), (426, 80), (395, 190), (402, 275), (385, 315), (350, 326), (328, 300), (330, 255),
    (385, 190),
)
CAMERAMAN: Outline = (
    (205, 65), (165, 80), (150, 120), (75, 150), (35, 220), (20, 300), (0, 360), (0, 512), (150, 512),
    (150, 370), (205, 300), (290, 270), (330, 215), (330, 180), (265, 140), (270, 95), (240, 70),
)
MOTORCYCLE: Outline = (
    (95, 205), (140, 155), (340, 130), (350, 115), (500, 80), (503, 45), (517, 17), (515, 70),
    (590, 120), (600, 200), (640, 290), (682, 350), (680, 430), (630, 452), (500, 370), (340, 437), (180, 400), (125, 330), (130, 270), (95, 235),
)
HOPPER: Outline = (
    (250, 22), (185, 50), (165, 110), (160, 180), (165, 290), (195, 320), (100, 360), (40, 400), (20, 600),
    (512, 600), (512, 440), (480, 385), (340, 330), (350, 290), (372, 200), (370, 90), (320, 45),
)
# fmt: on

POSTERS: dict[str, Photo] = {
    "astronaut": Photo("skimage", "data/astronaut.png", (("person", ASTRONAUT),)),
    "cat": Photo("skimage", "data/chelsea.png", (("cat", CAT),)),
    "coffee": Photo("skimage", "data/coffee.png", (("cup", CUP), ("spoon", SPOON))),
    "cameraman": Photo("skimage", "data/camera.png", (("person", CAMERAMAN),)),
    "motorcycle": Photo("skimage", "data/motorcycle_left.png", (("motorcycle", MOTORCYCLE),), 704),
    "hopper": Photo("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (("person", HOPPER),), 576),
    "rocket": Photo("skimage", "data/rocket.jpg"),
    "china": Photo("sklearn", "datasets/images/china.jpg"),
    "flower": Photo("sklearn", "datasets/images/flower.jpg"),
    "hubble": Photo("skimage", "data/hubble_deep_field.jpg"),
    "coins": Photo("skimage", "data/coins.png"),
    "moon": Photo("skimage", "data/moon.png"),
    "page": Photo("skimage", "data/page.png"),
}
PEOPLE = ("astronaut", "cameraman", "hopper")
SURFACES: dict[str, Photo] = {
    "brick": Photo("skimage", "data/brick.png"),
    "grass": Photo("skimage", "data/grass.png"),
    "gravel": Photo("skimage", "data/gravel.png"),
}


@cache
def read_photo(photo: Photo) -> np.ndarray | None:
    """(h, w, 3) uint8 RGB at the original size, or None (logged once) where the package lacks it."""
    spec = find_spec(photo.package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / photo.path
        if path.is_file():
            bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
            if bgr is not None:
                return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    LOG.warning(
        "picture %s of package %s is not installed: the world goes without it", photo.path, photo.package
    )
    return None


@cache
def poster_texture(name: str) -> Texture | None:
    """A poster with its things as instances, longest side at most `max_side`; None where not installed."""
    photo = POSTERS[name]
    image = read_photo(photo)
    if image is None:
        return None
    scale = min(1.0, photo.max_side / max(image.shape[:2]))
    size_wh = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    instances = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    for number, (_, outline) in enumerate(photo.objects, start=1):
        cv2.fillPoly(instances, [np.rint(np.array(outline) * scale).astype(np.int32)], number)
    picture = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    names = tuple(name for name, _ in photo.objects)
    return Texture(picture, instances=instances if names else None, object_names=names)


@cache
def cut_out(name: str) -> Texture | None:
    """The first thing of a photograph without its background, as an instance; None where not installed."""
    poster = poster_texture(name)
    if poster is None or poster.instances is None:
        return None
    mask = poster.instances == 1
    ys, xs = np.nonzero(mask)
    window = (slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1))
    alpha = np.where(mask, 255, 0).astype(np.uint8)[window]
    instances = mask.astype(np.uint8)[window]
    image = np.ascontiguousarray(poster.image[window])
    return Texture(image, alpha, instances=instances, object_names=poster.object_names[:1])


def available_posters(with_objects: bool = False) -> list[str]:
    """Names of the posters whose package is installed, in table order."""
    return [
        name
        for name, photo in POSTERS.items()
        if (photo.objects or not with_objects) and poster_texture(name) is not None
    ]


def surface_photo(name: str) -> np.ndarray | None:
    """(h, w) float32, a grey surface photograph around mean 0 with unit deviation; None when absent."""
    image = read_photo(SURFACES[name])
    if image is None:
        return None
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray((grey - grey.mean()) / grey.std())
