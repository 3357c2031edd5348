"""The features model: ``python -m vision_nodes.export.features runs/features/best.pt``, or without a checkpoint.

Without one nothing is trained: XFeat's public weights describe the picture at 0.7 of its size, at the same corners.
The figures in the manifest are of pictures and their warps (`FeaturesTask`); poses: `compare_features`.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vision_nodes.engine.manifest import InputSpec, Manifest, ModelFile, Training
from vision_nodes.errors import ModelError
from vision_nodes.export.measure import measure
from vision_nodes.export.onnx import export_onnx
from vision_nodes.export.onnx_file import onnx_session, output_specs
from vision_nodes.export.release import sample_images
from vision_nodes.networks.feature_graph import FeatureGraph
from vision_nodes.networks.features import DESCRIPTOR_DIM, XFeatDescriber
from vision_nodes.training.checkpoint import load_weights, read_checkpoint
from vision_nodes.training.config import CONFIG_DIR, TrainingConfig, read_config
from vision_nodes.training.features import FeaturesTask

logger = logging.getLogger(__name__)
DESCRIBED_WH = (448, 352)  # chosen on rendered pairs: half the convolutions of 640x480, equal AUC
COUNT = 1000
MEASURED_ON = "60 COCO pictures and their warps in other light, blurred, noisy"
XFEAT_CARD: dict[str, Any] = {
    "name": "features",
    "description": (
        "The 1000 strongest corners of a 640x480 picture, refined below the pixel, with 64-D descriptors by XFeat."
    ),
    "licence": "Apache-2.0",
    "source": "weights of verlab/accelerated_features (Apache-2.0), re-implemented in this repository",
    "command": "python -m vision_nodes.export.features",
    "init": "XFeat public weights, unchanged",
    "data": [
        {
            "name": "MegaDepth, warped COCO pictures",
            "licence": "of their owners",
            "use": "training by its authors",
        }
    ],
}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="best.pt; default: XFeat's public weights")
    parser.add_argument("--models", type=Path, default=Path(__file__).resolve().parents[2] / "models")
    options = parser.parse_args(arguments)
    options.models.mkdir(parents=True, exist_ok=True)
    config = read_config(CONFIG_DIR / "features.yaml")
    task = FeaturesTask(config)
    if options.checkpoint:
        network = task.network()
        load_weights(
            network, read_checkpoint(options.checkpoint, "features")["network"], str(options.checkpoint)
        )
        card = dict(config.model)
    else:
        network, card = XFeatDescriber(DESCRIBED_WH), XFEAT_CARD
    path = options.models / "features.onnx"
    module = FeatureGraph(network.eval(), config.input_wh, COUNT).eval()
    export_onnx(module, module.output_names, config.input_wh, path)
    require_agreement(module, path, sample_images(task, 4))
    description(path, card, config).write(options.models / "features.yaml")
    logger.info(
        "%s", measure(options.models / "features.yaml", task, "fp32", task.val_dataset(), MEASURED_ON)
    )
    return 0


def require_agreement(module: FeatureGraph, path: Path, images: list[np.ndarray]) -> float:
    """Share of torch's features that the file finds too (0.05 px, cosine 0.999); near-ties change places.

    Raises:
        ModelError: less than 97 %.
    """
    session, shares = onnx_session(path), []
    for image in images:
        with torch.no_grad():
            ours = [part[0].numpy() for part in module(torch.from_numpy(image)[None])]
        theirs = [part[0] for part in session.run(None, {"image": image[None]})]
        distance = np.linalg.norm(ours[0][:, None] - theirs[0][None], axis=-1)
        nearest = distance.argmin(axis=1)
        cosine = (ours[2] * theirs[2][nearest]).sum(axis=1)
        shares.append(np.mean((distance.min(axis=1) < 0.05) & (cosine > 0.999)))
    if min(shares) < 0.97:
        raise ModelError("97 % of torch's features in the file", f"{min(shares):.3f}", "check the export")
    return float(min(shares))


def description(path: Path, card: dict[str, Any], config: TrainingConfig) -> Manifest:
    """The manifest of the exported file, not yet measured."""
    card = dict(card)
    training = Training(tuple(card.pop("data")), config.seed, card.pop("command"), card.pop("init"))
    return Manifest(
        task="features",
        files={"fp32": ModelFile.of(path)},
        input=InputSpec(config.input_wh),
        outputs=output_specs(path),
        training=training,
        descriptor_dim=DESCRIPTOR_DIM,
        **card,
    )


if __name__ == "__main__":
    raise SystemExit(main())
