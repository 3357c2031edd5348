"""Descriptor decoder: unit norm, length, no direction."""

from __future__ import annotations

import numpy as np
import pytest

from vision_nodes.errors import EngineError
from vision_nodes.tasks.descriptor import DescriptorDecoder

DECODER = DescriptorDecoder(dim=4)


def test_unit_norm_and_a_copy():
    raw = np.array([[3.0, 0.0, 4.0, 0.0]], np.float32)
    descriptor = DECODER.decode({"descriptor": raw})
    raw[:] = 0
    np.testing.assert_allclose(descriptor, [0.6, 0, 0.8, 0], rtol=1e-6)
    assert descriptor.dtype == np.float32


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"descriptor": np.ones((1, 5), np.float32)},
        {"descriptor": np.ones(4, np.float32)},
        {"descriptor": np.zeros((1, 4), np.float32)},
        {"descriptor": np.full((1, 4), np.nan, np.float32)},
    ],
)
def test_unusable_outputs_are_refused(raw: dict[str, np.ndarray]):
    with pytest.raises(EngineError):
        DECODER.decode(raw)
