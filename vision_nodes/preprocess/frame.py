"""The frame every task shares: decoded, rectified and scaled once."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.resize_map import Fit, ResizeMap
from vision_nodes.camera.scaling import resample


@dataclass(frozen=True)
class Frame:
    """One preprocessed camera image.

    `image` is the rectified source scaled to the working size; `camera` its intrinsics (None =
    uncalibrated); `source_camera` those of `image_raw` with distortion. Resized copies are made once
    and shared between the tasks that ask for the same size.
    """

    stamp_ns: int
    frame_id: str
    image: np.ndarray  # (H, W, 3) uint8 RGB
    source_wh: tuple[int, int]
    camera: CameraModel | None = None
    source_camera: CameraModel | None = None
    fit: Fit = Fit.STRETCH
    received_ns: int = 0  # clock when the camera message arrived, for latency
    run: int = 0  # restarts of the stream (bag loops) before this frame; a new run starts new state
    _resized: dict[object, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"expected (H, W, 3) uint8, received {self.image.shape} {self.image.dtype}")

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of `image`, px."""
        return self.image.shape[1], self.image.shape[0]

    @property
    def source_map(self) -> ResizeMap:
        """Rectified source pixels (source) <-> `image` pixels (target)."""
        return ResizeMap(self.source_wh, self.size_wh, self.fit)

    def map_to(self, size_wh: tuple[int, int], fit: Fit = Fit.STRETCH) -> ResizeMap:
        """`image` pixels (source) <-> network input pixels (target)."""
        return ResizeMap(self.size_wh, size_wh, fit)

    def scaled_camera(self, size_wh: tuple[int, int]) -> CameraModel | None:
        """Rectified intrinsics of the whole image at another size; None when uncalibrated."""
        if self.camera is None:
            return None
        return CameraModel(size_wh, self.map_to(size_wh).camera_matrix(self.camera.K))

    def resized(self, size_wh: tuple[int, int], fit: Fit = Fit.STRETCH) -> np.ndarray:
        """(h, w, 3) uint8 RGB network input; memoised, read-only by agreement."""
        key = (size_wh, fit)
        made = self._resized.get(key)
        if made is None:  # tasks in several threads may all make it; all of them get the first one
            made = self._resized.setdefault(key, resize(self.image, self.map_to(size_wh, fit)))
        return made

    def gray(self) -> np.ndarray:
        """(H, W) uint8 luma of `image`; memoised."""
        if "gray" not in self._resized:
            self._resized["gray"] = cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY)
        return self._resized["gray"]


def resize(image: np.ndarray, resize_map: ResizeMap) -> np.ndarray:
    """Resample `image` through `resize_map`; the image itself when nothing changes."""
    if resize_map.fit is Fit.STRETCH or resize_map.source_wh == resize_map.target_wh:
        return resample(image, resize_map.target_wh)
    return cv2.warpAffine(
        image, resize_map.matrix()[:2], resize_map.target_wh, flags=cv2.INTER_LINEAR, borderValue=(114,) * 3
    )
