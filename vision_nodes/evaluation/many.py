"""Many inputs: each in a process of its own, here or on a Dask cluster; one that fails stops no other."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vision_nodes.errors import ConfigError
from vision_nodes.evaluation.run import Job

SUMMARY_FIGURES = (
    "detection.ap50",
    "detection.ap",
    "segmentation.miou",
    "depth.abs_rel",
    "depth.abs_rel_scaled",
    "depth.delta1",
    "odometry.ate_sim3_m",
    "odometry.ate_se3_m",
    "odometry.scale_error",
    "odometry.tracked_fraction",
    "places.recall_at_1",
    "places.loop_recall",
    "places.false_closures",
    "latency_ms.p50",
    "latency_ms.p95",
)


@dataclass(frozen=True)
class Outcome:
    """What became of one input: metrics, or the reason why there are none."""

    job: Job
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def run_isolated(job: dict[str, Any]) -> dict[str, Any]:
    """One job in a fresh process, so that even a crash of a library is only this job's.

    Args:
        job: a `Job` as a dictionary; it and the answer are plain values, which any engine can send.

    Returns:
        ``{"metrics": ...}`` or ``{"error": one line}``.
    """
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "job.json", Path(folder) / "answer.json"
        request.write_text(json.dumps(job))
        command = [sys.executable, "-m", "vision_nodes.evaluation.many", str(request), str(answer)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if answer.exists():
            result: dict[str, Any] = json.loads(answer.read_text())
            return result
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": f"the process ended with status {done.returncode}: {last}"}


def run_many(
    jobs: Sequence[Job], workers: int = 1, cluster: str = "", on_done: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """All jobs; outcomes in the order of the jobs.

    Args:
        workers: processes on this machine.
        cluster: address of a Dask scheduler, ``tcp://host:8786``; its workers must see the same files and
            have this package. '' = this machine.
        on_done: called as each job ends.

    Raises:
        ConfigError: the Dask extra is not installed or the scheduler does not answer.
    """
    outcomes: dict[int, Outcome] = {}
    results = _on_cluster(jobs, cluster) if cluster else _on_this_machine(jobs, workers)
    for index, result in results:
        outcome = Outcome(jobs[index], result.get("metrics", {}), result.get("error", ""))
        outcomes[index] = outcome
        if on_done is not None:
            on_done(outcome)
    return [outcomes[index] for index in range(len(jobs))]


def _on_this_machine(jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, dict[str, Any]]]:
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        futures: dict[Future[dict[str, Any]], int] = {
            pool.submit(run_isolated, asdict(job)): index for index, job in enumerate(jobs)
        }
        for future in as_completed(futures):
            yield futures[future], future.result()


def _on_cluster(jobs: Sequence[Job], address: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        from distributed import Client
        from distributed import as_completed as as_completed_futures
    except ImportError as error:
        raise ConfigError(
            "Dask for --cluster",
            "the package distributed is not installed",
            "pip install 'vision_nodes[cluster]'",
        ) from error
    try:
        client = Client(address, timeout="10s")  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"a Dask scheduler at {address}", str(error) or type(error).__name__, "start it"
        ) from error
    with client:
        futures = {
            client.submit(run_isolated, asdict(job), pure=False, retries=1): index
            for index, job in enumerate(jobs)
        }
        for future in as_completed_futures(list(futures)):  # type: ignore[no-untyped-call]
            failure = future.exception()
            yield futures[future], {"error": repr(failure)} if failure else future.result()


def merge(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Figures of all inputs side by side, their mean, minimum and maximum, and what failed."""
    from vision_nodes.evaluation.gates import look_up

    scored = {outcome.job.out: outcome for outcome in outcomes if not outcome.error}
    table: dict[str, Any] = {}
    for name in SUMMARY_FIGURES:
        values = {Path(out).name: look_up(o.metrics, name)[0] for out, o in scored.items()}
        known = [value for value in values.values() if value is not None]
        if known:
            table[name] = {
                "mean": float(np.mean(known)),
                "min": min(known),
                "max": max(known),
                "inputs": values,
            }
    failed = {Path(o.job.out).name: o.error for o in outcomes if o.error}
    return {"inputs": len(outcomes), "failed": failed, "figures": table}


def main(request: str, answer: str) -> int:
    """Entry of the isolated process."""
    from vision_nodes.errors import VisionNodesError
    from vision_nodes.evaluation.run import evaluate

    job = json.loads(Path(request).read_text())
    result: dict[str, Any]
    try:
        result = {"metrics": evaluate(Job(**{**job, "tasks": tuple(job["tasks"])}))}
    except (VisionNodesError, OSError, ValueError) as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    Path(answer).write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
