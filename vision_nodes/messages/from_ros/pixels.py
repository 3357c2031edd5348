"""Camera pixels on their way to RGB: geometry first (cheap channels), colour order last.

The colour swap is put off until after scaling, where it touches a ninth of the pixels
(1920x1080 -> 640x360), so a decoder returns `Pixels`: what the camera sent, with its channel order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np


class ChannelOrder(str, Enum):
    """What the channels of a `Pixels` array mean."""

    MONO = "mono"
    RGB = "rgb"
    BGR = "bgr"
    RGBA = "rgba"
    BGRA = "bgra"


_TO_RGB = {
    ChannelOrder.MONO: cv2.COLOR_GRAY2RGB,
    ChannelOrder.BGR: cv2.COLOR_BGR2RGB,
    ChannelOrder.RGBA: cv2.COLOR_RGBA2RGB,
    ChannelOrder.BGRA: cv2.COLOR_BGRA2RGB,
}


@dataclass(frozen=True)
class Pixels:
    """One decoded image in the camera's own channel order.

    `array` is (H, W) or (H, W, 3 | 4) uint8, possibly a view into the message with padded rows, at half
    the camera's size `halved` times over.
    """

    array: np.ndarray
    order: ChannelOrder
    halved: int = 0

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of `array`, px."""
        return self.array.shape[1], self.array.shape[0]

    def to_rgb(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, C-contiguous; the array itself when it already is that."""
        if self.order is ChannelOrder.RGB:
            return np.ascontiguousarray(self.array)
        return cv2.cvtColor(self.array, _TO_RGB[self.order])
