"""Two runs on the same frames: differences with bootstrap confidence intervals (Efron and Tibshirani 1993)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from vision_nodes.errors import BagError
from vision_nodes.evaluation.gates import lower_is_better
from vision_nodes.evaluation.inputs import classify
from vision_nodes.evaluation.matching import average_precision, match_class
from vision_nodes.evaluation.odometry import ate, relative_errors
from vision_nodes.evaluation.run import Job, results_of, score_results
from vision_nodes.evaluation.scores import Scores

RESAMPLES = 1000
LEVEL = 95.0
BLOCK_S = 2.0  # frames of a trajectory are no independent samples: blocks of this length are
Statistic = Callable[[np.ndarray], np.ndarray]  # (B, F) weights -> (B,) values


@dataclass(frozen=True)
class Row:
    """One figure of both runs; the interval is that of the difference B - A."""

    metric: str
    a: float
    b: float
    low: float
    high: float
    samples: int  # frames or blocks that were resampled

    @property
    def difference(self) -> float:
        """B - A."""
        return self.b - self.a

    @property
    def verdict(self) -> str:
        """Better or worse only where the whole interval is on one side of zero."""
        if self.low <= 0 <= self.high:
            return "no difference shown"
        return "B is better" if (self.difference < 0) == lower_is_better(self.metric) else "B is worse"


@dataclass(frozen=True)
class Comparison:
    """All figures that both runs have."""

    names: tuple[str, str]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be compared, and why


def compare_runs(a: Job, b: Job, names: tuple[str, str]) -> Comparison:
    """Compare two jobs that have been evaluated."""
    sides = [score_results(job, results_of(job, classify(job.input), job.fingerprint())) for job in (a, b)]
    comparison = compare(sides[0], sides[1], names)
    if not comparison.rows:
        raise BagError(
            "figures that both runs have, on common frames",
            "; ".join(comparison.notes) or f"none in {names[0]} and {names[1]}",
            "compare runs of the same input",
        )
    return comparison


def compare(a: Scores, b: Scores, names: tuple[str, str], seed: int = 0) -> Comparison:
    """Paired comparison: both runs are resampled alike, on the frames that both have."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for part in (_detection, _segmentation, _depth, _odometry, _places, _latency):
        rows += part(a, b, rng)
    return Comparison(names, rows, _notes(a, b))


def _notes(a: Scores, b: Scores) -> list[str]:
    """Reasons for what is left out although both runs have it."""
    notes = []
    if a.detection_names and b.detection_names and a.detection_names != b.detection_names:
        only = [sorted(set(x) - set(y)) for x, y in _both_ways(a.detection_names, b.detection_names)]
        notes.append(f"detection left out: classes only in A {only[0]}, only in B {only[1]}")
    if not _same_masks(a, b):
        assert a.segmentation is not None and b.segmentation is not None
        notes.append(
            f"segmentation left out: A has the classes {a.segmentation.names}, B {b.segmentation.names}"
        )
    for task in ("detection_frames", "frame_confusion", "frame_depth"):
        first, second = getattr(a, task), getattr(b, task)
        if first and second and not set(first) & set(second):
            notes.append(f"{task}: the runs have no frame in common")
    return notes


def _both_ways(x: list[str], y: list[str]) -> list[tuple[list[str], list[str]]]:
    return [(x, y), (y, x)]


def _same_masks(a: Scores, b: Scores) -> bool:
    """False only when both have masks and their ids mean different classes."""
    return a.segmentation is None or b.segmentation is None or a.segmentation.names == b.segmentation.names


def frame_weights(count: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """(resamples + 1, count) how often each frame is drawn; the first row is the sample itself."""
    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples)
    return np.concatenate([np.ones((1, count)), drawn]).astype(float)


