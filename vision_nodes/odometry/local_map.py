"""Keyframes and landmarks around the camera, bounded in number, and the window that is optimised."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vision_nodes.odometry.bundle_adjustment import BundleProblem, BundleSolution
from vision_nodes.odometry.geometry import invert, orthonormalise, transform
from vision_nodes.odometry.settings import OdometrySettings

OUTLIER_CHI2 = 16.0  # as in tracking
MAX_FIXED = 8  # keyframes outside the window that hold it in place


@dataclass
class Keyframe:
    """One image of the map with the tracks seen in it (landmarks or not yet)."""

    id: int
    stamp_ns: int
    T_odom_cam: np.ndarray  # (4, 4)
    ids: np.ndarray  # (N,) int64 sorted track ids
    xy: np.ndarray  # (N, 2) float32 px
    image: np.ndarray  # (H, W) uint8
    covariance: np.ndarray = field(default_factory=lambda: np.zeros((7, 7)))  # see `drift`
    depths: np.ndarray | None = None  # (N,) metres a depth camera measured at `xy`, NaN = none

    def forget(self, keep: np.ndarray) -> None:
        """Keep only the observations where `keep` (N,) is True."""
        self.ids, self.xy = self.ids[keep], self.xy[keep]
        self.depths = None if self.depths is None else self.depths[keep]


@dataclass(frozen=True)
class Window:
    """A problem and what its rows mean in the map."""

    problem: BundleProblem
    keyframe_ids: np.ndarray  # (C,)
    landmark_ids: np.ndarray  # (P,)
    generation: int  # a reset in between makes the answer useless
    similarity: tuple[float, np.ndarray]  # the map's, when the window was taken


@dataclass
class LocalMap:
    """Landmark rows are sorted by id; a landmark's id is that of the track that made it."""

    settings: OdometrySettings
    keyframes: dict[int, Keyframe] = field(default_factory=dict)
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    generation: int = 0
    # Everything the map was stretched by since it began: p = ratio * p_then + shift.
    similarity: tuple[float, np.ndarray] = field(default_factory=lambda: (1.0, np.zeros(3)))
    _next_keyframe: int = 0

    @property
    def last(self) -> Keyframe:
        """The newest keyframe."""
        return next(reversed(self.keyframes.values()))

    @property
    def unit(self) -> float:
        """By how much the map was stretched since it began."""
        return self.similarity[0]

    def clear(self) -> None:
        """Forget everything; keyframe ids go on counting."""
        self.keyframes.clear()
        self.ids, self.points = np.zeros(0, np.int64), np.zeros((0, 3))
        self.similarity = (1.0, np.zeros(3))
        self.generation += 1

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """(N,) row of each id in `points`, -1 where it is no landmark."""
        if len(self.ids) == 0:
            return np.full(len(ids), -1)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1)

    def add_keyframe(
        self, stamp_ns: int, T_odom_cam: np.ndarray, ids: np.ndarray, xy: np.ndarray, image: np.ndarray
    ) -> Keyframe:
        """Take in a keyframe; `ids` (N,) in any order with their `xy` (N, 2) px."""
        order = np.argsort(ids)
        keyframe = Keyframe(self._next_keyframe, stamp_ns, T_odom_cam.copy(), ids[order], xy[order], image)
        self._next_keyframe += 1
        self.keyframes[keyframe.id] = keyframe
        return keyframe

    def add_landmarks(self, ids: np.ndarray, points: np.ndarray) -> None:
        """New landmarks (N,) and their positions (N, 3) in odom."""
        self.ids = np.concatenate([self.ids, ids])
        order = np.argsort(self.ids)
        self.ids = self.ids[order]
        self.points = np.concatenate([self.points, points])[order]

    def rescale(self, ratio: float, centre: np.ndarray) -> None:
        """Stretch the map by `ratio` about `centre` (3,): what is there stays where it is."""
        self.points = centre + ratio * (self.points - centre)
        for keyframe in self.keyframes.values():
            keyframe.T_odom_cam[:3, 3] = centre + ratio * (keyframe.T_odom_cam[:3, 3] - centre)
            keyframe.covariance[:3] *= ratio
            keyframe.covariance[:, :3] *= ratio
        total, shift = self.similarity
        self.similarity = (ratio * total, ratio * shift + (1 - ratio) * centre)

    def _carried(self, window: Window, points: np.ndarray) -> np.ndarray:
        """(N, 3) points as the map was when `window` was taken -> as it is now."""
        then, now = window.similarity, self.similarity
        ratio = now[0] / then[0]
        return ratio * (points - then[1]) + now[1]

    def observations(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All (keyframe id, landmark row, px) triples of landmarks, keyframe by keyframe."""
        keyframes = list(self.keyframes.values())
        rows = self.rows(np.concatenate([k.ids for k in keyframes]))
        owners = np.repeat([k.id for k in keyframes], [len(k.ids) for k in keyframes])
        known = rows >= 0
        return owners[known], rows[known], np.concatenate([k.xy for k in keyframes])[known]

    def window(self, K: np.ndarray) -> Window | None:
        """The newest keyframe, those that see most of the same landmarks, and fixed ones around them."""
        owners, rows, xy = self.observations()
        newest = self.last.id
        seen = np.zeros(len(self.ids), bool)
        seen[rows[owners == newest]] = True
        free = self._most_shared(owners, rows, seen, self.settings.window_keyframes - 1, {newest})
        free = sorted([*free, newest])
        seen[rows[np.isin(owners, free)]] = True
        fixed = sorted(self._most_shared(owners, rows, seen, MAX_FIXED, set(free)))
        if not fixed:
            fixed, free = free[:1], free[1:]
        if not free:
            return None
        return self._problem(np.array(fixed + free), len(fixed), (owners, rows, xy), K)

    @staticmethod
    def _most_shared(
        owners: np.ndarray, rows: np.ndarray, seen: np.ndarray, count: int, excluded: set[int]
    ) -> list[int]:
        ids, shared = np.unique(owners[seen[rows]], return_counts=True)
        order = np.lexsort((-ids, -shared))
        return [int(ids[i]) for i in order if ids[i] not in excluded and shared[i] >= 10][:count]

    def _problem(
        self,
        keyframe_ids: np.ndarray,
        fixed: int,
        observations: tuple[np.ndarray, np.ndarray, np.ndarray],
        K: np.ndarray,
    ) -> Window | None:
        owners, rows, xy = observations
        camera_of = {int(k): i for i, k in enumerate(keyframe_ids)}
        inside = np.isin(owners, keyframe_ids)
        cameras = np.array([camera_of[int(k)] for k in owners[inside]], np.int64)
        rows, xy = rows[inside], xy[inside]
        counts = np.bincount(rows, minlength=len(self.ids))
        by_free = np.bincount(rows[cameras >= fixed], minlength=len(self.ids))
        used = (counts >= 2) & (by_free >= 1)
        keep = used[rows]
        number = np.cumsum(used) - 1
        present = np.bincount(cameras[keep], minlength=len(keyframe_ids))
        if (present[fixed:] < 8).any():
            return None
        T_cam_odom = invert(np.stack([self.keyframes[int(k)].T_odom_cam for k in keyframe_ids]))
        problem = BundleProblem(
            K, T_cam_odom, fixed, self.points[used], cameras[keep].astype(np.int32), number[rows[keep]].astype(np.int32),
            xy[keep], self.settings.pixel_sigma, self._depths(inside, keep),
        )  # fmt: skip
        return Window(problem, keyframe_ids, self.ids[used], self.generation, self.similarity)

    def _depths(self, inside: np.ndarray, keep: np.ndarray) -> np.ndarray | None:
        """Measured depths of `observations`[inside][keep]; None when there is no depth camera."""
        keyframes = list(self.keyframes.values())
        if all(k.depths is None for k in keyframes):
            return None
        depths = [np.full(len(k.ids), np.nan) if k.depths is None else k.depths for k in keyframes]
        known = self.rows(np.concatenate([k.ids for k in keyframes])) >= 0
        return np.concatenate(depths)[known][inside][keep]

    def apply(self, window: Window, solution: BundleSolution) -> np.ndarray | None:
        """Take over an optimised window; what is newer than it moves along rigidly.

        Returns:
            (4, 4) T_odom_old: the correction of the newest optimised keyframe, or None when the answer
            is stale or not finite.
        """
        finite = np.isfinite(solution.T_cam_odom).all() and np.isfinite(solution.points).all()
        newest = int(window.keyframe_ids[-1])
        if window.generation != self.generation or not finite or newest not in self.keyframes:
            return None
        poses = invert(solution.T_cam_odom)
        poses[:, :3, 3] = self._carried(window, poses[:, :3, 3])
        correction = orthonormalise(poses[-1] @ invert(self.keyframes[newest].T_odom_cam))
        optimised = np.isin(self.ids, window.landmark_ids)
        newer = ~optimised & (self.ids > window.landmark_ids.max())
        self.points[newer] = transform(correction, self.points[newer])
        rows = self.rows(window.landmark_ids)
        self.points[rows[rows >= 0]] = self._carried(window, solution.points)[rows >= 0]
        for keyframe_id, T_odom_cam in zip(window.keyframe_ids, poses):
            if int(keyframe_id) in self.keyframes:
                self.keyframes[int(keyframe_id)].T_odom_cam = orthonormalise(T_odom_cam)
        for keyframe in self.keyframes.values():
            if keyframe.id > newest:
                keyframe.T_odom_cam = correction @ keyframe.T_odom_cam
        self._forget_outliers(window, solution.chi2)
        return correction

    def _forget_outliers(self, window: Window, chi2: np.ndarray) -> None:
        bad = chi2 > OUTLIER_CHI2
        for index in np.unique(window.problem.cameras[bad]):
            keyframe = self.keyframes.get(int(window.keyframe_ids[index]))
            if keyframe is None:
                continue
            ids = window.landmark_ids[window.problem.landmarks[bad & (window.problem.cameras == index)]]
            keyframe.forget(~np.isin(keyframe.ids, ids))
        self.remove_unsupported()

    def remove_unsupported(self) -> None:
        """Drop landmarks that fewer than two keyframes see; the newest keyframe's may wait for a second."""
        owners, rows, _ = self.observations()
        keep = np.bincount(rows, minlength=len(self.ids)) >= 2
        keep[rows[owners == self.last.id]] = True
        self.ids, self.points = self.ids[keep], self.points[keep]

    def cull(self) -> None:
        """Bound the number of keyframes: the oldest outside the recent window goes first."""
        removed = False
        while len(self.keyframes) > self.settings.max_keyframes:
            self.keyframes.pop(next(iter(self.keyframes)))
            removed = True
        if removed:
            self.remove_unsupported()
