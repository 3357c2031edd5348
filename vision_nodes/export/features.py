"""XFeat's public weights as the features model: ``python -m vision_nodes.export.features``.

Nothing is trained. Its accuracy is measured on pairs of a picture and its homography warp, whose true
correspondence is known: the share of mutual nearest neighbours within 3 px, and how many there are.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import cv2
import numpy as np

from vision_nodes.camera.resize_map import ResizeMap
from vision_nodes.datatypes import Features
from vision_nodes.engine.manifest import InputSpec, Manifest, ModelFile, Training
from vision_nodes.errors import ModelError
from vision_nodes.export.measure import processor, time_file
from vision_nodes.export.onnx import export_onnx, onnx_session, output_specs
from vision_nodes.networks.xfeat import XFeatExport, load_xfeat
from vision_nodes.tasks.features import FeatureDecoder
from vision_nodes.training.paths import find_data
from vision_nodes.training.place_augment import change_light
from vision_nodes.training.place_data import read_picture

logger = logging.getLogger(__name__)
INPUT_WH = (384, 288)
COUNT = 512
WITHIN_PX = 3.0


def homography_accuracy(path: Path, pictures: list[np.ndarray], seed: int = 1) -> dict[str, float]:
    """Matching accuracy of the model file on warped and relit copies of `pictures`."""
    session = onnx_session(path)
    decoder, same = FeatureDecoder(), ResizeMap(INPUT_WH, INPUT_WH)

    def extract(image: np.ndarray) -> Features:
        values = session.run(None, {"image": image[None]})
        return decoder.decode(dict(zip(XFeatExport.output_names, values)), same)

    right, found = [], []
    rng = np.random.default_rng(seed)
    w, h = INPUT_WH
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    for picture in pictures:
        image = cv2.resize(picture, INPUT_WH, interpolation=cv2.INTER_AREA)
        moved = corners + rng.uniform(-0.15, 0.15, (4, 2)).astype(np.float32) * (w, h)
        homography = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
        warped = change_light(cv2.warpPerspective(image, homography, INPUT_WH), rng, 0.6)
        a, b = extract(image), extract(warped)
        similarity = a.descriptors @ b.descriptors.T
        if similarity.size == 0:
            continue
        forth, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
        mutual = np.flatnonzero(back[forth] == np.arange(len(forth)))
        expected = cv2.perspectiveTransform(a.keypoints_xy[mutual][None], homography)[0]
        error = np.linalg.norm(expected - b.keypoints_xy[forth[mutual]], axis=1)
        right.append(np.mean(error < WITHIN_PX))
        found.append(np.sum(error < WITHIN_PX))
    return {"matching_accuracy_3px": float(np.mean(right)), "right_matches": float(np.mean(found))}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path(__file__).resolve().parents[2] / "models")
    options = parser.parse_args(arguments)
    path = options.models / "features.onnx"
    module = XFeatExport(load_xfeat(), COUNT)
    export_onnx(module, module.output_names, INPUT_WH, path)
    listing = find_data("labelled/coco_val2017_subset/train.txt")
    pictures = [read_picture(listing.parent / line, 416) for line in listing.read_text().split()[-60:]]
    figures = {name: round(value, 4) for name, value in homography_accuracy(path, pictures).items()}
    if figures["matching_accuracy_3px"] < 0.3:
        raise ModelError("matching accuracy above 0.3", str(figures), "check the export")
    times = time_file(path, np.zeros((INPUT_WH[1], INPUT_WH[0], 3), np.uint8))
    data = {
        "name": "MegaDepth, warped COCO pictures",
        "licence": "of their owners",
        "use": "training by its authors",
    }
    manifest = Manifest(
        name="features",
        task="features",
        description="XFeat: the 512 strongest keypoints of a 384x288 picture with 64-D descriptors.",
        files={"fp32": ModelFile.of(path)},
        input=InputSpec(INPUT_WH),
        outputs=output_specs(path),
        training=Training(
            (data,), 0, "python -m vision_nodes.export.features", "XFeat public weights, unchanged"
        ),
        licence="Apache-2.0",
        source="verlab/accelerated_features (Apache-2.0), re-implemented in this repository",
        descriptor_dim=64,
        accuracy={"fp32": {**figures, "on": "60 COCO pictures against their homography warps"}},
        time_ms={"fp32": {**times, "on": processor()}},
    )
    manifest.write(options.models / "features.yaml")
    logger.info("%s %s", figures, times)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
