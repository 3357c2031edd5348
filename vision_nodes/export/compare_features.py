"""Local features side by side: ``python -m vision_nodes.export.compare_features FOLDER... --methods ...``.

A folder is a sequence with poses and depth (see `read_pose_pairs`). Methods: `xfeat` (published weights and
decoding), `aliked` (T16), `rootsift`, `orb`, the name or manifest of a model (`features:fp32`, `features:int8`), or
a checkpoint `runs/features/best.pt`. One thread, processor time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vision_nodes.datatypes import Features
from vision_nodes.engine.loader import open_cpu
from vision_nodes.engine.models import find_model
from vision_nodes.errors import ConfigError
from vision_nodes.evaluation.feature_table import (
    MAX_POINTS,
    THRESHOLDS_DEG,
    Extract,
    MethodScore,
    interval,
    orb,
    root_sift,
    score_method,
)
from vision_nodes.evaluation.pose_pairs import PosePairs, read_pose_pairs
from vision_nodes.export.onnx import export_onnx
from vision_nodes.export.onnx_file import onnx_session
from vision_nodes.networks.aliked import load_aliked
from vision_nodes.networks.xfeat import XFeatExport, load_xfeat
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import FeatureExtractor
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.registry import make_task

METHODS = ("xfeat", "aliked", "rootsift", "orb")


def make_method(name: str, size_wh: tuple[int, int]) -> Extract:
    """What extracts features by that name. Raises ConfigError or ModelError for an unknown one."""
    makers: dict[str, Callable[[], Extract]] = {
        "rootsift": root_sift,
        "orb": orb,
        "aliked": aliked,
        "xfeat": lambda: graph(XFeatExport(load_xfeat(), MAX_POINTS), size_wh),
    }
    if name in makers:
        return makers[name]()
    if name.endswith(".pt"):
        state = read_checkpoint(Path(name), "features")
        task = make_task(TrainingConfig(**{**state["config"], "input_wh": size_wh}))
        network = task.network()
        load_weights(network, state["network"], name)
        return graph(task.export_module(network), size_wh)
    return model(name)


def graph(module: torch.nn.Module, size_wh: tuple[int, int]) -> Extract:
    """A network of the features contract, exported and run by ONNX Runtime, as a model that ships would be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.onnx"
        export_onnx(module, ("keypoints", "scores", "descriptors"), size_wh, path)
        session = onnx_session(path.read_bytes())

    def extract(image: np.ndarray) -> Features:
        if image.shape[1::-1] != size_wh:
            raise ConfigError(f"pictures of {size_wh}", str(image.shape[1::-1]), "give --size")
        parts = [part[0] for part in session.run(None, {"image": image[None]})]
        return Features(*(part[parts[1] > 0] for part in parts))

    return extract


def model(name: str) -> Extract:
    """A model that ships, through its engine."""
    manifest, precision = find_model(name)
    engine = open_cpu(manifest, precision or "fp32", threads=1)
    extractor = FeatureExtractor(engine)
    return lambda image: extractor.extract(Frame(0, "camera", image, (image.shape[1], image.shape[0])))


def aliked() -> Extract:
    """ALIKED-T16 in torch."""
    network = load_aliked()

    def extract(image: np.ndarray) -> Features:
        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
            keypoints, scores, descriptors = network(tensor, MAX_POINTS)
        return Features(*(np.ascontiguousarray(part.numpy()) for part in (keypoints, scores, descriptors)))

    return extract


def figures(scores: list[MethodScore]) -> dict[str, dict[str, object]]:
    """What the table says, as numbers; differences are to the first method."""
    rows: dict[str, dict[str, object]] = {}
    for score in scores:
        low, high = interval(score)
        row: dict[str, object] = {
            f"auc{round(t)}": [round(float(v), 4) for v in values]
            for t, *values in zip(THRESHOLDS_DEG, score.aucs(), low, high)
        }
        if score is not scores[0]:
            low, high = interval(score, scores[0])
            difference = score.aucs() - scores[0].aucs()
            row["difference_to_first"] = {
                f"auc{round(t)}": [round(float(v), 4) for v in values]
                for t, *values in zip(THRESHOLDS_DEG, difference, low, high)
            }
        row |= {
            "matches": float(np.median(score.matches)),
            "inliers": float(np.median(score.inliers)),
            "ms": round(score.ms, 2),
        }
        rows[score.name] = row
    return rows


def print_table(rows: dict[str, dict[str, object]], title: str) -> None:
    """AUC in percent with 95 % intervals."""
    table = Table(title=title, title_justify="left")
    names = [f"AUC@{round(t)}" for t in THRESHOLDS_DEG]
    for column in ("method", *names, "matches", "inliers", "ms / image"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, row in rows.items():
        cells = []
        for t in THRESHOLDS_DEG:
            value, low, high = (100 * v for v in row[f"auc{round(t)}"])
            cells.append(f"{value:.1f} ({low:.1f}-{high:.1f})")
        table.add_row(name, *cells, f"{row['matches']:.0f}", f"{row['inliers']:.0f}", f"{row['ms']:.1f}")
    Console(width=120).print(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folders, methods, which pairs."""
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="sequence with poses and depth"
    )
    parser.add_argument(
        "--methods", nargs="+", default=["features:fp32", "features:int8", *METHODS], metavar="NAME"
    )
    parser.add_argument("--min-overlap", type=float, default=0.3)
    parser.add_argument("--min-baseline", type=float, default=0.1, help="metres")
    parser.add_argument("--limit", type=int, default=500, help="pairs per folder, drawn at random; 0 = all")
    parser.add_argument("--out", type=Path, help="JSON file of all figures")


def run(args: argparse.Namespace) -> int:
    """Print the table; 0."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    sets: list[PosePairs] = [
        read_pose_pairs(folder, args.min_overlap, args.min_baseline, args.limit) for folder in args.folders
    ]
    sizes = {pairs.camera.size_wh for pairs in sets}
    if len(sizes) != 1:
        raise ConfigError("folders of one picture size", str(sizes), "compare them one by one")
    size_wh = sizes.pop()
    scores = [
        score_method(name, make_method(name, size_wh), sets)
        for name in track(args.methods, "methods", console=Console(stderr=True))
    ]
    rows = figures(scores)
    count = len(scores[0].errors_deg)
    print_table(rows, f"{count} pairs of {', '.join(pairs.name for pairs in sets)}; 95 % bootstrap intervals")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"pairs": count, "methods": rows}, indent=1))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
