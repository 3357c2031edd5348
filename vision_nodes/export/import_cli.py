"""The verb `import`: a foreign ONNX file becomes a model that every node and command takes."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vision_nodes.camera.resize_map import Fit
from vision_nodes.errors import ConfigError
from vision_nodes.export.foreign.decoders import ALIASES, DECODERS
from vision_nodes.export.foreign.importer import Imported, check_free, import_onnx, name_from
from vision_nodes.export.foreign.names import read_names
from vision_nodes.export.foreign.request import COLOURS, LAYOUTS, NORMALISATIONS, Request
from vision_nodes.resources import user_models

NODE_TASKS = ("detection", "segmentation", "depth", "place")  # tasks whose node takes a model
CANDIDATES = {"features": 512}  # per task; 300 for boxes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """File, head, how the picture is prepared, where to."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _decoders_text()
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.onnx")
    add("--task", required=True, choices=sorted({decoder.task for decoder in DECODERS.values()}))
    add("--decoder", required=True, metavar="DECODER", help="family of the network's head, see below")
    add(
        "--names",
        default="",
        metavar="FILE|coco80",
        help="class names (txt, yaml, json); default: those in the file",
    )
    add("--size", default="", metavar="WxH", help="network input, where the file leaves it open")
    add(
        "--normalise",
        default="",
        metavar="|".join(NORMALISATIONS),
        help="or R,G,B/R,G,B: mean/std in pixel values",
    )
    add("--layout", default="", choices=LAYOUTS, help="default: from the shape of the input")
    add("--colour", default="", choices=COLOURS, help="order of the channels the network takes")
    add("--fit", default="", choices=[fit.value for fit in Fit], help="how camera images fill the input")
    add("--outputs", default="", metavar="NAME,NAME", help="which of the file's outputs to decode")
    add("--scores", default="", choices=("logits", "probabilities"), help="default: seen on a test picture")
    add(
        "--box-unit", default="", choices=("pixels", "unit"), help="boxes in pixels, or shares of the picture"
    )
    add("--candidates", type=int, metavar="N", help="boxes (300) or keypoints (512) handed on")
    add("--score-threshold", type=float, metavar="S", help="written to the manifest")
    add("--mask-size", default="", metavar="WxH", help="enlarge class scores before the arg max")
    add(
        "--fx-canonical", type=float, metavar="PX", help="metric depth: focal length of the training pictures"
    )
    add(
        "--metres-per-unit",
        type=float,
        default=1.0,
        metavar="M",
        help="metric depth: e.g. 0.01 for centimetres",
    )
    add("--max-m", type=float, default=80.0, metavar="M", help="metric depth: as far as the network can say")
    add("--gem-power", type=float, default=3.0, metavar="P", help="exponent of the gem decoder")
    add("--name", default="", help="model name; default: the file's")
    add("--licence", default="unknown", help="of the weights, for the manifest")
    add("--source", default="", help="where they come from, for the manifest")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: VISION_NODES_MODELS, else ~/.local/share/vision_nodes/models",
    )
    add("--overwrite", action="store_true", help="replace a model of that name in --out")


def _decoders_text() -> str:
    lines = ["decoders:"]
    for name, decoder in DECODERS.items():
        also = ", ".join(alias for alias, canonical in ALIASES.items() if canonical == name)
        lines.append(f"  {decoder.task:13} {name:11} {decoder.text}" + (f" [also: {also}]" if also else ""))
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    """Import, then say how the file was understood and how to run it."""
    folder = args.out or user_models()
    name = args.name or name_from(args.file)
    check_free(name, folder, args.overwrite)
    about = {"licence": args.licence, "source": args.source or args.file.name, "command": _command()}
    if args.score_threshold is not None:
        about["score_threshold"] = str(args.score_threshold)
    try:
        imported = import_onnx(args.file, (folder, name), (args.task, args.decoder), _request(args), about)
    except OSError as error:
        raise ConfigError(
            f"a folder that can be written: {folder}", str(error), "choose --out DIR"
        ) from error
    _show(imported)
    return 0


def _request(args: argparse.Namespace) -> Request:
    return Request(
        size_wh=_size(args.size, "--size"),
        normalisation=args.normalise,
        layout=args.layout,
        colour=args.colour,
        fit=args.fit,
        outputs=tuple(part.strip() for part in args.outputs.split(",") if part.strip()),
        class_names=read_names(args.names) if args.names else (),
        scores=args.scores,
        box_unit=args.box_unit,
        candidates=args.candidates if args.candidates is not None else CANDIDATES.get(args.task, 300),
        mask_wh=_size(args.mask_size, "--mask-size"),
        fx_canonical=args.fx_canonical,
        metres_per_unit=args.metres_per_unit,
        max_m=args.max_m,
        gem_power=args.gem_power,
    )


def _size(text: str, option: str) -> tuple[int, int] | None:
    if not text:
        return None
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) * int(height) > 0):
        raise ConfigError(f"{option} WIDTHxHEIGHT", repr(text), f"e.g. {option} 640x480")
    return int(width), int(height)


def _command() -> str:
    """What was typed, without the directories of this machine."""
    words = [os.path.basename(word) if "/" in word else word for word in sys.argv[1:]]
    return "vision-nodes " + " ".join(map(shlex.quote, words))


def _show(imported: Imported) -> None:
    manifest, wrapped = imported.manifest, imported.wrapped
    table = Table(title=f"{manifest.path}", title_justify="left", show_header=False)
    image, spec = wrapped.image, manifest.input
    table.add_row(
        "input", f"{spec.size_wh[0]}x{spec.size_wh[1]} {spec.fit.value}; inside {image.layout} {image.colour}"
    )
    table.add_row(
        "pixels", f"(pixel - {list(image.normalisation.mean)}) / {list(image.normalisation.std)}, RGB order"
    )
    for output, have in manifest.outputs.items():
        table.add_row("output", f"{output} {have.dtype} {have.shape}")
    if manifest.class_names:
        shown = ", ".join(manifest.class_names[:6]) + (", ..." if len(manifest.class_names) > 6 else "")
        table.add_row("classes", f"{len(manifest.class_names)}: {shown}")
    table.add_row(
        "checked", f"raw outputs equal the file's own on a test picture within {wrapped.difference:.1e}"
    )
    for note in wrapped.notes:
        table.add_row("note", note)
    for finding in imported.findings:
        table.add_row(f"TensorRT {finding.severity}", f"{finding.node}: {finding.reason}; {finding.remedy}")
    console = Console()
    console.print(table)
    at = manifest.path if manifest.path is not None else manifest.name
    command = f"replay BAG OUT.mcap --task {manifest.task} --model {manifest.task}={at}"
    if manifest.task not in NODE_TASKS:
        command = f"models check {at}"
    console.print(f"next: vision-nodes {command}", markup=False, soft_wrap=True)
