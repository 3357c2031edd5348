"""Depth and place models on real pictures they never saw: ``python -m vision_nodes.evaluation.held_out MODEL``.

7-Scenes, the corridor and Gardens Point are for testing only. Run it once, when a model is finished, and never
choose by it. Results go into the model's manifest, per precision.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from vision_nodes.camera.model import CameraModel
from vision_nodes.engine.base import Engine
from vision_nodes.engine.loader import open_cpu
from vision_nodes.engine.manifest import Manifest
from vision_nodes.errors import BagError, ConfigError
from vision_nodes.evaluation.depth import compare_depth
from vision_nodes.evaluation.depth_rendered import confident_half, score_unseen_worlds
from vision_nodes.evaluation.retrieval import pair_scores, read_loop_pairs, read_traverses, recall_at_1
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import DepthEstimator, DescriptorExtractor

logger = logging.getLogger(__name__)
ON = {
    "place": "vpr_corridor, vpr_gardenspoint_thumbs, 7scenes_redkitchen_seq01 loops.csv (test only)",
    "depth": "kitchen_*: 7scenes_redkitchen_rgbd (test only, zero-shot); worlds_*: drives through 12 worlds never seen",
}


def read_frame(path: Path, camera: CameraModel | None = None) -> Frame:
    """One picture as a frame. Raises BagError when it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise BagError("a readable picture", str(path), "check the data folder")
    height, width = image.shape[:2]
    return Frame(0, "camera", cv2.cvtColor(image, cv2.COLOR_BGR2RGB), (width, height), camera)


def score_place(engine: Engine, data: Path) -> dict[str, float]:
    """Recall at 1 of both traverses; ranked pairs of the kitchen sequence."""
    describe = DescriptorExtractor(engine)
    figures = {}
    for name in ("vpr_corridor", "vpr_gardenspoint_thumbs"):
        ways = read_traverses(data / "sequences" / name)
        queries, references = (
            np.stack([describe(read_frame(path)) for path in side])
            for side in (ways.queries, ways.references)
        )
        figures[f"recall_at_1_{name}"] = recall_at_1(queries, references, ways.right)
    kitchen = data / "sequences" / "7scenes_redkitchen_seq01"
    pictures = {int("".join(filter(str.isdigit, path.stem))): path for path in (kitchen / "rgb").iterdir()}
    frames = list(range(0, 1000, 10))
    descriptors = np.stack([describe(read_frame(pictures[frame])) for frame in frames])
    pairs, loops = read_loop_pairs(kitchen / "loops.csv", frames)
    similarity = (descriptors[pairs[:, 0]] * descriptors[pairs[:, 1]]).sum(axis=1)
    return figures | {
        f"kitchen_loops_{name}": value for name, value in pair_scores(similarity, loops).items()
    }


def score_depth(engine: Engine, data: Path) -> dict[str, float]:
    """Means over the kitchen pictures of AbsRel and delta 1, raw (metres) and median-scaled; unseen rendered worlds."""
    folder = data / "labelled" / "7scenes_redkitchen_rgbd"
    values = json.loads((folder / "camera.json").read_text())
    K = np.array([[values["fx"], 0, values["cx"]], [0, values["fy"], values["cy"]], [0, 0, 1.0]])
    camera = CameraModel((values["width"], values["height"]), K)
    estimator = DepthEstimator(engine)
    rows = []
    for line in (folder / "test.txt").read_text().splitlines():
        picture, truth = line.split()[:2]
        depth = estimator.estimate(read_frame(folder / picture, camera))
        millimetres = cv2.imread(str(folder / truth), cv2.IMREAD_UNCHANGED)
        true_m = millimetres.astype(np.float32) / 1000
        rows.append(compare_depth(depth.depth_m, true_m) | confident_half(depth, true_m))
    names: tuple[str, ...] = ("abs_rel", "abs_rel_scaled", "delta1", "delta1_scaled", "ratio", "coverage")
    names += ("confident_half_abs_rel",) if "confident_half_abs_rel" in rows[0] else ()
    kitchen = {f"kitchen_{name}": float(np.mean([row[name] for row in rows])) for name in names}
    return kitchen | score_unseen_worlds(estimator)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="models/<name>.yaml")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--dry-run", action="store_true", help="do not write the manifest")
    options = parser.parse_args(arguments)
    manifest = Manifest.read(options.model)
    scorers = {"place": score_place, "depth": score_depth}
    if manifest.task not in scorers:
        raise ConfigError(f"a model of {sorted(scorers)}", manifest.task, "see vision-nodes evaluate")
    accuracy = dict(manifest.accuracy)
    for precision in manifest.files:
        with open_cpu(manifest, precision) as engine:
            figures = scorers[manifest.task](engine, options.data)
        logger.info("%s %s (%s): %s", manifest.name, precision, engine.backend, figures)
        known = dict(accuracy.get(precision, {}))
        on = str(known.pop("on", ""))
        on = on if ON[manifest.task] in on else f"{on}; {ON[manifest.task]}".lstrip("; ")
        accuracy[precision] = {**known, **{k: round(v, 4) for k, v in figures.items()}, "on": on}
    if not options.dry_run:
        replace(manifest, accuracy=accuracy).write(options.model)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
