"""Side-by-side page of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from matplotlib.figure import Figure

from vision_nodes.evaluation.report import format_figure, svg_of

if TYPE_CHECKING:
    from vision_nodes.evaluation.compare import Comparison

COLORS = {"B is better": "#1a7f4b", "B is worse": "#c2330f"}


def write_page(comparison: Comparison, html: Path) -> None:
    """A self-contained page: table, and the differences with their intervals."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
    )
    environment.filters["figure"] = format_figure
    text = environment.get_template("comparison.html.j2").render(
        names=comparison.names,
        rows=comparison.rows,
        notes=comparison.notes,
        chart=svg_of(interval_chart(comparison)),
    )
    html.write_text(text, encoding="utf-8")


def interval_chart(comparison: Comparison) -> Figure | None:
    """Differences in percent of A, with their intervals; None when A is zero everywhere."""
    rows = [row for row in comparison.rows if row.a != 0][::-1]
    if not rows:
        return None
    figure = Figure(figsize=(7.0, 0.8 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for y, row in enumerate(rows):
        middle, low, high = (100 * value / abs(row.a) for value in (row.difference, row.low, row.high))
        color = COLORS.get(row.verdict, "#5b6470")
        axes.plot([low, high], [y, y], color=color, linewidth=3, solid_capstyle="round")
        axes.plot(middle, y, "o", color=color, markersize=6)
    axes.axvline(0, color="#1c2026", linewidth=1)
    axes.set_yticks(range(len(rows)), [row.metric for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("B minus A, percent of A")
    axes.grid(alpha=0.3, axis="x")
    return figure
