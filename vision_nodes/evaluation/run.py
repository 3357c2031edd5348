"""One input -> results bag -> figures, report and pictures in a folder; finished work is not done twice."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vision_nodes import __version__
from vision_nodes.bags.from_folder import write_folder_bag
from vision_nodes.bags.from_labelled import write_labelled_bag
from vision_nodes.engine.models import find_model
from vision_nodes.errors import BagError, ConfigError, ModelError
from vision_nodes.evaluation.inputs import InputKind, classify, content_hash
from vision_nodes.evaluation.live_run import record_live
from vision_nodes.evaluation.preview import write_preview
from vision_nodes.evaluation.recording import read_recording
from vision_nodes.evaluation.report import write_report
from vision_nodes.evaluation.score import TASKS, Scores, score_recording
from vision_nodes.evaluation.trajectory_files import write_trajectories

GRAPH_TASKS = ("detection", "segmentation", "depth", "odometry", "place")  # as nodes are called
METRIC_TASK = {"place": "places"}  # as metrics.json calls it
# A detector is scored over its whole precision-recall curve, which needs the weak boxes too; pictures of a
# set are no film, so nothing may be carried from one to the next.
LABELLED_PARAMETERS = {"detection_node": {"score_threshold": 0.01, "track": False}}


@dataclass(frozen=True)
class Job:
    """One input and how to run it; only plain values, so that it travels to other processes.

    Attributes:
        models: task -> model name, name:precision or manifest path.
        parameters: node -> parameter -> value, for the replay.
        split, limit: of a labelled set; limit 0 = all pictures.
        live: through the middleware at the bag's pace instead of lock-step; attach: into a graph that runs.
    """

    input: str
    out: str
    ground_truth: str = ""
    tasks: tuple[str, ...] = ()
    models: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    topic: str = ""
    split: str = "val"
    limit: int = 0
    live: bool = False
    attach: bool = False

    def fingerprint(self) -> str:
        """Changes when the input, the truth, a model file, a setting or the package's version does."""
        settings = {k: v for k, v in asdict(self).items() if k not in ("out", "input", "ground_truth")}
        parts = {
            "input": content_hash(self.input),
            "ground_truth": content_hash(self.ground_truth) if self.ground_truth else "",
            "models": _model_hashes(self.models, self.tasks or GRAPH_TASKS),
            "version": __version__,
            **settings,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def evaluate(job: Job, on_frame: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Run the graph once where needed, score, write `metrics.json`, `report.html`, `preview.png`.

    The predictions are `results.mcap` in the output folder: scoring them again takes seconds. An output
    folder whose fingerprint is this job's is left as it is.

    Returns:
        The metrics.

    Raises:
        BagError, ModelError, EngineError, ConfigError: the input cannot be run or scored.
    """
    out = Path(job.out)
    done, fingerprint = out / "metrics.json", job.fingerprint()
    finished = read_finished(out)
    if finished is not None and finished.get("provenance", {}).get("fingerprint") == fingerprint:
        return finished
    out.mkdir(parents=True, exist_ok=True)
    kind = classify(job.input)
    if kind is InputKind.TRAVERSES:
        from vision_nodes.evaluation.traverses import evaluate_traverses

        metrics = evaluate_traverses(job)
    else:
        scores = score_results(job, results_of(job, kind, fingerprint, on_frame))
        write_report(scores, out / "report.html")
        write_preview(scores, out / "preview.png")
        write_trajectories(scores, out)
        metrics = scores.metrics
    metrics["provenance"] |= {
        "input": Path(job.input).name,
        "input_kind": kind.value,
        "input_sha256": content_hash(job.input),
        "parameters": job.parameters,
        "fingerprint": fingerprint,
    }
    done.write_text(json.dumps(metrics, indent=2, allow_nan=False, sort_keys=True) + "\n")
    return metrics


def read_finished(out: Path) -> dict[str, Any] | None:
    """Metrics that an earlier run left in a folder; None when there are none that can be read."""
    try:
        metrics = json.loads((out / "metrics.json").read_text())
    except (OSError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) else None


def score_results(job: Job, results: Path) -> Scores:
    """Scores of a results bag; refuses one in which nothing could be scored and says why."""
    recording = read_recording(results, job.ground_truth or None)
    tasks = [METRIC_TASK.get(task, task) for task in job.tasks] or list(TASKS)
    return score_recording(recording, tasks)


def results_of(
    job: Job, kind: InputKind, fingerprint: str, on_frame: Callable[[int], None] | None = None
) -> Path:
    """The results bag of an input, made when there is none of this fingerprint yet."""
    if kind is InputKind.RESULTS:
        return Path(job.input)
    out = Path(job.out)
    results, mark = out / "results.mcap", out / "results.fingerprint"
    if results.exists() and mark.exists() and mark.read_text() == fingerprint:
        return results
    bag, tasks, parameters = _bag_of(job, kind)
    run_graph(bag, results, tasks, job, parameters, on_frame)
    mark.write_text(fingerprint)
    if bag != Path(job.input):
        bag.unlink()
    return results


def _bag_of(job: Job, kind: InputKind) -> tuple[Path, Sequence[str], dict[str, dict[str, Any]]]:
    """Input as a bag, the tasks that it has truth for or that were asked for, and node parameters."""
    out = Path(job.out)
    if kind is InputKind.SEQUENCE:
        write_folder_bag(job.input, out / "input.mcap")
        return out / "input.mcap", job.tasks or available_tasks(job.models), {}
    if kind is InputKind.LABELLED:
        written = write_labelled_bag(job.input, out / "input.mcap", split=job.split, limit=job.limit)
        if job.tasks and written.task not in job.tasks:
            raise ConfigError(
                f"--task {written.task} for {job.input}",
                f"--task {' '.join(job.tasks)}",
                "its labels are of that",
            )
        return out / "input.mcap", (written.task,), LABELLED_PARAMETERS
    return Path(job.input), job.tasks or available_tasks(job.models), {}


def run_graph(
    bag: Path,
    results: Path,
    tasks: Sequence[str],
    job: Job,
    parameters: dict[str, dict[str, Any]],
    on_frame: Callable[[int], None] | None,
) -> None:
    """Lock-step replay, or a live run, into `results`; complete or not at all."""
    merged = {
        node: dict(values) for node, values in parameters.items() if node.removesuffix("_node") in tasks
    }
    for task, model in job.models.items():
        merged.setdefault(f"{task}_node", {})["model"] = model
    for node, values in job.parameters.items():
        merged.setdefault(node, {}).update(values)
    partial = results.with_name("results.part.mcap")
    if job.live:
        record_live(bag, partial, tasks, merged, attach=job.attach, topic=job.topic, on_frame=on_frame)
        shutil.move(partial, results)
        return
    from vision_nodes.nodes.replay import replay  # needs rclpy; scoring alone does not

    replay(bag, partial, tasks=tasks, topic=job.topic, parameters=merged, keep_images=True, on_frame=on_frame)
    shutil.move(partial, results)


def available_tasks(models: dict[str, str]) -> tuple[str, ...]:
    """Tasks of the graph whose model is installed; odometry needs none.

    Raises:
        ModelError: a model that was asked for by name is not there.
    """
    found = []
    for task in GRAPH_TASKS:
        try:
            if task != "odometry":
                find_model(models.get(task, task))
            found.append(task)
        except ModelError:
            if task in models:
                raise
    return tuple(found)


def _model_hashes(models: dict[str, str], tasks: Sequence[str]) -> dict[str, str]:
    """Task -> hashes of its model's files; '' where no such model is installed."""
    hashes = {}
    for task in tasks:
        try:
            manifest, precision = find_model(models.get(task, task))
        except ModelError:
            hashes[task] = ""
            continue
        files = manifest.files if precision is None else {precision: manifest.files[precision]}
        hashes[task] = " ".join(f"{name}:{file.sha256}" for name, file in sorted(files.items()))
    return hashes


def nothing_scored(metrics: dict[str, Any], tasks: Sequence[str] = TASKS) -> str:
    """Why no task has a figure against truth; '' when at least one has."""
    reasons = {task: str(metrics[task]["reason"]) for task in tasks if "reason" in metrics.get(task, {})}
    scored = [task for task in tasks if task in metrics and task not in reasons]
    return "" if scored else "; ".join(f"{task}: {reason}" for task, reason in reasons.items())


def require_scored(metrics: dict[str, Any], input_name: str) -> None:
    """Raises BagError when nothing could be scored, naming what each task lacked."""
    lacking = nothing_scored(metrics)
    if lacking:
        raise BagError(
            f"truth for at least one task in {input_name}", lacking, "name a bag with it: --ground-truth BAG"
        )
