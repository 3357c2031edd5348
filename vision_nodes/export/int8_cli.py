"""The verbs `quantize` and `verify`: INT8 by the gate, and every precision on the same pictures."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vision_nodes.engine.manifest import ACCEPTED_LOSS, Manifest, ModelFile
from vision_nodes.errors import ModelError
from vision_nodes.export.calibration import (
    MIN_IMAGES,
    CalibrationSet,
    description_path,
    read_calibration,
    write_description,
)
from vision_nodes.export.gate import HALF, Verdict, record
from vision_nodes.export.half import add_half
from vision_nodes.export.measure import OnnxGraph, processor, time_file
from vision_nodes.export.quantize import Recipe, choose_recipe, quantize
from vision_nodes.export.scorer import Scorer, make_scorer, task_of

AGREEMENT_PICTURES = 32  # where there are no labelled ones


def add_quantize_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vision-nodes quantize`."""
    parser.add_argument("model", type=Path, help="manifest of the FP32 model, models/NAME.yaml")
    _add_pictures(parser, required=True)
    parser.add_argument("--pictures", type=int, default=32, help="how many of them (default 32)")
    parser.add_argument("--score-pictures", type=int, default=100, help="held-out pictures per trial")
    parser.add_argument(
        "--accept-loss", action="store_true", help="keep a file that loses more than the gate; recorded"
    )
    parser.add_argument(
        "--fp16", action="store_true", help="also derive fp16 and int8_fp16 files for TensorRT"
    )


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vision-nodes verify`."""
    parser.add_argument("model", type=Path, help="manifest, models/NAME.yaml")
    _add_pictures(parser, required=False)
    parser.add_argument(
        "--accept-loss", action="store_true", help="release a file that loses more than the gate; recorded"
    )


def _add_pictures(parser: argparse.ArgumentParser, *, required: bool) -> None:
    about = (
        "folder of pictures, or a bag"
        if required
        else "pictures for a model that the chain has no labels for"
    )
    parser.add_argument("--calibration", type=Path, required=required, metavar="DIR|BAG", help=about)
    parser.add_argument("--topic", default="", help="image topic, when the bag has several cameras")


def run_quantize(arguments: argparse.Namespace) -> int:
    """Write `<name>_int8.onnx`, its calibration description, and its measured accuracy.

    The old INT8 file leaves the manifest before it is replaced, the new one enters it last: whatever stops the
    command, no manifest ever names a file that is not whole.
    """
    path = arguments.model
    manifest = Manifest.read(path)
    task = task_of(manifest)
    calibration, spare = _pictures(arguments, manifest, arguments.pictures, split=task[0] is None)
    calibration.check()
    scorer = make_scorer(manifest, task, spare, arguments.score_pictures)
    source, sign = manifest.file_for("fp32"), 1 if scorer.higher_is_better else -1
    reference = scorer.score(source, "fp32", False)
    allowed = scorer.verdict(manifest, "int8", reference, reference).allowed
    recipe, best = choose_recipe(
        source,
        calibration.images,
        lambda file: sign * scorer.score(file, "int8", False),
        sign * reference - allowed,
    )
    verdict = scorer.verdict(manifest, "int8", reference, sign * best)
    if not verdict.passed and not arguments.accept_loss:
        received = f"{verdict.value:.4f} against {reference:.4f} ({scorer.metric})"
        raise ModelError(f"INT8 within {allowed:.4f} of FP32", received, "more pictures, or --accept-loss")
    try:
        manifest = _release(path, manifest, calibration, recipe)
        figures = _measure(manifest, "int8", scorer, verdict)
        manifest = record(figures, verdict, arguments.accept_loss)
        manifest.write(path)
        if arguments.fp16:
            add_half(manifest).write(path)
    except OSError as error:
        raise ModelError(
            f"room and the right to write in {path.parent}",
            str(error),
            "the FP32 model is as it was; make room",
        ) from error
    _show(f"{manifest.name} int8", manifest, "int8")
    return 0


def _pictures(
    arguments: argparse.Namespace, manifest: Manifest, count: int, *, split: bool
) -> tuple[CalibrationSet, list[np.ndarray]]:
    """Pictures to calibrate with, and, where labelled ones are missing (`split`), others between them to compare on."""
    found = read_calibration(arguments.calibration, manifest.input, count * (1 + split), arguments.topic)
    if not split or len(found.images) < 2 * MIN_IMAGES:
        return found, found.images
    return CalibrationSet(found.images[::2], found.source, found.pictures[::2]), found.images[1::2]


def _release(path: Path, manifest: Manifest, calibration: CalibrationSet, recipe: Recipe) -> Manifest:
    """The INT8 file beside the FP32 one and in the manifest; see `run_quantize` for the order."""
    derived = ("int8", "int8_fp16")
    kept = {key: file for key, file in manifest.files.items() if key not in derived}
    accuracy = {key: value for key, value in manifest.accuracy.items() if key not in derived}
    time_ms = {key: value for key, value in manifest.time_ms.items() if key not in derived}
    plain = replace(manifest, files=kept, accuracy=accuracy, time_ms=time_ms)
    if set(kept) != set(manifest.files):
        plain.write(path)
    target = path.parent / f"{manifest.name}_int8.onnx"
    write_description(description_path(path), manifest.name, calibration, asdict(recipe))
    quantize(manifest.file_for("fp32"), target, calibration.images, recipe)
    return replace(plain, files={**kept, "int8": ModelFile.of(target)})


def _measure(manifest: Manifest, precision: str, scorer: Scorer, verdict: Verdict) -> Manifest:
    """The manifest with accuracy on all pictures and time of one precision."""
    assert manifest.path is not None
    file = manifest.path.parent / manifest.files[precision].file
    if scorer.task is None:
        figures = {scorer.metric: round(verdict.value, 4)}
    else:
        values = scorer.task.evaluate_graph(OnnxGraph(file, precision), scorer.task.val_dataset())
        figures = {name: round(value, 4) for name, value in values.items()}
    times = time_file(file, np.zeros(manifest.input.shape[1:], np.uint8))
    return replace(
        manifest,
        accuracy={**manifest.accuracy, precision: {**figures, "on": scorer.on}},
        time_ms={**manifest.time_ms, precision: {**times, "on": processor()}},
    )


def _show(title: str, manifest: Manifest, precision: str) -> None:
    table = Table("figure", "value", title=title)
    for name, value in {**manifest.accuracy[precision], **manifest.time_ms[precision]}.items():
        table.add_row(name, value if isinstance(value, str) else f"{value:.4g}")
    Console().print(table)


def run_verify(arguments: argparse.Namespace) -> int:
    """All precisions on the same pictures; 1 when one loses more than the gate and nobody accepts that.

    The verdict is written to the manifest: a refused file is run by nobody who does not ask for it by name.
    """
    path = arguments.model
    manifest = Manifest.read(path)
    scorer = make_scorer(manifest, task_of(manifest), _spare_pictures(arguments, manifest), 1)
    blank = np.zeros(manifest.input.shape[1:], np.uint8)
    reference = scorer.score(manifest.file_for("fp32"), "fp32", True)
    rows: list[tuple[str, ...]] = []
    refused = False
    for precision in manifest.files:
        file = manifest.file_for(precision)
        if precision in HALF:
            rows.append((precision, "not judged: derived for TensorRT, no reference on a CPU", "", "", ""))
            continue
        value = reference if precision == "fp32" else scorer.score(file, precision, True)
        verdict = scorer.verdict(manifest, precision, reference, value)
        if precision != "fp32":
            manifest = record(manifest, verdict, arguments.accept_loss)
            refused |= not (verdict.passed or arguments.accept_loss)
        rows.append((precision, f"{value:.4f}", _words(manifest, verdict), *_times(file, blank)))
    if manifest != Manifest.read(path):
        manifest.write(path)
    _show_rows(manifest, scorer, rows)
    return int(refused)


def _spare_pictures(arguments: argparse.Namespace, manifest: Manifest) -> list[np.ndarray]:
    if arguments.calibration is None:
        return []
    return _pictures(arguments, manifest, AGREEMENT_PICTURES, split=True)[1]


def _times(file: Path, image: np.ndarray) -> list[str]:
    return [f"{value:.1f}" for value in time_file(file, image).values()]


def _words(manifest: Manifest, verdict: Verdict) -> str:
    if verdict.passed:
        return "within the gate"
    accepted = ACCEPTED_LOSS in manifest.accuracy.get(verdict.precision, {})
    return f"loses {verdict.loss:.4f}, gate {verdict.allowed:.4f}: {'accepted' if accepted else 'REFUSED'}"


def _show_rows(manifest: Manifest, scorer: Scorer, rows: list[tuple[str, ...]]) -> None:
    table = Table(title=f"{manifest.name}, {scorer.on}", title_justify="left")
    for column in ("precision", scorer.metric, "verdict", "ONNX Runtime ms", "OpenVINO ms"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
