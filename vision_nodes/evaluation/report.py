"""A self-contained HTML report of a scored run: opens without a network, prints, follows dark and light."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from vision_nodes.evaluation.charts import confusion_chart, depth_chart, latency_chart, trajectory_chart
from vision_nodes.evaluation.charts_quality import (
    box_confusion_chart,
    error_chart,
    precision_recall_chart,
    reliability_chart,
)
from vision_nodes.evaluation.figure_names import label_of
from vision_nodes.evaluation.preview import contact_sheet
from vision_nodes.evaluation.score import Scores
from vision_nodes.evaluation.worst import worst_frames
from vision_nodes.overlay import palette_for

TITLES = {
    "detection": "Detections",
    "segmentation": "Segmentation",
    "depth": "Depth",
    "odometry": "Odometry",
    "places": "Places and loop closures",
}
WORST = 2  # frames shown per task
CARDS = (
    ("", "rate_hz", "Hz, all answers of a frame"),
    ("latency_ms", "p50", "ms latency p50"),
    ("latency_ms", "p95", "ms latency p95"),
    ("detection", "ap50", "detection AP50"),
    ("segmentation", "miou", "segmentation mIoU"),
    ("depth", "abs_rel", "depth AbsRel"),
    ("odometry", "ate_sim3_m", "m ATE after Sim(3)"),
    ("places", "loop_recall", "loop recall"),
    ("places", "false_closures", "false closures"),
)


def write_report(scores: Scores, html: str | Path) -> None:
    """Write the report; every picture and chart is inside the file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
    )
    environment.filters["figure"] = format_figure
    environment.filters["scalars"] = scalars
    environment.filters["label"] = label_of
    metrics = scores.metrics
    text = environment.get_template("report.html.j2").render(
        bag=scores.recording.path.name,
        live=scores.recording.live,
        metrics=metrics,
        cards=_cards(metrics),
        titles=TITLES,
        preview=_jpeg(contact_sheet(scores)),
        charts={
            "latency": svg_of(latency_chart(scores)),
            "trajectory": svg_of(trajectory_chart(scores)),
            "confusion": svg_of(confusion_chart(scores)),
            "depth": svg_of(depth_chart(scores)),
            "reliability": svg_of(reliability_chart(scores)),
            "box_confusion": svg_of(box_confusion_chart(scores)),
            "error": svg_of(error_chart(scores)),
            "precision_recall": svg_of(precision_recall_chart(scores)),
        },
        per_class={
            "detection": _sorted(metrics.get("detection", {}).get("class_ap")),
            "segmentation": _sorted(metrics.get("segmentation", {}).get("class_iou")),
        },
        class_colors=_class_colors(scores),
        per_class_title={"detection": "AP", "segmentation": "IoU"},
        worst=_worst(scores),
        provenance=_flat(metrics.get("provenance", {})),
    )
    Path(html).write_text(text, encoding="utf-8")


def format_figure(value: Any) -> str:
    """A number as a reader wants it; an en dash for what is not there."""
    if value is None or isinstance(value, jinja2.Undefined):
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def scalars(section: dict[str, Any]) -> list[tuple[str, Any]]:
    """The plain figures of a task's section."""
    plain = [
        (name, value)
        for name, value in (section | section.get("tracking", {})).items()
        if not isinstance(value, (dict, list, str))
    ]
    listed = [
        (name, ", ".join(map(str, value))) for name, value in section.items() if isinstance(value, list)
    ]
    counted = [
        (name, ", ".join(f"{key} {count}" for key, count in value.items()))
        for name, value in section.items()
        if isinstance(value, dict) and name == "states"
    ]
    return plain + listed + counted


def _cards(metrics: dict[str, Any]) -> list[dict[str, str]]:
    cards = []
    for section, name, label in CARDS:
        value = (metrics.get(section, {}) if section else metrics).get(name)
        if value is not None:
            cards.append({"value": format_figure(value), "label": label})
    return cards


def _sorted(values: dict[str, float] | None) -> list[tuple[str, float]]:
    return sorted(
        ((name, value) for name, value in (values or {}).items() if value is not None),
        key=lambda item: -item[1],
    )


def _worst(scores: Scores) -> dict[str, list[dict[str, str]]]:
    return {
        task: [{"image": _jpeg(frame.picture), "caption": frame.caption} for frame in frames]
        for task, frames in worst_frames(scores, WORST).items()
    }


def _class_colors(scores: Scores) -> dict[str, str]:
    """Class -> its CSS colour in the masks of this report."""
    if scores.segmentation is None:
        return {}
    names = scores.segmentation.names
    return {name: "#%02x%02x%02x" % tuple(color) for name, color in zip(names, palette_for(names).tolist())}  # noqa: UP031


def _jpeg(picture: np.ndarray) -> str:
    data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(data).tobytes()).decode()


def svg_of(figure: Figure | None) -> Markup | None:
    """A figure as SVG text to put into a page; the same figure gives the same text."""
    if figure is None:
        return None
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "vision_nodes", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif value not in ("", None):
            rows.append((prefix + name, str(value)))
    return rows
