"""The keyframe index at the size of a city: time of an answer, share of right answers, memory.

Random vectors say nothing about an index: descriptors of real places crowd together. Here the model describes rendered
places, each seen twice (moved, turned, other exposure). Many more places are then made from these, points between
three places' descriptors; each has a few keyframes, moved as a revisit moves one. A query is a keyframe moved by another
revisit.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rich.progress import track

from vision_nodes.camera.model import CameraModel
from vision_nodes.places.index import DescriptorIndex
from vision_nodes.simulation.effects import Effects
from vision_nodes.simulation.world import World

Describe = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 RGB -> (D,) float32 unit norm
RENDER_WH = (224, 160)
CHUNK = 4096
PER_PLACE = 4  # keyframes of one place
FIRST_WORLD = 70_000  # seeds; those below are used elsewhere


@dataclass(frozen=True)
class IndexFigures:
    """What was measured; times in ms of one thread."""

    keyframes: int
    dimension: int
    search_p50_ms: float
    search_p95_ms: float
    recall_at_1: float  # share of queries whose exact nearest keyframe was found first
    recall_at_10: float  # share of the exact ten nearest found among ten
    add_ms: float
    bytes_per_keyframe: int  # what the index states
    measured_bytes_per_keyframe: float  # growth of the process
    revisit_similarity: float  # median cosine of a query to the place it revisits


def rendered_revisits(describe: Describe, worlds: int, places: int, seed: int = 0) -> np.ndarray:
    """(2, N, D): descriptors of `worlds` * `places` rendered places at two visits each."""
    rng = np.random.default_rng((seed, 21))
    f = 0.8 * RENDER_WH[0]
    K = np.array([[f, 0, (RENDER_WH[0] - 1) / 2], [0, f, (RENDER_WH[1] - 1) / 2], [0, 0, 1.0]])
    camera = CameraModel(RENDER_WH, K)
    visits: list[list[np.ndarray]] = [[], []]
    for number in track(range(worlds), "rendered places"):
        world = World.random(FIRST_WORLD + number)
        for _ in range(places):
            pose, _ = world.random_view(rng, RENDER_WH)
            for visit in visits:
                image = world.render(moved(pose, rng), camera, effects=Effects.random(rng)).image
                visit.append(describe(image))
    return np.array(visits, np.float32)


def moved(pose: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`pose` (4, 4) turned by 4 degrees and moved by 0.15 m (1 sigma)."""
    angle = rng.normal(0, 0.07)
    c, s = np.cos(angle), np.sin(angle)
    near = pose.copy()
    near[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ pose[:3, :3]
    near[:3, 3] += rng.normal(0, 0.15, 3) * (1, 1, 0.3)
    return near


def many_places(visits: np.ndarray, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Chunks (<= CHUNK, D) of `count` keyframes of places between those of `visits` (2, N, D)."""
    first, shift = visits[0], visits[1] - visits[0]
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        mixed = rng.integers(0, len(first), (-(-size // PER_PLACE), 3))
        shares = rng.dirichlet((1, 1, 1), len(mixed)).astype(np.float32)
        places = unit((shares[:, :, None] * first[mixed]).sum(axis=1))
        keyframes = np.repeat(places, PER_PLACE, axis=0)[:size]
        far = rng.uniform(0.3, 1.0, (size, 1)).astype(np.float32)
        yield unit(keyframes + far * shift[rng.integers(0, len(shift), size)])


def revisits(places: np.ndarray, visits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`places` (Q, D) seen again: each moved as some rendered place was."""
    return unit(places + (visits[1] - visits[0])[rng.integers(0, visits.shape[1], len(places))])


def unit(vectors: np.ndarray) -> np.ndarray:
    """(N, D) float32 rows of norm 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def measure_index(visits: np.ndarray, keyframes: int, queries: int = 500, seed: int = 0) -> IndexFigures:
    """Fill an index with `keyframes` places and ask it for `queries` revisits, against exact search.

    Exact search runs chunk by chunk while the index is filled: the descriptors are held once only.
    """
    picked = np.sort(np.random.default_rng((seed, 22)).choice(keyframes, min(queries, keyframes), False))
    asked, revisited = _queries(visits, keyframes, picked, seed)
    index = DescriptorIndex(visits.shape[2])
    best = (np.full((len(asked), 10), -2.0, np.float32), np.full((len(asked), 10), -1, np.int64))
    before, spent, start = _resident_bytes(), 0.0, 0
    chunks = many_places(visits, keyframes, np.random.default_rng((seed, 23)))
    for chunk in track(chunks, "keyframes", total=-(-keyframes // CHUNK)):
        best = _keep_best(best, asked @ chunk.T, start)
        began = time.thread_time()
        index.add_many(np.arange(start, start + len(chunk)), chunk)
        spent += time.thread_time() - began
        start += len(chunk)
    grown = _resident_bytes() - before
    times, right, among = [], [], []
    for query, exact in zip(asked, best[1]):
        began = time.thread_time()
        found, _ = index.search(query, 10)
        times.append(1000 * (time.thread_time() - began))
        right.append(found[0] == exact[0])
        among.append(len(np.intersect1d(found, exact)) / np.count_nonzero(exact >= 0))
    return IndexFigures(
        keyframes,
        visits.shape[2],
        float(np.percentile(times, 50)),
        float(np.percentile(times, 95)),
        recall_at_1=float(np.mean(right)),
        recall_at_10=float(np.mean(among)),
        add_ms=1000 * spent / keyframes,
        bytes_per_keyframe=index.bytes_per_keyframe,
        measured_bytes_per_keyframe=grown / keyframes,
        revisit_similarity=revisited,
    )


def _queries(visits: np.ndarray, keyframes: int, picked: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Revisits of the picked keyframes (Q, D), and the median cosine to them."""
    found, start = [], 0
    for chunk in many_places(visits, keyframes, np.random.default_rng((seed, 23))):
        here = picked[(picked >= start) & (picked < start + len(chunk))]
        found.append(chunk[here - start])
        start += len(chunk)
    places = np.concatenate(found)
    asked = revisits(places, visits, np.random.default_rng((seed, 24)))
    return asked, float(np.median((asked * places).sum(axis=1)))


def _keep_best(
    best: tuple[np.ndarray, np.ndarray], scores: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ten best (scores, ids) of those known and of a chunk's scores (Q, C), best first."""
    ids = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
    scores, ids = np.concatenate([best[0], scores], axis=1), np.concatenate([best[1], ids], axis=1)
    top = np.argpartition(-scores, 9, axis=1)[:, :10]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, 1), axis=1), 1)
    return np.take_along_axis(scores, top, 1), np.take_along_axis(ids, top, 1)


def _resident_bytes() -> int:
    """Memory of this process; the peak where the system does not say (it grows alike here)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
