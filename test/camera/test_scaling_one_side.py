"""A picture of which only one side has the target's length is still resampled."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.camera.scaling import resample


@pytest.mark.parametrize("source_wh", [(416, 277), (277, 416), (416, 832), (416, 416)])
def test_resample_gives_the_target_size(source_wh: tuple[int, int]) -> None:
    image = np.zeros((source_wh[1], source_wh[0], 3), np.uint8)
    assert resample(image, (416, 416)).shape == (416, 416, 3)
