"""One page over many inputs: figures side by side, links to the reports, what failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from vision_nodes.evaluation.report import format_figure


def write_summary(summary: dict[str, Any], folder: Path) -> None:
    """``summary.json`` and ``summary.html`` of what `many.merge` returns."""
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
    )
    environment.filters["figure"] = format_figure
    names = sorted({name for row in summary["figures"].values() for name in row["inputs"]})
    # Place traverses have figures, but no report of their own.
    pages = {
        name: "report.html" if (folder / name / "report.html").exists() else "metrics.json" for name in names
    }
    text = environment.get_template("summary.html.j2").render(summary=summary, names=names, pages=pages)
    (folder / "summary.html").write_text(text, encoding="utf-8")
