"""``vision-nodes bench places``: the keyframe index at a stated size: time of an answer, recall, memory."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vision_nodes.engine.loader import open_engine
from vision_nodes.evaluation.place_index import IndexFigures, measure_index, rendered_revisits
from vision_nodes.places.index import search_threads
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import DescriptorExtractor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size, source of descriptors and output."""
    parser.add_argument("--keyframes", type=int, default=100_000, help="size of the index")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--model", default="place", help="place model that describes the rendered places")
    parser.add_argument("--worlds", type=int, default=12, help="rendered worlds")
    parser.add_argument("--places", type=int, default=60, help="places in each, seen twice")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")


def run(args: argparse.Namespace) -> int:
    """Describe rendered revisits, fill the index, ask it on one thread."""
    search_threads(1)
    with open_engine(args.model, threads=1) as engine:
        extract = DescriptorExtractor(engine)

        def describe(image: np.ndarray) -> np.ndarray:
            height, width = image.shape[:2]
            return extract(Frame(0, "camera", image, (width, height))).copy()

        visits = rendered_revisits(describe, args.worlds, args.places)
    figures = measure_index(visits, args.keyframes, args.queries)
    Console().print(table_of(figures))
    if args.json:
        args.json.write_text(json.dumps(asdict(figures), indent=2) + "\n")
    return 0


def table_of(figures: IndexFigures) -> Table:
    """One line a figure."""
    table = Table(
        "figure", "value", title=f"place index, {figures.keyframes} keyframes", title_justify="left"
    )
    table.add_row("answer, one thread", f"{figures.search_p50_ms:.2f} ms (p95 {figures.search_p95_ms:.2f})")
    table.add_row("nearest found, of exact search", f"{figures.recall_at_1:.4f}")
    table.add_row("ten nearest found", f"{figures.recall_at_10:.4f}")
    table.add_row("adding one", f"{figures.add_ms:.2f} ms")
    table.add_row(
        f"memory a keyframe ({figures.dimension} values)",
        f"{figures.bytes_per_keyframe} bytes (process grew by {figures.measured_bytes_per_keyframe:.0f})",
    )
    table.add_row("similarity of a revisit, median", f"{figures.revisit_similarity:.2f}")
    return table
