"""What a decoder hands back, and the checks that decoders share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vision_nodes.engine.manifest import DepthSpec
from vision_nodes.errors import ConfigError, ModelError
from vision_nodes.export.foreign.reference import RawOutput
from vision_nodes.export.foreign.request import Request


@dataclass(frozen=True)
class Wrapped:
    """Manifest keys that follow from the head, and what was found out about it, in words."""

    class_names: tuple[str, ...] = ()
    depth: DepthSpec | None = None
    descriptor_dim: int | None = None
    notes: list[str] = field(default_factory=list)


def one_output(outputs: list[RawOutput], wanted: str) -> RawOutput:
    """The only output. Raises ConfigError when there are several: --outputs chooses."""
    if len(outputs) != 1:
        raise ConfigError(f"one output, {wanted}", described(outputs), "choose with --outputs NAME")
    return outputs[0]


def described(outputs: Iterable[RawOutput]) -> str:
    """Names and shapes, for messages."""
    return ", ".join(f"{o.name} {o.shape}" for o in outputs) or "none"


def wrong_shape(wanted: str, outputs: Iterable[RawOutput]) -> ModelError:
    """The error of a head that is not of the decoder's layout."""
    return ModelError(
        f"an output {wanted}", described(outputs), "choose another --decoder, or --outputs NAME"
    )


def check_names(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """`names` when there are as many as the head has classes. Raises ConfigError."""
    if len(names) == count:
        return names
    received = f"{len(names)} names" if names else "none, and none in the file"
    remedy = "--names FILE (txt, yaml, json) with one name per class, in the network's order"
    if count == 80:
        remedy += "; --names coco80 if these are COCO's"
    raise ConfigError(f"{count} class names, as the head has classes", received, remedy)


def are_logits(sample: np.ndarray, request: Request, notes: list[str], what: str = "class scores") -> bool:
    """Whether scores still want their sigmoid or softmax: said with --scores, else seen on the test picture."""
    if request.scores:
        return request.scores == "logits"
    logits = bool(sample.min() < -1e-3 or sample.max() > 1 + 1e-3)
    reach = f"{sample.min():.3g} to {sample.max():.3g} on the test picture"
    notes.append(f"{what} taken as {'logits' if logits else 'probabilities'}: {reach}")
    return logits
