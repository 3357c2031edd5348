"""``vision-nodes <verb>``: every command of the package. Each verb imports what it needs, when it runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from vision_nodes import __version__
from vision_nodes.errors import VisionNodesError

# verb -> (module, one line of help); the module has add_arguments(parser) and run(args) -> exit status, or,
# when it serves several verbs, add_VERB_arguments and run_VERB
VERBS = {
    "demo": (
        "vision_nodes.commands.demo",
        "render a drive, run the graph on it live, score it, write demo_out/",
    ),
    "replay": ("vision_nodes.commands.replay", "run the graph over a bag in lock-step and write all results"),
    "evaluate": (
        "vision_nodes.commands.evaluate",
        "score bags, results bags and labelled sets; report, gates, comparison",
    ),
    "compare-features": (
        "vision_nodes.export.compare_features",
        "pose AUC and time of local features beside XFeat, ALIKED, RootSIFT, ORB (needs the train extra)",
    ),
    "bag": ("vision_nodes.commands.bag", "make and inspect bags"),
    "map": ("vision_nodes.commands.map", "build a place map from posed pictures, localise pictures in it"),
    "bench": ("vision_nodes.commands.bench", "measure rate, latency, CPU and memory of the graph"),
    "models": ("vision_nodes.commands.models", "list, describe and check models"),
    "import": ("vision_nodes.export.import_cli", "wrap your own ONNX file so that every node runs it"),
    "train": ("vision_nodes.training.cli", "train a network (needs the train extra)"),
    "export": ("vision_nodes.export.cli", "checkpoint to ONNX (needs the train extra)"),
    "quantize": ("vision_nodes.export.int8_cli", "ONNX to INT8 (needs the train extra)"),
    "verify": ("vision_nodes.export.int8_cli", "accuracy and speed of every precision of a model"),
    "build": ("vision_nodes.commands.build", "build the TensorRT engine of a model on this GPU"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run one verb, return its exit status: 0 done, 1 an error that was explained, 2 wrong usage."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(argv).parse_args(argv)
        logging.basicConfig(
            level=logging.DEBUG if args.verbose else logging.WARNING,
            format="%(levelname)s %(name)s: %(message)s",
        )
        return int(args.run(args))
    except VisionNodesError as error:
        print(f"vision-nodes: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(
            f"vision-nodes: expected the package {error.name!r}; received: not installed; "
            f"remedy: make setup, or pip install 'vision_nodes[demo,train]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vision-nodes", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("-v", "--verbose", action="store_true", help="log details")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    wanted = next((word for word in argv if word in VERBS), None)
    for verb, (module, text) in VERBS.items():
        sub = verbs.add_parser(verb, help=text, description=text)
        if verb == wanted:  # only the verb that runs is imported: --help stays fast
            command = import_module(module)
            add = getattr(command, f"add_{verb}_arguments", None) or command.add_arguments
            add(sub)
            sub.set_defaults(run=getattr(command, f"run_{verb}", None) or command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