def block_weights(
    stamps_ns: np.ndarray, rng: np.random.Generator, block_s: float = BLOCK_S, resamples: int = RESAMPLES
) -> np.ndarray:
    """As `frame_weights`, but whole stretches of time are drawn together."""
    blocks = ((stamps_ns - stamps_ns[0]) // int(block_s * 1e9)).astype(int)
    _, index = np.unique(blocks, return_inverse=True)
    return frame_weights(int(index.max()) + 1, rng, resamples)[:, index]


def row_of(
    metric: str, statistics: tuple[Statistic, Statistic], weights: np.ndarray, samples: int
) -> list[Row]:
    """The row of a figure; empty when it cannot be computed."""
    values = [statistic(weights) for statistic in statistics]
    if not all(np.isfinite(side[0]) for side in values):
        return []
    differences = (values[1] - values[0])[1:]
    differences = differences[np.isfinite(differences)]
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    return [Row(metric, float(values[0][0]), float(values[1][0]), float(low), float(high), samples)]


def weighted_mean(values: np.ndarray) -> Statistic:
    """Mean over frames."""
    return lambda weights: (weights @ values) / weights.sum(1)


def _common(a: Iterable[int], b: Iterable[int]) -> list[int]:
    return sorted(set(a) & set(b))


def _detection(a: Scores, b: Scores, rng: np.random.Generator) -> list[Row]:
    stamps = _common(a.detection_frames, b.detection_frames)
    if len(stamps) < 2 or a.detection_names != b.detection_names:
        return []
    weights = frame_weights(len(stamps), rng, RESAMPLES // 4)  # average precision is slow to recompute
    values = []
    for side in (a, b):
        frames = [side.detection_frames[stamp] for stamp in stamps]
        per_class = [
            average_precision(match_class(frames, c), weights) for c in range(len(side.detection_names))
        ]
        with np.errstate(invalid="ignore"):
            values.append(np.nanmean(np.array(per_class), axis=0))  # (B, T)
    rows = []
    for metric, pick in (("detection.ap50", slice(0, 1)), ("detection.ap", slice(None))):
        pair = [side[:, pick].mean(1) for side in values]
        rows += row_of(metric, (lambda w: pair[0], lambda w: pair[1]), weights, len(stamps))  # noqa: B023
    return rows


def _segmentation(a: Scores, b: Scores, rng: np.random.Generator) -> list[Row]:
    stamps = _common(a.frame_confusion, b.frame_confusion)
    if len(stamps) < 2 or not _same_masks(a, b):
        return []
    weights, rows = frame_weights(len(stamps), rng), []
    stacks = [np.array([side.frame_confusion[s] for s in stamps], float) for side in (a, b)]
    for metric, statistic in (("segmentation.miou", _miou), ("segmentation.pixel_accuracy", _accuracy)):
        pair = tuple((lambda w, s=stack, f=statistic: f(w, s)) for stack in stacks)
        rows += row_of(metric, pair, weights, len(stamps))  # type: ignore[arg-type]
    return rows


def _miou(weights: np.ndarray, stack: np.ndarray) -> np.ndarray:
    total = np.tensordot(weights, stack, 1)  # (B, K, K + 1)
    square = total[:, :, :-1]
    hit = np.diagonal(square, axis1=1, axis2=2)
    truth = total.sum(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(truth > 0, hit / (truth + square.sum(1) - hit), np.nan)
    return np.asarray(np.nanmean(iou, axis=1))


def _accuracy(weights: np.ndarray, stack: np.ndarray) -> np.ndarray:
    total = np.tensordot(weights, stack, 1)
    return np.asarray(np.trace(total[:, :, :-1], axis1=1, axis2=2) / total.sum((1, 2)))


def _depth(a: Scores, b: Scores, rng: np.random.Generator) -> list[Row]:
    stamps = [s for s in _common(a.frame_depth, b.frame_depth) if a.frame_depth[s] and b.frame_depth[s]]
    if len(stamps) < 2:
        return []
    weights, rows = frame_weights(len(stamps), rng), []
    for name in ("abs_rel", "abs_rel_scaled", "rmse_m", "delta1"):
        sides = [weighted_mean(np.array([side.frame_depth[s][name] for s in stamps])) for side in (a, b)]
        rows += row_of(f"depth.{name}", (sides[0], sides[1]), weights, len(stamps))
    return rows


def _odometry(a: Scores, b: Scores, rng: np.random.Generator) -> list[Row]:
    if a.trajectories is None or b.trajectories is None:
        return []
    both = [{int(s): i for i, s in enumerate(t.stamps_ns)} for t in (a.trajectories, b.trajectories)]
    stamps = np.array(_common(both[0], both[1]), np.int64)
    if len(stamps) < 4:
        return []
    weights, rows = block_weights(stamps, rng), []
    samples = len(np.unique((stamps - stamps[0]) // int(BLOCK_S * 1e9)))
    figures: dict[str, list[np.ndarray]] = {"ate_sim3_m": [], "ate_se3_m": [], "rpe_translation_m": []}
    for side, index in zip((a.trajectories, b.trajectories), both):
        picked = side.at([index[int(s)] for s in stamps])
        _, alignment, errors = ate(picked, with_scale=True)
        figures["ate_sim3_m"].append(errors)
        figures["ate_se3_m"].append(ate(picked, with_scale=False)[2])
        step = relative_errors(picked, 1, alignment.scale)[0]
        figures["rpe_translation_m"].append(np.append(step, step[-1]))
    for name, both_errors in figures.items():
        pair = [weighted_mean(side_errors**2) for side_errors in both_errors]
        roots = tuple((lambda w, f=statistic: np.sqrt(f(w))) for statistic in pair)
        rows += row_of(f"odometry.{name}", roots, weights, samples)  # type: ignore[arg-type]
    return rows


def _places(a: Scores, b: Scores, rng: np.random.Generator) -> list[Row]:
    stamps = np.array(_common(a.query_hits, b.query_hits), np.int64)
    if len(stamps) < 2:
        return []
    sides = [weighted_mean(np.array([side.query_hits[int(s)] for s in stamps], float)) for side in (a, b)]
    weights = block_weights(stamps, rng)
    return row_of("places.recall_at_1", (sides[0], sides[1]), weights, len(stamps))


def _latency(a: Scores, b: Scores, rng: np.random.Generator) -> list[Row]:
    """Median latency; two live runs answer different frames, so each side is resampled by itself."""
    from vision_nodes.evaluation.latency import frame_latencies

    samples = [np.array(frame_latencies(side.recording)) for side in (a, b)]
    if min(len(s) for s in samples) < 2:
        return []
    drawn = [
        np.concatenate([[np.median(s)], np.median(rng.choice(s, (RESAMPLES, len(s))), axis=1)])
        for s in samples
    ]
    pair: tuple[Statistic, Statistic] = (lambda w: drawn[0], lambda w: drawn[1])
    return row_of("latency_ms.p50", pair, np.ones((1, 1)), min(len(s) for s in samples))


def write_comparison(comparison: Comparison, out: Path) -> None:
    """``comparison.json`` and a table in ``comparison.html``."""
    from vision_nodes.evaluation.comparison_page import write_page

    rows = [asdict(row) | {"difference": row.difference, "verdict": row.verdict} for row in comparison.rows]
    data = {"a": comparison.names[0], "b": comparison.names[1], "level_percent": LEVEL, "rows": rows}
    data["notes"] = comparison.notes
    (out / "comparison.json").write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")
    write_page(comparison, out / "comparison.html")
