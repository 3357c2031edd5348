"""Two visits of one way (query/, ref/): place descriptors written to a file, then scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vision_nodes.engine.loader import open_engine
from vision_nodes.evaluation.held_out import read_frame
from vision_nodes.evaluation.places import precision_recall
from vision_nodes.evaluation.provenance import library_versions, machine
from vision_nodes.evaluation.retrieval import read_traverses
from vision_nodes.tasks.runners import DescriptorExtractor

if TYPE_CHECKING:
    from vision_nodes.evaluation.run import Job


def evaluate_traverses(job: Job) -> dict[str, Any]:
    """Recall@1/5/10 of the place model, and precision-recall of best matches."""
    from vision_nodes import __version__

    ways = read_traverses(Path(job.input))
    file = Path(job.out) / "descriptors.npz"
    with open_engine(job.models.get("place", "place")) as engine:
        describe = DescriptorExtractor(engine)
        queries, references = (
            np.stack([describe(read_frame(path)) for path in side])
            for side in (ways.queries, ways.references)
        )
        model = f"{engine.manifest.name} {engine.precision} {engine.backend} "
        model += engine.manifest.files[engine.precision].sha256
    np.savez(file, queries=queries, references=references)
    with np.load(file) as written:  # what is scored is what was written
        figures = score_traverses(written["queries"], written["references"], ways.right)
    run = {"model.place": model, "frames": str(len(queries))}
    return {
        "places": figures,
        "provenance": {
            "version": __version__,
            "machine": machine(),
            "libraries": library_versions(),
            "run": run,
        },
    }


def score_traverses(
    queries: np.ndarray, references: np.ndarray, right: list[set[int]]
) -> dict[str, float | int | None]:
    """Figures of unit descriptors: queries (Q, D), references (R, D), right references of each query."""
    similarity = queries @ references.T
    ranked = np.argsort(-similarity, axis=1, kind="stable")
    wanted = [q for q in range(len(queries)) if right[q]]
    figures: dict[str, float | int | None] = {
        "queries": len(queries),
        "references": len(references),
        "queries_with_revisit": len(wanted),
    }
    for k in (1, 5, 10):
        hits = [bool(right[q] & set(ranked[q, :k].tolist())) for q in wanted]
        figures[f"recall_at_{k}"] = float(np.mean(hits)) if hits else None
    best = ranked[:, 0]
    scores = similarity[np.arange(len(queries)), best]
    correct = np.array([int(best[q]) in right[q] for q in range(len(queries))])
    return figures | precision_recall(scores, correct, len(wanted)).figures()
