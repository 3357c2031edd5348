"""``vision-nodes evaluate INPUT…``: run the graph once where needed, score what it published, report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from vision_nodes.commands.replay import parse_parameters
from vision_nodes.errors import ConfigError
from vision_nodes.evaluation.compare import Comparison, compare_runs, write_comparison
from vision_nodes.evaluation.gates import Gate, GateResult, check_gates, parse_gate, write_junit
from vision_nodes.evaluation.many import Outcome, merge, run_many
from vision_nodes.evaluation.run import GRAPH_TASKS, Job, evaluate, nothing_scored
from vision_nodes.evaluation.summary_page import write_summary

HELP_INPUT = (
    "bag (the graph runs over it), results bag of replay or demo (scored only), sequence folder, labelled set "
    "(COCO .json or folder, CamVid-like folder, RGB-D folder), or a folder with query/, ref/ and ground_truth.csv"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs, truth, what runs, gates, comparison, many inputs."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=HELP_INPUT)
    parser.add_argument("--out", type=Path, default=Path("evaluation_out"), help="folder for all results")
    parser.add_argument("--ground-truth", default="", metavar="BAG", help="bag with the /ground_truth topics")
    parser.add_argument("--task", action="append", default=[], choices=GRAPH_TASKS, help="repeatable")
    parser.add_argument("--model", action="append", default=[], metavar="TASK=NAME[:PRECISION]")
    parser.add_argument("--param", action="append", default=[], metavar="NODE.NAME=VALUE")
    parser.add_argument("--live", action="store_true", help="play through live topics: drops and latencies")
    parser.add_argument("--attach", action="store_true", help="as --live, into a graph that already runs")
    parser.add_argument("--topic", default="", help="image topic, when a bag has several cameras")
    parser.add_argument("--split", default="val", help="of a labelled set (default val)")
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="first N pictures of a labelled set"
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="TASK.FIGURE=VALUE",
        help="gate: at least VALUE, for errors at most (or say >=, <=); status 1 when it fails",
    )
    parser.add_argument("--junit", type=Path, help="gates as JUnit XML (default OUT/gates.xml)")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="two results bags, or two models TASK=NAME[:PRECISION] run over INPUT",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="inputs at the same time")
    parser.add_argument("--cluster", default="", metavar="ADDRESS", help="Dask scheduler, tcp://host:8786")


def run(args: argparse.Namespace) -> int:
    """0 = scored and every gate passed, 1 = a gate failed or nothing could be scored."""
    gates = [parse_gate(text) for text in args.require]
    args.out.mkdir(parents=True, exist_ok=True)
    jobs = make_jobs(args)
    if args.compare:
        return _run_comparison(args, jobs)
    if len(jobs) == 1 and not args.cluster:
        outcomes = [Outcome(jobs[0], _evaluate_with_progress(jobs[0]))]
    else:
        outcomes = _evaluate_many(jobs, args.workers, args.cluster)
        write_summary(merge(outcomes), args.out)
    for outcome in outcomes:
        print_outcome(outcome)
    lacking = [nothing_scored(o.metrics) or o.error for o in outcomes if o.error or nothing_scored(o.metrics)]
    failed = _report_gates(outcomes, gates, args.junit or args.out / "gates.xml") if gates else 0
    return int(failed > 0 or len(lacking) == len(outcomes))


def make_jobs(args: argparse.Namespace) -> list[Job]:
    """A job per input; several inputs get a folder each, named after the input."""
    parameters = parse_parameters([], args.param)
    models = {task: values["model"] for task, values in _models(args.model).items()}
    outs = [args.out] if len(args.inputs) == 1 else _folders(args.inputs, args.out)
    return [
        Job(
            input=path,
            out=str(out),
            ground_truth=args.ground_truth,
            tasks=tuple(args.task),
            models=models,
            parameters=parameters,
            topic=args.topic,
            split=args.split,
            limit=args.limit,
            live=args.live or args.attach,
            attach=args.attach,
        )
        for path, out in zip(args.inputs, outs)
    ]


def _models(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {node.removesuffix("_node"): values for node, values in parse_parameters(list(texts), []).items()}


def _folders(inputs: Sequence[str], out: Path) -> list[Path]:
    """Distinct folder names: the input's own, with its parent's where two are called the same."""
    stems = [Path(path).resolve().stem for path in inputs]
    names = [
        stem if stems.count(stem) == 1 else f"{Path(path).resolve().parent.name}_{stem}"
        for path, stem in zip(inputs, stems)
    ]
    if len(set(names)) < len(names):
        names = [f"{i:03d}_{name}" for i, name in enumerate(names)]
    return [out / name for name in names]


def _evaluate_with_progress(job: Job) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("frames through the graph", total=None)
        return evaluate(job, lambda n: progress.update(task, completed=n))


def _evaluate_many(jobs: Sequence[Job], workers: int, cluster: str) -> list[Outcome]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("inputs", total=len(jobs))
        return run_many(jobs, workers, cluster, on_done=lambda outcome: progress.advance(task))


def print_outcome(outcome: Outcome) -> None:
    """What was scored, what not and why, and where the report is."""
    console, name = Console(), Path(outcome.job.input).name
    if outcome.error:
        console.print(f"{name}: FAILED: {outcome.error}", markup=False, soft_wrap=True)
        return
    table = Table(title=f"{name}: {Path(outcome.job.out) / 'report.html'}", title_justify="left")
    for column in ("task", "figure", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    clock = outcome.metrics.get("latency_ms", {})
    for figure in ("p50", "p95", "p99"):
        if clock.get(figure) is not None:
            table.add_row("graph", f"latency {figure} ms", f"{clock[figure]:.4g}")
    if clock.get("p50") is not None and outcome.metrics.get("drops") is not None:
        table.add_row("graph", "drops", f"{outcome.metrics['drops']:.4g}")
    for task, section in outcome.metrics.items():
        if not isinstance(section, dict) or task in ("provenance", "tasks", "latency_ms"):
            continue
        if "reason" in section:
            table.add_row(task, "not scored", str(section["reason"]))
        for figure, value in section.items():
            if isinstance(value, (int, float)):
                table.add_row(task, figure, f"{value:.4g}")
    console.print(table)


def _report_gates(outcomes: Sequence[Outcome], gates: Sequence[Gate], junit: Path) -> int:
    """Print and write every gate of every input; the number that failed."""
    console, results = Console(), {}
    for outcome in outcomes:
        name = Path(outcome.job.out).name
        results[name] = (
            [GateResult(gate, None, outcome.error) for gate in gates]
            if outcome.error
            else check_gates(outcome.metrics, gates)
        )
        for result in results[name]:
            console.print(f"{name}: {result.text}", markup=False, soft_wrap=True)
    write_junit(results, junit)
    return sum(not result.passed for found in results.values() for result in found)


def _run_comparison(args: argparse.Namespace, jobs: list[Job]) -> int:
    """A against B on the one input: two results bags as they are, or two models that run first."""
    first, second = args.compare
    if len(jobs) != 1:
        raise ConfigError("one INPUT with --compare", f"{len(jobs)}", "compare inputs one by one")
    sides = []
    for letter, side in (("a", first), ("b", second)):
        job = replace(jobs[0], out=str(args.out / letter))
        if Path(side).exists():
            job = replace(job, input=side, ground_truth=args.ground_truth or _truth_of(jobs[0], side))
        elif "=" in side:
            model = {task: values["model"] for task, values in _models([side]).items()}
            job = replace(job, models={**job.models, **model}, tasks=job.tasks or tuple(model))
        else:
            raise ConfigError(
                "a results bag or TASK=NAME[:PRECISION]", repr(side), "check the path or the name"
            )
        _evaluate_with_progress(job)
        sides.append(job)
    comparison = compare_runs(sides[0], sides[1], (first, second))
    write_comparison(comparison, args.out)
    print_comparison(comparison, args.out)
    return 0


def _truth_of(job: Job, side: str) -> str:
    """The INPUT holds the truth of two results bags, unless it is one of them."""
    return "" if Path(job.input).resolve() == Path(side).resolve() else job.input


def print_comparison(comparison: Comparison, out: Path) -> None:
    """Differences with their 95 % intervals."""
    table = Table(title=f"{out}: B minus A, 95 % bootstrap intervals", title_justify="left")
    for column in ("figure", "A", "B", "B - A", "from", "to", "verdict"):
        is_text = column in ("figure", "verdict")
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    for row in comparison.rows:
        table.add_row(
            row.metric,
            *(f"{value:.3g}" for value in (row.a, row.b, row.difference, row.low, row.high)),
            row.verdict,
        )
    console = Console()
    for note in comparison.notes:
        console.print(note, markup=False, soft_wrap=True)
    console.print(f"A = {comparison.names[0]}\nB = {comparison.names[1]}", markup=False)
    console.print(table)
