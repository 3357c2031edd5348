"""Front end: points followed from frame to frame by pyramidal Lucas-Kanade, at any exposure.

Bouguet 2001 (pyramidal LK), Kalal et al. 2010 (forward-backward check).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np

from vision_nodes.odometry.corners import spread_corners
from vision_nodes.odometry.settings import OdometrySettings

# Shares of tracks followed below which exposure, and then a turn of the camera, is held responsible.
EXPOSURE_BELOW, SHIFT_BELOW = 0.7, 0.4
GAIN_TOLERANCE = 0.05  # change of exposure that Lucas-Kanade takes without help
LK_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.02)


@dataclass
class Tracks:
    """N points being followed.

    A track keeps the keyframe that saw it first: its depth is unknown until it is triangulated from
    there. A landmark carries the id of its track.
    """

    ids: np.ndarray  # (N,) int64, unique
    xy: np.ndarray  # (N, 2) float32 px, in the latest image
    keyframe_ids: np.ndarray  # (N,) int64, first keyframe with this track, -1 = none yet
    keyframe_xy: np.ndarray  # (N, 2) float32 px, where that keyframe saw it

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def empty(cls) -> Tracks:
        """No tracks."""
        points = np.zeros((0, 2), np.float32)
        return cls(np.zeros(0, np.int64), points, np.zeros(0, np.int64), points.copy())

    def select(self, mask: np.ndarray) -> Tracks:
        """The tracks where `mask` ((N,) bool, or indices) says so."""
        return Tracks(*(getattr(self, f.name)[mask] for f in fields(self)))

    def extend(self, other: Tracks) -> Tracks:
        """These tracks followed by the other ones."""
        return Tracks(
            *(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self))
        )


def follow(
    image_from: np.ndarray,
    image_to: np.ndarray,
    xy: np.ndarray,
    guess_xy: np.ndarray,
    settings: OdometrySettings,
    levels: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pyramidal LK there and back again.

    Args:
        image_from, image_to: (H, W) uint8 of one size.
        xy: (N, 2) px in `image_from`.
        guess_xy: (N, 2) px, where to start looking in `image_to`.
        levels: pyramid levels above the full image; None = the settings'.

    Returns:
        (N, 2) float32 px in `image_to`, and (N,) bool: found, inside, and coming back to `xy`.
    """
    if len(xy) == 0:
        return np.zeros((0, 2), np.float32), np.zeros(0, bool)
    levels = settings.pyramid_levels if levels is None else levels
    size = (settings.window_px, settings.window_px)
    options = {"winSize": size, "criteria": LK_CRITERIA, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
    start = np.ascontiguousarray(xy, dtype=np.float32)
    guess = np.ascontiguousarray(guess_xy, dtype=np.float32).copy()
    there, found, _ = cv2.calcOpticalFlowPyrLK(image_from, image_to, start, guess, maxLevel=levels, **options)
    # The way back starts at its goal, so that two levels are enough: a wrong match drifts off all the same.
    back, returned, _ = cv2.calcOpticalFlowPyrLK(
        image_to, image_from, there, start.copy(), maxLevel=min(levels, 1), **options
    )
    distance = np.linalg.norm(back - start, axis=1)
    good = (found.ravel() == 1) & (returned.ravel() == 1) & (distance < settings.forward_backward_px)
    height, width = image_to.shape
    margin = 3
    inside = (there >= margin).all(1) & (there[:, 0] < width - margin) & (there[:, 1] < height - margin)
    return there, good & inside


class KltTracker:
    """Holds the previous image and the tracks in it."""

    def __init__(self, settings: OdometrySettings) -> None:
        self.settings = settings
        self.tracks = Tracks.empty()
        self._image: np.ndarray | None = None
        self._next_id = 0

    def reset(self) -> None:
        """Forget the image and all tracks; ids go on counting, so that none is used twice."""
        self.tracks = Tracks.empty()
        self._image = None

    def restart_at(self, image: np.ndarray) -> None:
        """Start over without tracks from `image` (H, W) uint8."""
        self.tracks, self._image = Tracks.empty(), image

    @property
    def state(self) -> tuple[Tracks, np.ndarray | None]:
        """Tracks and the image they are in, to come back to."""
        return self.tracks, self._image

    @state.setter
    def state(self, state: tuple[Tracks, np.ndarray | None]) -> None:
        self.tracks, self._image = state

    def follow_into(self, image: np.ndarray, predicted_xy: np.ndarray) -> np.ndarray:
        """Move the tracks into `image` and drop those that fail.

        Args:
            image: (H, W) uint8, same size as the previous one.
            predicted_xy: (N, 2) px, expected positions.

        Returns:
            (M, 2) float32 px: where the M surviving tracks were in the previous image.
        """
        before = self.tracks.xy
        if self._image is None or len(self.tracks) == 0:
            self._image = image
            self.tracks = Tracks.empty()
            return np.zeros((0, 2), np.float32)
        xy, good = self._follow(image, before, predicted_xy)
        self.tracks.xy = xy
        self.tracks = self.tracks.select(good)
        self._image = image
        return before[good]

    def _follow(
        self, image: np.ndarray, before: np.ndarray, predicted_xy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `follow`; what is lost to another exposure or a fast turn is looked for again."""
        assert self._image is not None
        xy, good = follow(self._image, image, before, predicted_xy, self.settings)
        for share, what in ((EXPOSURE_BELOW, "exposure"), (SHIFT_BELOW, "shift"), (SHIFT_BELOW, "both")):
            if good.mean() >= share:
                continue
            guess = predicted_xy[~good]
            previous = self._image if what == "shift" else as_bright_as(self._image, image)
            if what != "shift" and previous is self._image:
                continue
            if what != "exposure":
                guess = before[~good] + global_shift(self._image, image)
            again, found = follow(previous, image, before[~good], guess, self.settings)
            xy[~good], good[~good] = again, found
        return xy, good

    def keep(self, mask: np.ndarray) -> None:
        """Drop the tracks where `mask` (N,) is False."""
        self.tracks = self.tracks.select(mask)

    def add(self, tracks: Tracks) -> None:
        """Take in tracks found in the current image, e.g. old landmarks seen again."""
        self.tracks = self.tracks.extend(tracks)

    def detect(self, image: np.ndarray) -> int:
        """Fill empty cells of the current image with new corners; returns how many were added."""
        wanted = self.settings.max_tracks - len(self.tracks)
        if wanted <= 0:
            return 0
        xy = spread_corners(image, self.tracks.xy, wanted)
        ids = np.arange(self._next_id, self._next_id + len(xy), dtype=np.int64)
        self._next_id += len(xy)
        self.add(Tracks(ids, xy, np.full(len(xy), -1, np.int64), xy.copy()))
        return len(xy)


def as_bright_as(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`image` at the exposure of `other`, when theirs differ; Lucas-Kanade takes brightness as constant.

    The gain is that between the medians of both (H, W) uint8 images; the same array is returned when it is
    within `GAIN_TOLERANCE`. Too dark or saturated for a gain: unchanged.
    """
    level, target = (float(np.median(i[::8, ::8])) for i in (image, other))
    if level < 2 or not GAIN_TOLERANCE < abs(np.log(max(target, 1.0) / level)) < 2:
        return image
    return cv2.convertScaleAbs(image, alpha=target / level)


def global_shift(image_from: np.ndarray, image_to: np.ndarray) -> np.ndarray:
    """(2,) float32 px: the shift that best lays `image_from` over `image_to` (phase correlation)."""
    factor = max(image_from.shape) / 160
    small_wh = (round(image_from.shape[1] / factor), round(image_from.shape[0] / factor))
    small = [
        cv2.resize(i, small_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
        for i in (image_from, image_to)
    ]
    window = cv2.createHanningWindow(small_wh, cv2.CV_32F)
    shift, _ = cv2.phaseCorrelate(small[0], small[1], window)
    return np.array(shift, np.float32) * np.float32(factor)
