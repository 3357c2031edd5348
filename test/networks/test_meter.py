"""METER: the published files load strictly and see what they are known to see."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.errors import ModelError
from vision_nodes.networks.meter import Meter, load_meter

SHARED = Path(__file__).parents[2].parent / "shared"
KITCHEN = SHARED / "data" / "labelled" / "7scenes_redkitchen_rgbd"
needs_weights = pytest.mark.skipif(not (SHARED / "weights" / "meter_depth").exists(), reason="weights absent")


def test_output_is_a_quarter_of_the_input():
    assert Meter("nyu")(torch.zeros(2, 3, 64, 128)).shape == (2, 16, 32)


def test_unknown_scene_is_refused():
    with pytest.raises(ModelError, match="nyu"):
        Meter("moon")


@needs_weights
@pytest.mark.skipif(not KITCHEN.exists(), reason="shared data absent")
def test_indoor_file_repeats_its_known_error_on_the_kitchen():
    """AbsRel 0.320 raw, 0.194 median-scaled over all 50 pictures is on record; every tenth must agree."""
    network = load_meter("nyu")
    raw, scaled = [], []
    for line in (KITCHEN / "test.txt").read_text().splitlines()[::10]:
        picture, truth = (KITCHEN / part for part in line.split()[:2])
        image = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (256, 192), interpolation=cv2.INTER_AREA)
        with torch.no_grad():
            depth = network(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0].numpy()
        true = cv2.imread(str(truth), cv2.IMREAD_UNCHANGED) / 1000.0
        depth, known = cv2.resize(depth, true.shape[::-1]), true > 0
        raw.append(np.mean(np.abs(depth - true)[known] / true[known]))
        depth = depth * np.median(true[known]) / np.median(depth[known])
        scaled.append(np.mean(np.abs(depth - true)[known] / true[known]))
    assert np.mean(raw) == pytest.approx(0.320, abs=0.04)
    assert np.mean(scaled) == pytest.approx(0.194, abs=0.03)
