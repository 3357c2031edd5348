"""How far two engines of one model agree on the same images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from vision_nodes.engine.base import Engine

NEAR_PX = 1.5  # keypoints this close are the same point
SAME_IOU = 0.5  # boxes of one class that overlap this much are the same object
# A sound build is far above these (INT8: 28 dB measured), a broken one far below; task metrics are the gate.
LEAST_SQNR_DB = {"fp32": 30.0, "fp16": 25.0, "int8": 10.0, "int8_fp16": 10.0}
_TOP_K = {"detection": ("boxes", "scores", "class_ids"), "features": ("keypoints", "scores", "descriptors")}
_LEAST_SCORE = {"detection": 0.3, "features": 0.0}
LEAST_AGREEMENT = {"fp32": 0.98, "fp16": 0.95, "int8": 0.8, "int8_fp16": 0.8}


@dataclass
class OutputParity:
    """One output over all images.

    Attributes:
        max_abs: largest absolute difference, in the output's unit.
        sqnr_db: 10 log10(sum reference^2 / sum difference^2); inf = identical. Float outputs only, else NaN.
        agreement: fraction of equal values for integers (argmax agreement); for boxes and keypoints the
            fraction of the reference's that the candidate has too, in any order; NaN for other floats.
        finite: whether every value of the candidate is.
        ordered: False for top-k outputs, whose rows may swap; only `agreement` says something there.
    """

    max_abs: float = 0.0
    finite: bool = True
    ordered: bool = True
    _signal: float = field(default=0.0, repr=False)
    _noise: float = field(default=0.0, repr=False)
    _equal: float = field(default=0.0, repr=False)
    _count: int = field(default=0, repr=False)
    _is_float: bool = field(default=True, repr=False)

    @property
    def sqnr_db(self) -> float:
        if not self._is_float:
            return math.nan
        if self._noise == 0:
            return math.inf
        ratio = self._signal / self._noise  # 0 when nothing was expected, or the candidate is not finite
        return 10 * math.log10(ratio) if ratio else -math.inf

    @property
    def agreement(self) -> float:
        return self._equal / self._count if self._count else math.nan

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """Count one image's pair, element by element."""
        self._is_float = reference.dtype.kind == "f"
        a, b = reference.astype(np.float64), candidate.astype(np.float64)
        self.finite = self.finite and bool(np.isfinite(b).all())
        difference = np.nan_to_num(b - a, nan=np.inf, posinf=np.inf, neginf=-np.inf)
        self.max_abs = max(self.max_abs, float(np.abs(difference).max(initial=0.0)))
        self._signal += float(np.sum(a * a))
        self._noise += float(np.sum(difference * difference))
        if not self._is_float and self.ordered:
            self.add_agreement(float(np.sum(reference == candidate)), reference.size)

    def add_agreement(self, equal: float, count: int) -> None:
        """Count matched elements where the order carries no meaning."""
        self._equal += equal
        self._count += count


def compare_engines(
    reference: Engine, candidate: Engine, images: Iterable[np.ndarray]
) -> dict[str, OutputParity]:
    """Run both on every image and compare output by output.

    Top-k outputs are compared element by element, where one swapped rank moves everything, and as a set
    (`agreement` of ``boxes`` and ``keypoints``), which is the one to judge by; only those above the
    manifest's ``score_threshold`` (else 0.3 for boxes, 0 for keypoints) must be found again.

    Args:
        reference: usually FP32 on ONNX Runtime.
        candidate: the same model in another precision or on another backend.
        images: (H, W, 3) or (B, H, W, 3) uint8 RGB of the engines' input size.
    """
    report = {name: OutputParity() for name in reference.manifest.outputs}
    groups = list(_top_k_groups(reference))
    for _, names in groups:
        for name in names:
            report[name].ordered = False
    for image in images:
        expected = {name: value.copy() for name, value in reference.infer(image).items()}
        received = candidate.infer(image)
        for name, parity in report.items():
            parity.add(expected[name], received[name])
        for task, names in groups:
            threshold = reference.manifest.postprocess.get("score_threshold", _LEAST_SCORE[task])
            for index in range(reference.batch):
                a, b = ([outputs[name][index] for name in names] for outputs in (expected, received))
                kept = a[1] >= threshold
                match = same_boxes if task == "detection" else same_points
                found = match(a[0][kept], a[2][kept], b[0], b[2])
                report[names[0]].add_agreement(float(found.sum()), int(kept.sum()))
    return report


def _top_k_groups(engine: Engine) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """(task, names of its outputs in this file: place, score, and class or descriptor)."""
    for task, (place, score, what) in _TOP_K.items():
        if task == engine.manifest.task:
            yield task, (place, score, what)
        elif task in engine.manifest.heads:
            ours = engine.manifest.heads[task].outputs
            yield task, (ours[place], ours[score], ours[what])


def problems(report: dict[str, OutputParity], precision: str) -> list[str]:
    """What shows that a build of that precision is broken; empty = sound."""
    found = []
    for name, parity in report.items():
        if not parity.finite:
            found.append(f"{name} has values that are not finite")
        elif not math.isnan(parity.agreement):
            if parity.agreement < LEAST_AGREEMENT[precision]:
                found.append(f"{name} agrees in {parity.agreement:.1%}, not {LEAST_AGREEMENT[precision]:.0%}")
        elif parity.ordered and parity.sqnr_db < LEAST_SQNR_DB[precision]:
            found.append(f"{name} has {parity.sqnr_db:.1f} dB, not {LEAST_SQNR_DB[precision]:.0f} dB")
    return found


def probe_images(shape: tuple[int, int, int, int], count: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Deterministic (B, H, W, 3) uint8 pictures with structure at every scale, where no real ones are at hand."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        image = np.zeros(shape)
        for cell in (64, 16, 4, 1):
            rows, columns = -(-shape[1] // cell), -(-shape[2] // cell)
            noise = rng.normal(0, 12 * math.sqrt(cell), (shape[0], rows, columns, 3))
            image += noise.repeat(cell, axis=1).repeat(cell, axis=2)[:, : shape[1], : shape[2]]
        images.append(np.clip(image + 118, 0, 255).astype(np.uint8))
    return images


def same_boxes(
    boxes: np.ndarray, class_ids: np.ndarray, others: np.ndarray, other_ids: np.ndarray
) -> np.ndarray:
    """(N,) bool: which `boxes` (N, 4) have one of their class among `others` (M, 4) with IoU >= `SAME_IOU`."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    overlap = np.prod(np.maximum(bottom_right - top_left, 0), axis=2)
    area, other_area = (np.prod(np.maximum(b[:, 2:] - b[:, :2], 0), axis=1) for b in (boxes, others))
    union = np.maximum(area[:, None] + other_area[None] - overlap, 1e-9)
    fits = (overlap / union >= SAME_IOU) & (class_ids[:, None] == other_ids[None])
    return np.asarray(fits.any(axis=1))


def same_points(points: np.ndarray, _: np.ndarray, others: np.ndarray, __: np.ndarray) -> np.ndarray:
    """(N,) bool: which `points` (N, 2) have one of `others` (M, 2) within `NEAR_PX`, whatever its descriptor."""
    distance = np.linalg.norm(points[:, None] - others[None], axis=2)
    return np.asarray((distance <= NEAR_PX).any(axis=1))
