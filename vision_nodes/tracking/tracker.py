"""Stable ids for detections.

ByteTrack's association (Zhang et al., ECCV 2022): strong detections are matched first, then the weak ones
to the tracks still unmatched, because an object going behind another is seen weakly before it is not seen.
Predictions follow the camera's motion in the image (BoT-SORT, 2022). Same input, same ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_nodes.datatypes import Detections
from vision_nodes.tracking.association import assign, iou_matrix
from vision_nodes.tracking.box_filter import BoxFilter
from vision_nodes.tracking.camera_motion import CameraMotion
from vision_nodes.tracking.settings import TrackerSettings

UNTRACKED = -1
_MAX_STEP_S = 1.0  # a longer gap is not extrapolated further


@dataclass
class Track:
    """One object."""

    id: int  # UNTRACKED until confirmed
    class_id: int
    filter: BoxFilter
    hits: int
    seen_ns: int

    @property
    def confirmed(self) -> bool:
        """True once it has an id."""
        return self.id != UNTRACKED


class Tracker:
    """Call `update` for every frame in order of stamps."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = TrackerSettings() if settings is None else settings
        self._tracks: list[Track] = []
        self._next_id = 0
        self._stamp_ns: int | None = None
        self._camera = CameraMotion()

    def reset(self) -> None:
        """Forget all objects. Ids go on, so that no two objects ever share one."""
        self._tracks, self._stamp_ns = [], None
        self._camera.reset()

    def update(self, detections: Detections, stamp_ns: int, gray: np.ndarray | None = None) -> Detections:
        """The same detections, in the same order, with ids; -1 for those that are no object yet.

        Args:
            detections: boxes in one image's pixels, the same image size every time.
            stamp_ns: the image's stamp; going backwards starts anew.
            gray: (H, W) uint8 in the boxes' pixels, to follow the camera; None = it stands still.
        """
        if self._stamp_ns is not None and stamp_ns < self._stamp_ns:
            self.reset()
        self._predict(detections, stamp_ns, gray)
        track_of = self._associate(detections)
        ids = np.full(len(detections), UNTRACKED, np.int64)
        for row, track in track_of.items():
            self._hit(track, detections, row, stamp_ns)
            ids[row] = track.id
        for row in np.flatnonzero(detections.scores >= self.settings.high_score).tolist():
            if row not in track_of:
                ids[row] = self._start(detections, row, stamp_ns).id
        self._forget(stamp_ns)
        return Detections(detections.boxes_xyxy, detections.scores, detections.class_ids, ids)

    def _predict(self, detections: Detections, stamp_ns: int, gray: np.ndarray | None) -> None:
        dt_s = 0.0 if self._stamp_ns is None else min((stamp_ns - self._stamp_ns) * 1e-9, _MAX_STEP_S)
        self._stamp_ns = stamp_ns
        affine = None
        if gray is not None and self.settings.compensate_motion:
            affine = self._camera.update(gray, detections.boxes_xyxy)
        for track in self._tracks:
            if affine is not None:
                track.filter.warp(affine)
            track.filter.predict(dt_s)

    def _associate(self, detections: Detections) -> dict[int, Track]:
        """Detection row -> track: strong with all tracks, weak with the rest, newcomers last."""
        s = self.settings
        strong = np.flatnonzero(detections.scores >= s.high_score)
        weak = np.flatnonzero((detections.scores >= s.low_score) & (detections.scores < s.high_score))
        known = [t for t in self._tracks if t.confirmed]
        track_of = self._match(detections, strong, known, s.min_iou)
        left = [t for t in known if t not in track_of.values()]
        current = [t for t in left if self._was_just_seen(t)]
        track_of.update(self._match(detections, weak, current, s.min_iou_low))
        rest = np.array([r for r in strong if r not in track_of], np.int64)
        track_of.update(
            self._match(detections, rest, [t for t in self._tracks if not t.confirmed], s.min_iou)
        )
        return track_of

    def _match(
        self, detections: Detections, rows: np.ndarray, tracks: list[Track], min_iou: float
    ) -> dict[int, Track]:
        if not len(rows) or not tracks:
            return {}
        boxes = np.stack([t.filter.box_xyxy for t in tracks])
        iou = iou_matrix(boxes, detections.boxes_xyxy[rows].astype(np.float64))
        allowed = iou >= min_iou
        if self.settings.class_aware:
            classes = np.array([t.class_id for t in tracks])
            allowed &= classes[:, None] == detections.class_ids[rows][None]
        pairs = assign(iou * (0.5 + 0.5 * detections.scores[rows][None]), allowed)
        return {int(rows[column]): tracks[row] for row, column in pairs}

    def _was_just_seen(self, track: Track) -> bool:
        """Weak detections are believed for half a second only: beyond, they are mostly clutter."""
        assert self._stamp_ns is not None
        return self._stamp_ns - track.seen_ns <= 500_000_000

    def _hit(self, track: Track, detections: Detections, row: int, stamp_ns: int) -> None:
        track.filter.update(detections.boxes_xyxy[row], float(detections.scores[row]))
        track.hits += 1
        track.seen_ns = stamp_ns
        track.class_id = int(detections.class_ids[row])
        self._confirm(track)

    def _start(self, detections: Detections, row: int, stamp_ns: int) -> Track:
        track = Track(
            UNTRACKED,
            int(detections.class_ids[row]),
            BoxFilter(detections.boxes_xyxy[row]),
            1,
            stamp_ns,
        )
        self._confirm(track)
        self._tracks.append(track)
        return track

    def _confirm(self, track: Track) -> None:
        if not track.confirmed and track.hits >= self.settings.confirm_hits:
            track.id, self._next_id = self._next_id, self._next_id + 1

    def _forget(self, stamp_ns: int) -> None:
        """Drop objects unseen for too long, and unconfirmed ones at their first miss."""
        limit_ns = int(self.settings.memory_s * 1e9)
        self._tracks = [
            t
            for t in self._tracks
            if t.seen_ns == stamp_ns or (t.confirmed and stamp_ns - t.seen_ns <= limit_ns)
        ]
