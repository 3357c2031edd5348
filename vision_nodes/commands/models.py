"""``vision-nodes models list | info | check | pull``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vision_nodes.engine.models import find_model, list_models
from vision_nodes.engine.zoo import read_zoo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sub-verbs of `models`."""
    verbs = parser.add_subparsers(dest="models_verb", metavar="WHAT", required=True)
    verbs.add_parser("list", help="every model found, with its files and accuracy")
    for verb, text in (
        ("info", "all a manifest says"),
        ("check", "hashes, and the rules an ONNX file must keep for TensorRT (needs onnx)"),
    ):
        sub = verbs.add_parser(verb, help=text)
        sub.add_argument("model", help="name or manifest path")
    sub = verbs.add_parser("pull", help="fetch a public model and convert it (needs the train extra)")
    sub.add_argument("model", help="name in the zoo, see `models list`")
    sub.add_argument(
        "--mirror", type=Path, metavar="DIR", help="directory with the published files, for no internet"
    )
    sub.add_argument(
        "--cache", type=Path, metavar="DIR", help="default: VISION_NODES_CACHE, else ~/.cache/vision_nodes"
    )


def run(args: argparse.Namespace) -> int:
    """Print; `check` returns 1 when a rule is broken."""
    console = Console()
    if args.models_verb == "list":
        console.print(_list())
        console.print(_zoo())
        return 0
    if args.models_verb == "pull":
        return _pull(args, console)
    manifest, _ = find_model(args.model)
    if args.models_verb == "info":
        console.print(Path(manifest.path).read_text() if manifest.path else str(manifest))
        return 0
    for precision in manifest.files:
        manifest.file_for(precision)
    from vision_nodes.engine.lint import ERROR, lint_model

    found = lint_model(manifest)
    count = sum(map(len, found.values()))
    if count == 0:
        console.print(f"{manifest.name}: {', '.join(found)}: hashes and all rules kept")
        return 0
    table = Table(title=f"{manifest.name}: {count} findings", title_justify="left")
    for column in ("file", "severity", "rule", "node", "reason", "remedy"):
        table.add_column(column)
    for precision, findings in found.items():
        for f in findings:
            table.add_row(precision, f.severity, str(f.rule), f.node, f.reason, f.remedy)
    console.print(table)
    return int(any(f.severity == ERROR for findings in found.values() for f in findings))


def _pull(args: argparse.Namespace, console: Console) -> int:
    from vision_nodes.export.pull import pull

    with console.status(f"{args.model}: fetch, check, convert"):
        manifest = pull(args.model, args.mirror, args.cache)
    console.print(f"{manifest.name}: {manifest.description}", markup=False, soft_wrap=True)
    research = ", for research" if manifest.label == "research" else ""
    console.print(
        f"licence of the weights: {manifest.licence}{research}; {manifest.path}", markup=False, soft_wrap=True
    )
    return 0


def _zoo() -> Table:
    """What can be pulled, and what has been."""
    have = {manifest.name for manifest in list_models()}
    table = Table(title="public models: vision-nodes models pull NAME", title_justify="left")
    for column in ("name", "task", "MB", "licence", "pulled", "description"):
        table.add_column(column, no_wrap=column == "name")
    for entry in read_zoo().values():
        size = sum(part.bytes for part in entry.sources[0].parts) / 1e6
        licence = entry.licence + (f" ({entry.label})" if entry.label else "")
        pulled = "yes" if entry.name in have else ""
        table.add_row(entry.name, entry.task, f"{size:.1f}", licence, pulled, entry.description)
    return table


def _list() -> Table:
    table = Table(title="models", title_justify="left")
    for column in ("name", "task", "input", "files", "accuracy", "licence"):
        table.add_column(column, no_wrap=column == "name")
    for manifest in list_models():
        width, height = manifest.input.size_wh
        files = "\n".join(f"{p} {f.bytes / 1e6:.1f} MB" for p, f in manifest.files.items())
        accuracy = "\n".join(
            f"{p} " + ", ".join(f"{k} {v}" for k, v in a.items()) for p, a in manifest.accuracy.items()
        )
        licence = manifest.licence + (f" ({manifest.label})" if manifest.label else "")
        table.add_row(manifest.name, manifest.task, f"{width}x{height}", files, accuracy, licence)
    return table
