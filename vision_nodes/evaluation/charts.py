"""Charts of a scored run as matplotlib figures, drawn without a display."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from vision_nodes.evaluation.alignment import align
from vision_nodes.evaluation.score import Scores

TRUTH_COLOR, ESTIMATE_COLOR, CLOSURE_COLOR = "#8a8f98", "#1f77b4", "#d9480f"


def trajectory_chart(scores: Scores, size_in: tuple[float, float] = (7.0, 5.0)) -> Figure | None:
    """Top view of the estimate on the truth, aligned by Sim(3); closures as lines. None without both."""
    trajectories = scores.trajectories
    if trajectories is None or len(trajectories.stamps_ns) < 3:
        return None
    found, true = trajectories.estimate[:, :3, 3], trajectories.truth[:, :3, 3]
    aligned = align(found, true, with_scale=True).apply(found)
    a, b = _widest_axes(true)
    figure = Figure(figsize=size_in, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(true[:, a], true[:, b], color=TRUTH_COLOR, linewidth=4, label="truth")
    axes.plot(
        aligned[:, a], aligned[:, b], color=ESTIMATE_COLOR, linewidth=1.5, label="odometry, Sim(3) aligned"
    )
    index = {int(stamp): i for i, stamp in enumerate(trajectories.stamps_ns)}
    recording = scores.recording
    label = "loop closures"
    for query, matched, _ in recording.closures:
        i, j = index.get(query), index.get(recording.keyframes.get(matched, -1))
        if i is not None and j is not None:
            axes.plot(
                *[[aligned[k, c] for k in (i, j)] for c in (a, b)],
                color=CLOSURE_COLOR,
                linewidth=1,
                label=label,
            )
            label = "_nolegend_"
    axes.plot(*true[0, [a, b]], "o", color="black", markersize=6, label="start")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("m")
    axes.set_ylabel("m")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    return figure


def _widest_axes(points: np.ndarray) -> tuple[int, int]:
    """The two world axes along which the path extends most: a top view, whichever axis is up."""
    spread = np.ptp(points, axis=0)
    first, second = sorted(np.argsort(spread)[-2:].tolist())
    return int(first), int(second)


def latency_chart(scores: Scores) -> Figure | None:
    """Histogram of latency per task; None for a run without a clock."""
    recording = scores.recording
    if not recording.live:
        return None
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    samples, names = [], []
    for task, arrived in recording.arrived.items():
        values = [(t - recording.sent[s]) * 1e-6 for s, t in arrived.items() if s in recording.sent]
        if values:
            samples.append(values)
            names.append(task)
    if not samples:
        return None
    highest = max(np.percentile(values, 99) for values in samples)
    axes.hist(samples, bins=np.linspace(0, highest, 30).tolist(), histtype="step", linewidth=1.6, label=names)
    axes.set_xlabel("ms from sending the image to the arrival of its result")
    axes.set_ylabel("results")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def confusion_chart(scores: Scores) -> Figure | None:
    """Row-normalised confusion matrix of the segmentation, classes that occur only."""
    score = scores.segmentation
    if score is None or score.confusion.sum() == 0:
        return None
    square = score.confusion[:, :-1]
    present = np.flatnonzero(square.sum(1) + square.sum(0) > 0)
    shares = square[np.ix_(present, present)] / np.maximum(score.confusion[present].sum(1, keepdims=True), 1)
    names = [score.names[i] for i in present]
    side = max(3.4, 0.42 * len(names) + 1.6)
    figure = Figure(figsize=(min(side + 1, 9.0), min(side, 8.0)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share >= 0.05:
                axes.text(
                    j,
                    i,
                    f"{100 * share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if share > 0.5 else "black",
                )
    return figure


def depth_chart(scores: Scores) -> Figure | None:
    """AbsRel over time, raw and median-scaled."""
    frames = {stamp: values for stamp, values in sorted(scores.frame_depth.items()) if values}
    if len(frames) < 2:
        return None
    seconds = (np.array(list(frames)) - min(frames)) * 1e-9
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, label in (("abs_rel", "raw metres"), ("abs_rel_scaled", "median-scaled")):
        axes.plot(seconds, [values[name] for values in frames.values()], label=label)
    axes.set_xlabel("s")
    axes.set_ylabel("AbsRel")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
