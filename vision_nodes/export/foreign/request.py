"""What the user says about a foreign network, and what a decoder supposes where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vision_nodes.camera.resize_map import Fit
from vision_nodes.errors import ConfigError

# (mean, std) per RGB channel in pixel values 0..255: network input = (pixel - mean) / std
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "pixel": ((0.0,) * 3, (1.0,) * 3),
    "unit": ((0.0,) * 3, (255.0,) * 3),
    "symmetric": ((127.5,) * 3, (127.5,) * 3),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
LAYOUTS, COLOURS = ("nchw", "nhwc"), ("rgb", "bgr", "gray")


@dataclass(frozen=True)
class Normalisation:
    """Network input = (pixel - mean) / std, pixel 0..255, channels in RGB order whatever the network's order."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Normalisation:
        """A name of `NORMALISATIONS`, or ``R,G,B/R,G,B`` = mean/std in pixel values.

        Raises:
            ConfigError: neither.
        """
        if text in NORMALISATIONS:
            return cls(*NORMALISATIONS[text])
        wanted = f"{', '.join(NORMALISATIONS)}, or MEAN/STD in pixel values"
        error = ConfigError(wanted, repr(text), "e.g. --normalise 123.7,116.3,103.5/58.4,57.1,57.4")
        try:
            mean, std = (tuple(float(part) for part in side.split(",")) for side in text.split("/"))
        except ValueError:
            raise error from None
        if len(mean) != 3 or len(std) != 3 or not np.isfinite((*mean, *std)).all() or min(std) <= 0:
            raise error
        return cls(mean, std)


@dataclass(frozen=True)
class Request:
    """Options of ``vision-nodes import``; None or '' = the decoder's default, or read from the file.

    Attributes:
        size_wh: network input, needed when the file leaves it open.
        outputs: names of the file's outputs to use, when it has more than the decoder wants.
        candidates: boxes or keypoints that the graph hands on, best first.
        mask_wh: size the class scores are enlarged to before the arg max.
        fx_canonical: px at the network's input width: focal length of the pictures a metric depth network learnt from.
        metres_per_unit: of a metric depth network's output.
    """

    size_wh: tuple[int, int] | None = None
    normalisation: str = ""
    layout: str = ""
    colour: str = ""
    fit: str = ""
    outputs: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    names_in_file: bool = False  # the exporter's own names, beyond doubt as many as the head has classes
    scores: str = ""  # "logits" | "probabilities"; '' = what the test picture shows
    box_unit: str = ""  # "pixels" | "unit"
    candidates: int = 300
    score_threshold: float | None = None
    nms_iou: float | None = None
    mask_wh: tuple[int, int] | None = None
    fx_canonical: float | None = None
    metres_per_unit: float = 1.0
    max_m: float = 80.0
    gem_power: float = 3.0

    def __post_init__(self) -> None:
        for value, allowed, option in (
            (self.layout, LAYOUTS, "--layout"),
            (self.colour, COLOURS, "--colour"),
            (self.fit, [fit.value for fit in Fit], "--fit"),
            (self.scores, ("logits", "probabilities"), "--scores"),
            (self.box_unit, ("pixels", "unit"), "--box-unit"),
        ):
            if value and value not in allowed:
                raise ConfigError(f"{option} {' | '.join(allowed)}", repr(value), "choose one")
        positive = {"--candidates": self.candidates, "--metres-per-unit": self.metres_per_unit}
        positive |= {"--max-m": self.max_m, "--gem-power": self.gem_power}
        if self.fx_canonical is not None:
            positive["--fx-canonical"] = self.fx_canonical
        for option, number in positive.items():
            if not (np.isfinite(number) and number > 0):
                raise ConfigError(f"{option} above 0", str(number), "correct it")


@dataclass(frozen=True)
class Defaults:
    """What networks of one family usually want."""

    normalisation: str = "imagenet"
    colour: str = "rgb"
    fit: str = "stretch"
    postprocess: dict[str, float] = field(default_factory=dict)
