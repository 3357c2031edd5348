"""The gate: how much accuracy a smaller precision may lose, and what the manifest says about one that loses more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vision_nodes.engine.manifest import ACCEPTED_LOSS, REFUSED_LOSS, Manifest
from vision_nodes.engine.manifest_specs import Measurement

HALF = ("fp16", "int8_fp16")  # derived for TensorRT; what a CPU makes of them is no reference


def loss_allowed(task: str, reference: float) -> float:
    """One point of mAP, mIoU or R@1; 2 % of a depth error."""
    return 0.02 * abs(reference) if task == "depth" else 0.01


@dataclass(frozen=True)
class Verdict:
    """One precision against FP32 on the same pictures; `loss` is positive where it is worse."""

    precision: str
    value: float
    loss: float
    allowed: float

    @property
    def passed(self) -> bool:
        """NaN does not pass."""
        return self.loss <= self.allowed


def judge(precision: str, values: tuple[float, float], task: str, higher_is_better: bool) -> Verdict:
    """Verdict on (FP32's, this precision's) value of the task's metric."""
    reference, value = values
    loss = reference - value if higher_is_better else value - reference
    return Verdict(precision, value, loss, loss_allowed(task, reference))


def record(manifest: Manifest, verdict: Verdict, accept_loss: bool) -> Manifest:
    """The manifest with the verdict: within the gate, refused, or its loss accepted by somebody.

    A refused precision is run by nobody who does not ask for it by name (`Manifest.refused`).
    """
    figures = dict(manifest.accuracy.get(verdict.precision, {}))
    figures.pop(REFUSED_LOSS, None)
    figures.pop(ACCEPTED_LOSS, None)
    if not verdict.passed:
        figures[ACCEPTED_LOSS if accept_loss else REFUSED_LOSS] = round(verdict.loss, 5)
    accuracy: Measurement = {**manifest.accuracy, verdict.precision: figures}
    if not figures:
        del accuracy[verdict.precision]
    return replace(manifest, accuracy=accuracy)


def check_task(manifest: Manifest, class_names: tuple[str, ...]) -> str:
    """Why the chain's own pictures cannot score this model; '' when they can."""
    if manifest.class_names and class_names and manifest.class_names != class_names:
        return f"{len(manifest.class_names)} classes of its own"
    return ""
