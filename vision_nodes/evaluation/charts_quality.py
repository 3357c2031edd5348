"""Charts of how good and how honest the answers are."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from vision_nodes.evaluation.charts import CLOSURE_COLOR, ESTIMATE_COLOR, TRUTH_COLOR
from vision_nodes.evaluation.odometry import ate
from vision_nodes.evaluation.scores import Scores

SMALL = (5.2, 3.6)


def reliability_chart(scores: Scores) -> Figure | None:
    """Accuracy over confidence, points as large as their bin is full; None without boxes."""
    curve = scores.reliability
    if curve is None or curve.count.sum() == 0:
        return None
    figure = Figure(figsize=SMALL, layout="constrained")
    axes = figure.add_subplot()
    full = curve.count > 0
    axes.plot([0, 1], [0, 1], color=TRUTH_COLOR, linestyle="--", linewidth=1)
    axes.plot(curve.confidence[full], curve.accuracy[full], color=ESTIMATE_COLOR, linewidth=1.2)
    sizes = 20 + 180 * curve.count[full] / curve.count.max()
    axes.scatter(
        curve.confidence[full], curve.accuracy[full], s=sizes, color=ESTIMATE_COLOR, alpha=0.7, clip_on=False
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share of boxes that hit")
    axes.grid(alpha=0.3)
    return figure


def precision_recall_chart(scores: Scores) -> Figure | None:
    """Precision over recall of place matches; None without a revisit."""
    curve = scores.place_curve
    if curve is None or curve.total == 0 or len(curve.scores) == 0:
        return None
    recall, precision = curve.curve()
    figure = Figure(figsize=SMALL, layout="constrained")
    axes = figure.add_subplot()
    axes.step(recall, precision, where="post", color=ESTIMATE_COLOR, linewidth=1.6)
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
    axes.grid(alpha=0.3)
    return figure


def error_chart(scores: Scores) -> Figure | None:
    """Position error over time after both alignments; None with fewer than three poses."""
    trajectories = scores.trajectories
    if trajectories is None or len(trajectories.stamps_ns) < 3:
        return None
    seconds = (trajectories.stamps_ns - trajectories.stamps_ns[0]) * 1e-9
    figure = Figure(figsize=(7.0, 2.6), layout="constrained")
    axes = figure.add_subplot()
    _, _, scaled = ate(trajectories, with_scale=True)
    axes.plot(seconds, scaled, color=ESTIMATE_COLOR, linewidth=1.4, label="after Sim(3)")
    _, _, rigid = ate(trajectories, with_scale=False)
    # Without metric scale the rigid error is the length of the path and hides the other curve.
    if rigid.max() < 20 * max(scaled.max(), 1e-9):
        axes.plot(seconds, rigid, color=CLOSURE_COLOR, linewidth=1.4, label="after SE(3)")
    axes.set(xlabel="s", ylabel="m")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def box_confusion_chart(scores: Scores) -> Figure | None:
    """Counts of true class against published class, with missed and invented; classes that occur only."""
    confusion = scores.detection_confusion
    if confusion is None or confusion.sum() == 0:
        return None
    last = len(confusion) - 1
    present = [i for i in range(last) if confusion[i].sum() + confusion[:, i].sum() > 0]
    shown = confusion[np.ix_([*present, last], [*present, last])]
    names = [scores.detection_names[i] for i in present]
    side = max(3.4, 0.42 * len(shown) + 1.6)
    figure = Figure(figsize=(min(side + 1, 9.0), min(side, 8.0)), layout="constrained")
    axes = figure.add_subplot()
    shares = shown / np.maximum(shown.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(shown)), [*names, "missed"], rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(shown)), [*names, "invented"], fontsize=8)
    for (i, j), count in np.ndenumerate(shown):
        if count:
            color = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(count), ha="center", va="center", fontsize=7, color=color)
    axes.set(xlabel="published", ylabel="true")
    return figure
