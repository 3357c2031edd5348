"""Classes are told apart by colour, and the same thing has the same colour in every model."""

from __future__ import annotations

import numpy as np

from vision_nodes.engine.models import find_model
from vision_nodes.overlay import palette_for
from vision_nodes.tasks.classes import GENERAL_CLASSES, GENERAL_PALETTE


def test_no_class_no_color() -> None:
    assert palette_for([]).shape == (0, 3)


def test_our_classes_have_our_colors() -> None:
    assert (palette_for(GENERAL_CLASSES) == GENERAL_PALETTE).all()


def test_other_label_sets_share_them() -> None:
    tree, car = palette_for(["tree", "car"])
    assert (tree == GENERAL_PALETTE[GENERAL_CLASSES.index("vegetation")]).all()
    assert (car == GENERAL_PALETTE[GENERAL_CLASSES.index("vehicle")]).all()


def test_shipped_segmenters_draw_classes_that_can_be_told_apart() -> None:
    for name in ("segmentation", "street"):
        palette = palette_for(find_model(name)[0].class_names).astype(int)
        apart = np.abs(palette[:, None] - palette[None]).sum(-1) + 999 * np.eye(len(palette), dtype=int)
        assert apart.min() >= 60, name
