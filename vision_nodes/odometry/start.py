"""The view a map starts from, and the attempt to make a map of it with every image that follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.odometry.frame_tracker import FrameTracker
from vision_nodes.odometry.initialisation import TwoView, initialise
from vision_nodes.odometry.klt import Tracks

MIN_CORNERS = 40  # tracks from the first view below which another first view is taken


@dataclass(frozen=True)
class Image:
    """A grey image and its time."""

    stamp_ns: int
    gray: np.ndarray  # (H, W) uint8


class MapStart:
    """Holds the first view while its corners are followed."""

    def __init__(self, tracker: FrameTracker) -> None:
        self._tracker = tracker
        self.first: Image | None = None
        self._corners = 0

    def clear(self) -> None:
        """There is a map, or none is wanted yet."""
        self.first, self._corners = None, 0

    def attempt(self, image: Image) -> tuple[TwoView | None, str]:
        """Two views that make a map, the second being `image`, or the reason why not (yet)."""
        klt = self._tracker.klt
        klt.follow_into(image.gray, klt.tracks.xy)
        if self.first is None or len(klt.tracks) < max(self._corners // 2, MIN_CORNERS):
            klt.tracks = Tracks.empty()
            klt.detect(image.gray)
            self.first, self._corners = image, len(klt.tracks)
            return None, f"first view with {len(klt.tracks)} corners"
        return initialise(klt.tracks.keyframe_xy, klt.tracks.xy, self._tracker.K, self._tracker.settings)
