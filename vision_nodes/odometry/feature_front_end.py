"""Front end with learned features: descriptors say where a track went, Lucas-Kanade where exactly.

A track is matched to the features of the new image near its predicted position, anywhere when the prediction
fails, so a fast turn or a change of light loses nothing that is seen again. Lucas-Kanade then refines the position
and checks it there and back; tracks whose corner was not found again start where
the matched ones say that the prediction should have been.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vision_nodes.datatypes import Features
from vision_nodes.engine.loader import open_engine
from vision_nodes.odometry.klt import KltTracker, Tracks, follow
from vision_nodes.odometry.settings import OdometrySettings
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import FeatureExtractor

NEAR_PX = 48.0  # around the prediction
ADOPT_PX = 2.5  # a track found by other means takes the descriptor of a feature this near
APART_PX = 10.0  # from tracks there are, for a new one
MIN_COSINE = 0.7
TRUSTED = 0.5  # share of matches near their prediction from which on only its surroundings are searched
BUCKETS_WH = (8, 6)
ExtractGray = Callable[[np.ndarray], Features]  # (H, W) uint8 -> features


class FeatureTracker(KltTracker):
    """As `KltTracker`, with descriptors of the tracks."""

    def __init__(self, settings: OdometrySettings, extract: ExtractGray) -> None:
        super().__init__(settings)
        self._extract = extract
        self._features: Features | None = None  # of the latest image
        self._known: dict[int, np.ndarray] = {}  # track id -> descriptor

    def reset(self) -> None:
        """See `KltTracker`."""
        super().reset()
        self._features = None
        self._known.clear()

    def restart_at(self, image: np.ndarray) -> None:
        """See `KltTracker`."""
        super().restart_at(image)
        self._features = self._extract(image)

    def follow_into(self, image: np.ndarray, predicted_xy: np.ndarray) -> np.ndarray:
        """See `KltTracker`."""
        self._features = self._extract(image)
        before = super().follow_into(image, predicted_xy)
        self._adopt()
        return before

    def _follow(
        self, image: np.ndarray, before: np.ndarray, predicted_xy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self._image is not None
        guess, matched = self._matches(predicted_xy)
        if not matched.any():
            return super()._follow(image, before, predicted_xy)
        xy, good = np.array(predicted_xy, np.float32), np.zeros(len(before), bool)
        xy[matched], good[matched] = follow(
            self._image, image, before[matched], guess[matched], self.settings, levels=1
        )
        rest = ~good
        if rest.any():
            moved = predicted_xy[rest] + np.median(guess[matched] - predicted_xy[matched], axis=0)
            xy[rest], good[rest] = super()._follow(image, before[rest], moved)
        return xy, good

    def _matches(self, predicted_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 2) px and (N,) bool: the feature that each track is the mutual nearest of, near its prediction."""
        features = self._features
        guess, matched = np.array(predicted_xy, np.float32), np.zeros(len(predicted_xy), bool)
        have = np.flatnonzero([track in self._known for track in self.tracks.ids.tolist()])
        if features is None or len(have) == 0 or len(features.scores) == 0:
            return guess, matched
        own = np.stack([self._known[int(track)] for track in self.tracks.ids[have]])
        cosine = own @ features.descriptors.T
        apart = np.linalg.norm(predicted_xy[have, None] - features.keypoints_xy[None], axis=-1)
        rows, best = np.arange(len(have)), cosine.argmax(axis=1)
        anywhere = (cosine.argmax(axis=0)[best] == rows) & (cosine[rows, best] > MIN_COSINE)
        sure = anywhere
        if (apart[rows, best] < NEAR_PX)[anywhere].sum() >= TRUSTED * anywhere.sum():  # the prediction holds
            cosine = np.where(apart < NEAR_PX, cosine, -1.0)
            best = cosine.argmax(axis=1)
            sure = (cosine.argmax(axis=0)[best] == rows) & (cosine[rows, best] > MIN_COSINE)
        guess[have[sure]], matched[have[sure]] = features.keypoints_xy[best[sure]], True
        return guess, matched

    def _adopt(self) -> None:
        """Tracks take the descriptor of the feature they lie on; those of ended tracks are forgotten."""
        features, tracks = self._features, self.tracks
        kept = set(tracks.ids.tolist())
        self._known = {track: vector for track, vector in self._known.items() if track in kept}
        if features is None or len(features.scores) == 0 or len(tracks) == 0:
            return
        apart = np.linalg.norm(tracks.xy[:, None] - features.keypoints_xy[None], axis=-1)
        nearest = apart.argmin(axis=1)
        for row in np.flatnonzero(apart[np.arange(len(tracks)), nearest] < ADOPT_PX):
            self._known[int(tracks.ids[row])] = features.descriptors[nearest[row]]

    def detect(self, image: np.ndarray) -> int:
        """Fill the emptier parts of the current image with its features; corners where there are too few."""
        if self._features is None:
            self._features = self._extract(image)
        wanted = self.settings.max_tracks - len(self.tracks)
        if wanted <= 0:
            return 0
        rows = new_places(self._features, self.tracks.xy, image.shape[:2], wanted)
        xy = self._features.keypoints_xy[rows].astype(np.float32)
        ids = np.arange(self._next_id, self._next_id + len(xy), dtype=np.int64)
        self._next_id += len(xy)
        self.add(Tracks(ids, xy, np.full(len(xy), -1, np.int64), xy.copy()))
        added = len(xy)
        if added < wanted:
            added += super().detect(image)
        self._adopt()
        return added


def new_places(
    features: Features, occupied_xy: np.ndarray, shape_hw: tuple[int, ...], wanted: int
) -> np.ndarray:
    """(M,) rows of features, M <= wanted: away from `occupied_xy` (N, 2) and each other, emptier buckets first."""
    size = np.array([shape_hw[1], shape_hw[0]])

    def bucket(points: np.ndarray) -> np.ndarray:
        index = np.clip((points / size * BUCKETS_WH).astype(int), 0, np.array(BUCKETS_WH) - 1)
        return np.asarray(index[:, 1] * BUCKETS_WH[0] + index[:, 0])

    filled = np.bincount(bucket(occupied_xy), minlength=BUCKETS_WH[0] * BUCKETS_WH[1])
    own = bucket(features.keypoints_xy)
    rank = np.zeros(len(own), int)
    for number in np.unique(own):
        mine = np.flatnonzero(own == number)
        rank[mine] = np.arange(len(mine))  # features come best first
    chosen: list[int] = []
    taken = np.concatenate([occupied_xy, np.zeros((wanted, 2))]).astype(np.float64)
    count = len(occupied_xy)
    for row in np.lexsort((rank, rank + filled[own])):
        xy = features.keypoints_xy[row]
        inside = (xy >= 8).all() and (xy < size - 8).all()
        if inside and (np.abs(taken[:count] - xy).max(axis=1) >= APART_PX).all():
            taken[count], count = xy, count + 1
            chosen.append(int(row))
            if len(chosen) == wanted:
                break
    return np.array(chosen, int)


def make_front_end(settings: OdometrySettings) -> KltTracker:
    """The front end that `settings.front_end` names. Raises ModelError when its model is not there."""
    if settings.front_end == "klt":
        return KltTracker(settings)
    extractor = FeatureExtractor(open_engine(settings.features_model))

    def extract(gray: np.ndarray) -> Features:
        image = np.repeat(gray[:, :, None], 3, axis=2)
        return extractor.extract(Frame(0, "camera", image, (gray.shape[1], gray.shape[0])))

    return FeatureTracker(settings, extract)
