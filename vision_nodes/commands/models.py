"""``vision-nodes models list | info | check``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vision_nodes.engine.models import find_model, list_models


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


def run(args: argparse.Namespace) -> int:
    """Print; `check` returns 1 when a rule is broken."""
    console = Console()
    if args.models_verb == "list":
        console.print(_list())
        return 0
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


def _list() -> Table:
    table = Table(title="models", title_justify="left")
    for column in ("name", "task", "input", "files", "accuracy", "licence"):
        table.add_column(column)
    for manifest in list_models():
        width, height = manifest.input.size_wh
        files = "\n".join(f"{p} {f.bytes / 1e6:.1f} MB" for p, f in manifest.files.items())
        accuracy = "\n".join(
            f"{p} " + ", ".join(f"{k} {v}" for k, v in a.items()) for p, a in manifest.accuracy.items()
        )
        licence = manifest.licence + (f" ({manifest.label})" if manifest.label else "")
        table.add_row(manifest.name, manifest.task, f"{width}x{height}", files, accuracy, licence)
    return table
