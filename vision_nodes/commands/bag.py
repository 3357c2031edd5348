"""``vision-nodes bag from-folder | to-folder | from-labelled | info``."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vision_nodes.bags.from_folder import write_folder_bag
from vision_nodes.bags.from_labelled import write_labelled_bag
from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.to_folder import LAYOUTS, write_bag_folder
from vision_nodes.tasks.classes import GENERAL_CLASSES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sub-verbs of `bag`."""
    verbs = parser.add_subparsers(dest="bag_verb", metavar="WHAT", required=True)
    convert = verbs.add_parser(
        "from-folder", help="folder of images, camera.yaml and ground truth -> mcap bag"
    )
    convert.add_argument("folder", type=Path)
    convert.add_argument("out", type=Path, metavar="OUT.mcap")
    convert.add_argument("--compressed", action="store_true", help="store the files' own JPEG or PNG bytes")
    labelled = verbs.add_parser("from-labelled", help="COCO, CamVid-like or RGB-D set -> mcap bag with truth")
    labelled.add_argument("folder", type=Path)
    labelled.add_argument("out", type=Path, metavar="OUT.mcap")
    labelled.add_argument("--split", default="val")
    labelled.add_argument("--limit", type=int, default=0, metavar="N", help="first N pictures")
    export = verbs.add_parser("to-folder", help="bag -> folder of images, camera.yaml and ground truth")
    export.add_argument("bag", type=Path)
    export.add_argument("folder", type=Path, help="new or empty folder")
    export.add_argument("--layout", choices=LAYOUTS, default="7scenes")
    export.add_argument("--topic", default="", help="image topic, when the bag has several cameras")
    info = verbs.add_parser("info", help="topics, types, counts and duration of a bag, also a damaged one")
    info.add_argument("bag", type=Path)


def run(args: argparse.Namespace) -> int:
    """Convert or describe."""
    if args.bag_verb == "from-folder":
        counts = write_folder_bag(args.folder, args.out, compressed=args.compressed)
        _print_table(f"{args.out}", {topic: ("", n) for topic, n in counts.items()})
        return 0
    if args.bag_verb == "from-labelled":
        written = write_labelled_bag(args.folder, args.out, split=args.split, limit=args.limit)
        _print_table(f"{args.out}, truth for {written.task}", {"/image_raw/compressed": ("", written.frames)})
        return 0
    if args.bag_verb == "to-folder":
        counts = write_bag_folder(args.bag, args.folder, args.layout, args.topic, GENERAL_CLASSES)
        _print_table(f"{args.folder}", {kind: ("", n) for kind, n in counts.items()})
        return 0
    reader = BagReader(args.bag)
    counts, types, first, last = Counter[str](), {}, None, None
    for message in reader.messages():
        counts[message.topic] += 1
        types[message.topic] = message.msgtype
        first, last = message.log_time_ns if first is None else first, message.log_time_ns
    seconds = 0.0 if first is None or last is None else (last - first) / 1e9
    _print_table(f"{args.bag}, {seconds:.2f} s", {topic: (types[topic], n) for topic, n in counts.items()})
    if reader.problem:
        Console(stderr=True).print(reader.problem)
        return 1
    return 0


def _print_table(title: str, rows: dict[str, tuple[str, int]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("topic", "type", "messages"):
        table.add_column(column, justify="right" if column == "messages" else "left")
    for topic, (kind, count) in sorted(rows.items()):
        table.add_row(topic, kind, str(count))
    Console().print(table)
