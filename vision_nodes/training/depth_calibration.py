"""Pictures that INT8 depth is calibrated with: ``python -m vision_nodes.training.depth_calibration --out FOLDER``.

Training views of rooms and worlds and COCO training pictures, two of three of 300 drawn. Nothing held out is among
them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from vision_nodes.errors import TrainingError
from vision_nodes.training.images import read_rgb
from vision_nodes.training.paths import find_data

# folder, files held out at its end, views drawn
SOURCES = (
    ("runs/rooms", 20, 60),
    ("runs/rooms_busy", 20, 40),
    ("runs/worlds/views", 10, 70),
    ("runs/drives/views", 10, 60),
)
PICTURES = 70
SIZE_WH = (256, 192)


def calibration_pictures(seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """(name, (192, 256, 3) uint8 RGB) of each. Raises TrainingError when renderings are missing."""
    rng = np.random.default_rng(seed)
    drawn: list[tuple[str, np.ndarray]] = []
    for folder, held_out, count in SOURCES:
        files = sorted(Path(folder).glob("*.npz"))[:-held_out]
        if not files:
            raise TrainingError(
                f"rendered views in {folder}", "none", "render them, see configs/depth_wide.yaml"
            )
        for number in rng.choice(len(files), count):
            views = np.load(files[number])["images"]
            drawn.append(("room" if "rooms" in folder else "world", views[rng.integers(len(views))]))
    files = sorted(find_data("labelled/coco_val2017_subset/images/train").glob("*.jpg"))
    for number in rng.choice(len(files), PICTURES, replace=False):
        drawn.append(("picture", cv2.resize(read_rgb(files[number]), SIZE_WH, interpolation=cv2.INTER_AREA)))
    return [(f"{kind}_{i:03d}", image) for i, (kind, image) in enumerate(drawn) if i % 3 != 2]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/calibration_depth_wide"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, image in calibration_pictures():
        cv2.imwrite(str(out / f"{name}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
